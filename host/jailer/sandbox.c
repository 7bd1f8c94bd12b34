// SPDX-License-Identifier: MIT
/* What a child does between clone and exec, and which parts of that this machine allows. */
#include "host/jailer/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log/log.h"
#include "common/util/cleanup.h"

static int set_limits(void)
{
	const struct { int what; rlim_t value; } limits[] = {
		{ RLIMIT_CORE, 0 }, /* a core file would hold the guest's data */
		{ RLIMIT_NOFILE, JAIL_EXECUTOR_FILES },
		{ RLIMIT_MSGQUEUE, 0 },
		{ RLIMIT_NICE, 0 },
		{ RLIMIT_RTPRIO, 0 },
	};

	for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
		struct rlimit r = { limits[i].value, limits[i].value }, now;

		if (getrlimit(limits[i].what, &now) == 0 && now.rlim_max < r.rlim_max)
			r.rlim_cur = r.rlim_max = now.rlim_max;
		if (setrlimit(limits[i].what, &r) < 0)
			return -errno;
	}
	return 0;
}

static int drop_capabilities(void)
{
	/* the last capability differs between kernels: EINVAL is the end of the list */
	for (int cap = 0; cap < 64; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return errno == EINVAL ? 0 : -errno;
	return 0;
}

static int become(uid_t uid)
{
	if (drop_capabilities())
		return -errno;
	if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
		return -errno;
	return 0;
}

static void default_signals(void)
{
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	/* its log pipe breaks while the jailer restarts; that must not end it */
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The socket becomes fd 3, the log fd 2; `keep` stays until exec; all else is closed. */
static int arrange_fds(int sock, int log, int keep)
{
	DIR *dir;
	struct dirent *d;
	int null;

	/* out of the way of 0..3 first */
	sock = fcntl(sock, F_DUPFD_CLOEXEC, 10);
	log = fcntl(log, F_DUPFD_CLOEXEC, 10);
	if (sock < 0 || log < 0)
		return -errno;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return -errno;
	if (dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(log, 2) < 0 ||
	    dup2(sock, VGPU_EXECUTOR_SOCKET_FD) < 0)
		return -errno;
	dir = opendir("/proc/self/fd");
	if (!dir)
		return -errno;
	while ((d = readdir(dir))) {
		int fd = (int)strtol(d->d_name, NULL, 10);

		if (d->d_name[0] != '.' && fd > VGPU_EXECUTOR_SOCKET_FD && fd != dirfd(dir) && fd != keep)
			close(fd);
	}
	closedir(dir);
	return 0;
}

int jail_sandbox_enter(const struct jail_options *o, unsigned int sandbox, uid_t uid, uint32_t gpu,
		       int sock, int log, int report, const char **ret_step)
{
	char index[16];
	char *argv[] = { (char *)o->executor, (char *)"--driver", (char *)o->driver,
			 (char *)"--gpu", index, NULL };
	int rc;

	/* with a root of its own it sees one GPU only, whatever its number on the host */
	snprintf(index, sizeof(index), "%u", sandbox & VGPU_SANDBOX_MOUNT ? 0 : gpu);
	*ret_step = "descriptors";
	rc = arrange_fds(sock, log, report);
	if (rc)
		return rc;
	if (sandbox & VGPU_SANDBOX_MOUNT) {
		rc = jail_mount_tree(o, sandbox & VGPU_SANDBOX_PID, gpu, ret_step);
		if (rc)
			return rc;
	}
	*ret_step = "resource limits";
	rc = set_limits();
	if (rc)
		return rc;
	if (sandbox & VGPU_SANDBOX_UID) {
		*ret_step = "change of the user id";
		rc = become(uid);
		if (rc)
			return rc;
	}
	*ret_step = "no-new-privs";
	if (sandbox & VGPU_SANDBOX_NO_NEW_PRIVS && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	setsid();
	default_signals();
	*ret_step = "exec of the executor";
	execve(o->executor, argv, o->env);
	return -errno;
}

int jail_sandbox_clone_flags(unsigned int sandbox)
{
	int flags = 0;

	if (sandbox & VGPU_SANDBOX_MOUNT)
		flags |= CLONE_NEWNS | CLONE_NEWUTS;
	if (sandbox & VGPU_SANDBOX_NET)
		flags |= CLONE_NEWNET;
	if (sandbox & VGPU_SANDBOX_PID)
		flags |= CLONE_NEWPID;
	if (sandbox & VGPU_SANDBOX_IPC)
		flags |= CLONE_NEWIPC;
	return flags;
}

/* The trial of one part, in a process that ends right after it: 0 or an errno. */
static int attempt(const struct jail_options *o, unsigned int part, unsigned int have)
{
	const char *step;

	switch (part) {
	case VGPU_SANDBOX_UID:
		return -become(o->uid_base);
	case VGPU_SANDBOX_NO_NEW_PRIVS:
		return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? errno : 0;
	case VGPU_SANDBOX_MOUNT:
		return -jail_mount_tree(o, have & VGPU_SANDBOX_PID, 0, &step);
	default:
		return 0; /* having been cloned with the namespace was the trial */
	}
}

static int try_part(const struct jail_options *o, unsigned int part, unsigned int have)
{
	unsigned int with = part == VGPU_SANDBOX_MOUNT ? part | (have & VGPU_SANDBOX_PID) : part;
	long pid = syscall(SYS_clone, jail_sandbox_clone_flags(with) | SIGCHLD, 0, 0, 0, 0);
	int status;

	if (pid < 0)
		return errno;
	if (!pid)
		_exit(attempt(o, part, have));
	while (waitpid((pid_t)pid, &status, 0) < 0)
		if (errno != EINTR)
			return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

static unsigned int probe_cgroup(const struct jail_options *o)
{
	bool limited = false;
	int rc = jail_cgroup_init(o->cgroup);

	if (!rc)
		rc = jail_cgroup_create(0, o->memory_limit_bytes, &limited);
	jail_cgroup_remove(0);
	if (rc) {
		vgpu_log(VGPU_LOG_WARNING, "sandbox part missing part=cgroup parent=%s error=\"%s\"",
			 o->cgroup, strerror(-rc));
		return 0;
	}
	if (limited)
		return VGPU_SANDBOX_CGROUP | VGPU_SANDBOX_MEMORY_LIMIT;
	vgpu_log(VGPU_LOG_WARNING, "sandbox part missing part=memory-limit parent=%s", o->cgroup);
	return VGPU_SANDBOX_CGROUP;
}

unsigned int jail_sandbox_probe(const struct jail_options *o)
{
	static const struct { unsigned int part; const char *name; } parts[] = {
		{ VGPU_SANDBOX_UID, "uid" },
		{ VGPU_SANDBOX_NET, "net" },
		{ VGPU_SANDBOX_PID, "pid" },
		{ VGPU_SANDBOX_IPC, "ipc" },
		{ VGPU_SANDBOX_MOUNT, "mount" }, /* after pid: /proc depends on it */
		{ VGPU_SANDBOX_NO_NEW_PRIVS, "no-new-privs" },
	};
	unsigned int have = 0;

	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		int error;

		if (o->relaxed & parts[i].part) {
			vgpu_log(VGPU_LOG_WARNING, "sandbox part switched off part=%s", parts[i].name);
			continue;
		}
		error = try_part(o, parts[i].part, have);
		if (error)
			vgpu_log(VGPU_LOG_WARNING, "sandbox part missing part=%s error=\"%s\"",
				 parts[i].name, strerror(error));
		else
			have |= parts[i].part;
	}
	if (o->relaxed & VGPU_SANDBOX_CGROUP)
		vgpu_log(VGPU_LOG_WARNING, "sandbox part switched off part=cgroup");
	else
		have |= probe_cgroup(o);
	if (o->relaxed & VGPU_SANDBOX_MEMORY_LIMIT)
		have &= ~(unsigned int)VGPU_SANDBOX_MEMORY_LIMIT;
	return have;
}
