/* SPDX-License-Identifier: MIT */
/*
 * What the process gives up before it sees anything of a guest. Users, namespaces and cgroups are
 * the jailer's; here: no new privileges, no core, not to be traced, and a list of system calls.
 */
#include "host/executor/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* Calls without conditions: what glibc's threads and allocator, our own loops, and the driver's
 * running state need. Everything else gives EPERM. */
static const int sandbox_calls[] = {
	/* memory */
	SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
	SCMP_SYS(brk), SCMP_SYS(mlock), SCMP_SYS(munlock), SCMP_SYS(get_mempolicy),
	SCMP_SYS(mbind), SCMP_SYS(set_mempolicy), SCMP_SYS(membarrier),
	/* open files, and the driver's devices */
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev),
	SCMP_SYS(pread64), SCMP_SYS(close), SCMP_SYS(lseek), SCMP_SYS(fstat), SCMP_SYS(newfstatat),
	SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(statx), SCMP_SYS(access), SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(getdents64),
	SCMP_SYS(getcwd), SCMP_SYS(fcntl), SCMP_SYS(dup), SCMP_SYS(poll), SCMP_SYS(ppoll),
	SCMP_SYS(eventfd2), SCMP_SYS(pipe2), SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_wait), SCMP_SYS(memfd_create), SCMP_SYS(ftruncate), SCMP_SYS(fallocate),
	/* the socket that there is; no other can be made */
	SCMP_SYS(sendmsg), SCMP_SYS(recvmsg), SCMP_SYS(sendto), SCMP_SYS(recvfrom),
	SCMP_SYS(getsockopt),
	/* threads and time */
	SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(get_robust_list), SCMP_SYS(rseq),
	SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(gettid), SCMP_SYS(getpid), SCMP_SYS(getppid),
	SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_setaffinity),
	SCMP_SYS(sched_getparam), SCMP_SYS(sched_getscheduler), SCMP_SYS(sched_get_priority_min),
	SCMP_SYS(sched_get_priority_max), SCMP_SYS(getpriority), SCMP_SYS(nanosleep),
	SCMP_SYS(clock_nanosleep), SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres),
	SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(getcpu), SCMP_SYS(restart_syscall),
	SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid),
	SCMP_SYS(getegid), SCMP_SYS(getrusage), SCMP_SYS(sysinfo), SCMP_SYS(uname),
	SCMP_SYS(getrandom),
};

/* Nothing becomes executable any more: the driver's compiler was loaded before. */
static int allow_mappings(scmp_filter_ctx f)
{
	int err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				   SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));

	if (!err)
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
				       SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	return err;
}

/* ioctl for the driver's nodes: group 'F' of NVIDIA's module, the plain numbers of its UVM module
 * (docs/decisions/0003). prctl to name threads and to set their timer slack, not to become
 * dumpable again. */
static int allow_numbers(scmp_filter_ctx f)
{
	static const unsigned int options[] = { PR_SET_NAME, PR_GET_NAME, PR_SET_TIMERSLACK };
	int err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				   SCMP_A1(SCMP_CMP_MASKED_EQ, 0xff00, 'F' << 8));

	if (!err)
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				       SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffff00, 0));
	for (size_t i = 0; !err && i < sizeof(options) / sizeof(options[0]); i++)
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
				       SCMP_A0(SCMP_CMP_EQ, options[i]));
	return err;
}

/* Opening is for reading, or for reading and writing what is there (the driver's device nodes; the
 * jailer's namespace has nothing else to write): never creating, never truncating. */
static int allow_open(scmp_filter_ctx f)
{
	const unsigned int never = O_CREAT | O_TRUNC | O_APPEND | (__O_TMPFILE & ~O_DIRECTORY);
	int err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
				   SCMP_A2(SCMP_CMP_MASKED_EQ, never, 0));

	if (!err)
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(open), 1,
				       SCMP_A1(SCMP_CMP_MASKED_EQ, never, 0));
	return err;
}

/* clone makes threads only. The flags of clone3 lie in memory where no filter sees them: glibc
 * takes ENOSYS as a reason to use clone. */
static int allow_threads(scmp_filter_ctx f)
{
	const unsigned int thread = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND;
	int err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				   SCMP_A0(SCMP_CMP_MASKED_EQ, thread, thread));

	if (!err)
		err = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return err;
}

static int sandbox_filter(void)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int err = 0;

	if (!f)
		return -ENOMEM;
	for (size_t i = 0; !err && i < sizeof(sandbox_calls) / sizeof(sandbox_calls[0]); i++)
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, sandbox_calls[i], 0);
	if (!err)
		err = allow_mappings(f);
	if (!err)
		err = allow_numbers(f);
	if (!err)
		err = allow_open(f);
	if (!err)
		err = allow_threads(f);
	/* all threads, also those that the driver has made */
	if (!err)
		err = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!err)
		err = seccomp_load(f);
	seccomp_release(f);
	return err;
}

static void sandbox_note(char *text, size_t size, const char *what, int err)
{
	size_t at = strlen(text);

	snprintf(text + at, size - at, "%s%s: %s", at ? "; " : "", what,
		 err ? strerror(-err) : "left out by an option");
}

static int result(int ret)
{
	return ret < 0 ? -errno : 0;
}

uint32_t vx_sandbox_close(const struct vx_relax *relax, char *text, size_t size)
{
	const struct rlimit none = { 0, 0 };
	uint32_t in_force = 0;
	int err;

	*text = 0;
	err = relax->dumpable ? 0 : result(setrlimit(RLIMIT_CORE, &none));
	if (!err && !relax->dumpable)
		err = result(prctl(PR_SET_DUMPABLE, 0));
	if (err || relax->dumpable)
		sandbox_note(text, size, "dumpable", err);
	else
		in_force |= VGPU_SANDBOX_NOT_DUMPABLE;
	err = result(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	if (err)
		sandbox_note(text, size, "no-new-privs", err);
	else
		in_force |= VGPU_SANDBOX_NO_NEW_PRIVS;
	err = relax->seccomp ? 0 : sandbox_filter();
	if (err || relax->seccomp)
		sandbox_note(text, size, "seccomp", err);
	else
		in_force |= VGPU_SANDBOX_SECCOMP;
	return in_force;
}
