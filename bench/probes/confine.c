// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "bench/probes/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define MAX_NR 512
static volatile int refused[MAX_NR];
static struct sock_filter filter[2 * MAX_NR + 8];
static int filter_length;

void phase(int number, const char *name)
{
	prctl(0x5047, number, name, 0, 0);
}

static void step(const char *what, int rc)
{
	if (rc)
		printf("  confine: %s: errno %d (%s)\n", what, errno, strerror(errno));
}

static void bind_mount(const char *from, const char *root, bool read_only)
{
	char to[256];
	struct stat st;

	snprintf(to, sizeof(to), "%s%s", root, from);
	if (lstat(from, &st))
		return;
	if (S_ISLNK(st.st_mode)) {
		char target[256] = "";

		if (readlink(from, target, sizeof(target) - 1) > 0)
			step(from, symlink(target, to));
		return;
	}
	if (S_ISDIR(st.st_mode)) {
		mkdir(to, 0755);
	} else {
		int fd = open(to, O_CREAT | O_WRONLY, 0644);

		if (fd >= 0)
			close(fd);
	}
	step(from, mount(from, to, NULL, MS_BIND | MS_REC, NULL));
	if (read_only)
		mount(NULL, to, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL);
}

static void change_root(const char *root)
{
	step("chdir", chdir(root));
	if (syscall(SYS_pivot_root, ".", ".") == 0) {
		step("detach", umount2(".", MNT_DETACH));
		printf("  confine: root changed by pivot_root\n");
	} else {
		printf("  confine: pivot_root errno %d, chroot instead\n", errno);
		step("chroot", chroot("."));
	}
	step("chdir", chdir("/"));
}

static void fork_into_pid_namespace(void)
{
	pid_t pid;
	int status;

	step("unshare pid", unshare(CLONE_NEWPID));
	pid = fork();
	if (pid) {
		waitpid(pid, &status, 0);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
	}
}

static void map_self(void)
{
	static const char *const files[] = { "/proc/self/setgroups", "/proc/self/uid_map",
					     "/proc/self/gid_map" };
	char text[64];

	for (int i = 0; i < 3; i++) {
		int fd = open(files[i], O_WRONLY);

		snprintf(text, sizeof(text), i ? "%d %d 1" : "deny", PROBE_UID, PROBE_UID);
		step(files[i], fd < 0 || write(fd, text, strlen(text)) < 0);
		close(fd);
	}
}

void enter_room(const struct room *room)
{
	static const char *const libs[] = { "/usr", "/lib", "/lib64", "/bin", "/etc" };
	static const char *const nodes[] = { "/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm" };
	const char *root = "/tmp/probe-room";

	step("unshare", unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS));
	if (room->pid_ns)
		fork_into_pid_namespace();
	step("private", mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	mkdir(root, 0755);
	step("tmpfs", mount("probe", root, "tmpfs", 0, "mode=755"));
	for (size_t i = 0; room->libs && i < sizeof(libs) / sizeof(libs[0]); i++)
		bind_mount(libs[i], root, true);
	mkdir("/tmp/probe-room/dev", 0755);
	for (size_t i = 0; room->dev && i < sizeof(nodes) / sizeof(nodes[0]); i++)
		bind_mount(nodes[i], root, false);
	if (room->sys)
		bind_mount("/sys", root, true);
	if (room->proc) {
		mkdir("/tmp/probe-room/proc", 0755);
		step("proc", mount("proc", "/tmp/probe-room/proc", "proc", MS_NOSUID | MS_NODEV, NULL));
	}
	change_root(root);
	if (room->user_ns) {
		drop_identity(false);
		prctl(PR_SET_DUMPABLE, 1);
		step("unshare user", unshare(CLONE_NEWUSER));
		if (room->proc)
			map_self();
	}
}

void enter_empty(void)
{
	const char *root = "/tmp/probe-empty";

	step("unshare", unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS));
	step("private", mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	mkdir(root, 0755);
	step("tmpfs", mount("probe", root, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755"));
	change_root(root);
	step("read-only", mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL));
}

void drop_identity(bool limits)
{
	struct rlimit zero = { 0, 0 }, files = { 256, 256 }, lock = { 65536, 65536 }, procs = { 32, 32 };

	if (limits) {
		step("core", setrlimit(RLIMIT_CORE, &zero));
		step("fsize", setrlimit(RLIMIT_FSIZE, &zero));
		step("nofile", setrlimit(RLIMIT_NOFILE, &files));
		step("memlock", setrlimit(RLIMIT_MEMLOCK, &lock));
		step("nproc", setrlimit(RLIMIT_NPROC, &procs));
	}
	if (getuid() == 0) {
		step("setgroups", setgroups(0, NULL));
		step("setresgid", setresgid(PROBE_UID, PROBE_UID, PROBE_UID));
		step("setresuid", setresuid(PROBE_UID, PROBE_UID, PROBE_UID));
	}
	step("no_new_privs", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	step("dumpable", prctl(PR_SET_DUMPABLE, 0));
}

static void on_sigsys(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;

	(void)sig;
	if (info->si_syscall >= 0 && info->si_syscall < MAX_NR)
		refused[info->si_syscall]++;
	u->uc_mcontext.gregs[REG_RAX] = -EPERM;
}

int filter_read(const char *path)
{
	int nr, n = 0;
	FILE *in = fopen(path, "r");

	if (!in)
		return -errno;
	filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						   offsetof(struct seccomp_data, nr));
	while (fscanf(in, "%d", &nr) == 1 && n < 2 * MAX_NR) {
		filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1);
		filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	fclose(in);
	filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
	filter_length = n;
	return 0;
}

int filter_install(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | SA_NODEFER };
	struct sock_fprog prog = { filter_length, filter };

	sigaction(SIGSYS, &sa, NULL);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog))
		return -errno;
	printf("  confine: filter with %d allowed calls in force\n", filter_length / 2 - 1);
	return 0;
}

void filter_report(void)
{
	printf("  refused system calls:");
	for (int i = 0; i < MAX_NR; i++)
		if (refused[i])
			printf(" %d(x%d)", i, refused[i]);
	printf("\n");
}

void report_namespaces(void)
{
	static const struct {
		const char *name;
		int flag;
	} ns[] = { { "user", CLONE_NEWUSER }, { "mount", CLONE_NEWNS },	  { "pid", CLONE_NEWPID },
		   { "net", CLONE_NEWNET },   { "ipc", CLONE_NEWIPC },	  { "uts", CLONE_NEWUTS },
		   { "cgroup", CLONE_NEWCGROUP } };

	for (int as_user = 0; as_user < 2; as_user++) {
		printf("namespaces as %s:", as_user ? "ordinary user" : "root");
		for (size_t i = 0; i < sizeof(ns) / sizeof(ns[0]); i++) {
			pid_t pid;
			int status;

			fflush(stdout);
			pid = fork();
			if (!pid) {
				if (as_user && setresuid(PROBE_UID, PROBE_UID, PROBE_UID))
					_exit(200);
				_exit(unshare(ns[i].flag) ? errno : 0);
			}
			waitpid(pid, &status, 0);
			printf(" %s=%d", ns[i].name, WEXITSTATUS(status));
		}
		printf(" (0 works, else errno)\n");
	}
}
