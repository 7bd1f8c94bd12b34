// SPDX-License-Identifier: MIT
/*
 * Runs a program under ptrace and lists, per phase (confine.h: phase()), its system calls, the
 * files it named, and the requests it made of devices. Usage: trace OUT FILTER-OUT CMD ARGS...
 * FILTER-OUT gets the numbers of all calls made from phase 2 on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_NR 512
#define MAX_PHASE 8
#define MAX_NOTES 4096
#define MAX_TASKS 256

static const char *const names[MAX_NR] = {
#include "names.inc"
};

static struct task {
	pid_t tid;
	uint64_t nr;
	char note[256];
} tasks[MAX_TASKS];

static struct note {
	int phase, count;
	char text[288];
} notes[MAX_NOTES];

static long count[MAX_PHASE][MAX_NR];
static char phase_name[MAX_PHASE][32] = { "start" };
static int cur_phase, n_notes;

static struct task *task_get(pid_t tid, bool *ret_new)
{
	*ret_new = false;
	for (int i = 0; i < MAX_TASKS; i++)
		if (tasks[i].tid == tid)
			return &tasks[i];
	*ret_new = true;
	for (int i = 0; i < MAX_TASKS; i++)
		if (!tasks[i].tid) {
			tasks[i].tid = tid;
			return &tasks[i];
		}
	fprintf(stderr, "too many tasks\n");
	exit(1);
}

static void note_add(const char *text)
{
	for (int i = 0; i < n_notes; i++)
		if (notes[i].phase == cur_phase && !strcmp(notes[i].text, text)) {
			notes[i].count++;
			return;
		}
	if (n_notes == MAX_NOTES)
		return;
	notes[n_notes].phase = cur_phase;
	notes[n_notes].count = 1;
	snprintf(notes[n_notes++].text, sizeof(notes[0].text), "%s", text);
}

static void read_text(pid_t tid, uint64_t at, char *buf, size_t size)
{
	struct iovec to = { buf, size - 1 };
	ssize_t got;

	memset(buf, 0, size);
	for (; to.iov_len > 0; to.iov_len /= 2) {
		struct iovec from = { (void *)at, to.iov_len };

		got = process_vm_readv(tid, &to, 1, &from, 1, 0);
		if (got > 0)
			return;
	}
}

static void fd_name(pid_t tid, uint64_t fd, char *buf, size_t size)
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%d/fd/%d", tid, (int)fd);
	n = readlink(link, buf, size - 1);
	buf[n < 0 ? 0 : n] = '\0';
}

/* What is worth telling of a call's arguments; empty: nothing. */
static void describe(pid_t tid, uint64_t nr, const unsigned long long *a, char *out, size_t size)
{
	char s[160] = "";

	out[0] = '\0';
	switch (nr) {
	case SYS_openat:
	case SYS_newfstatat:
	case SYS_readlinkat:
	case SYS_faccessat:
	case SYS_faccessat2:
	case SYS_mkdirat:
	case SYS_unlinkat:
		read_text(tid, a[1], s, sizeof(s));
		snprintf(out, size, "%s %s%s", names[nr], s,
			 nr == SYS_openat && (a[2] & 3) ? " (write)" : "");
		break;
	case SYS_open:
	case SYS_stat:
	case SYS_lstat:
	case SYS_access:
	case SYS_readlink:
	case SYS_execve:
	case SYS_mkdir:
	case SYS_unlink:
	case SYS_statfs:
		read_text(tid, a[0], s, sizeof(s));
		snprintf(out, size, "%s %s", names[nr], s);
		break;
	case SYS_ioctl:
		fd_name(tid, a[0], s, sizeof(s));
		snprintf(out, size, "ioctl %s %#llx", s, a[1]);
		break;
	case SYS_mmap:
		if ((int)a[4] >= 0 && !(a[3] & 0x20)) {
			fd_name(tid, a[4], s, sizeof(s));
			snprintf(out, size, "mmap %s prot %llx", s, a[2]);
		} else if (a[2] & 4) {
			snprintf(out, size, "mmap anonymous PROT_EXEC");
		}
		break;
	case SYS_mprotect:
		if (a[2] & 4)
			snprintf(out, size, "mprotect PROT_EXEC");
		break;
	case SYS_prctl:
	case SYS_socket:
		snprintf(out, size, "%s %lld %#llx", names[nr], a[0], a[1]);
		break;
	case SYS_fcntl:
		snprintf(out, size, "fcntl cmd %lld", a[1]);
		break;
	case SYS_madvise:
		snprintf(out, size, "madvise advice %lld", a[2]);
		break;
	case SYS_clone:
		snprintf(out, size, "clone flags %#llx", a[0]);
		break;
	case SYS_kill:
	case SYS_tgkill:
	case SYS_sched_setaffinity:
	case SYS_sched_getaffinity:
	case SYS_prlimit64:
		snprintf(out, size, "%s %lld %lld", names[nr], a[0], a[1]);
		break;
	default:
		break;
	}
}

static void on_syscall(pid_t tid, struct task *t)
{
	struct __ptrace_syscall_info info;
	unsigned long long args[6];

	if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) <= 0)
		return;
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
		t->nr = info.entry.nr;
		t->note[0] = '\0';
		if (t->nr == SYS_prctl && info.entry.args[0] == 0x5047) {
			cur_phase = info.entry.args[1] % MAX_PHASE;
			read_text(tid, info.entry.args[2], phase_name[cur_phase], 32);
			return;
		}
		if (t->nr < MAX_NR)
			count[cur_phase][t->nr]++;
		for (int i = 0; i < 6; i++)
			args[i] = info.entry.args[i];
		if (t->nr < MAX_NR && names[t->nr])
			describe(tid, t->nr, args, t->note, sizeof(t->note));
	} else if (info.op == PTRACE_SYSCALL_INFO_EXIT && t->note[0]) {
		char text[288];

		if (info.exit.rval < 0 && info.exit.rval > -4096)
			snprintf(text, sizeof(text), "%s -> %s", t->note,
				 strerrorname_np(-info.exit.rval));
		else
			snprintf(text, sizeof(text), "%s", t->note);
		note_add(text);
		t->note[0] = '\0';
	}
}

static void write_report(const char *path, const char *filter)
{
	FILE *f = fopen(path, "w"), *g = fopen(filter, "w");

	if (!f || !g)
		exit(1);
	for (int nr = 0; nr < MAX_NR; nr++) {
		long late = 0;

		for (int p = 2; p < MAX_PHASE; p++)
			late += count[p][nr];
		if (late || nr == SYS_rt_sigreturn)
			fprintf(g, "%d\n", nr);
	}
	for (int p = 0; p < MAX_PHASE; p++) {
		if (!phase_name[p][0])
			continue;
		fprintf(f, "PHASE %d %s\n syscalls:", p, phase_name[p]);
		for (int nr = 0; nr < MAX_NR; nr++)
			if (count[p][nr])
				fprintf(f, " %s(%ld)", names[nr] ? names[nr] : "?", count[p][nr]);
		fprintf(f, "\n");
		for (int i = 0; i < n_notes; i++)
			if (notes[i].phase == p)
				fprintf(f, "  x%-4d %s\n", notes[i].count, notes[i].text);
	}
	fclose(f);
	fclose(g);
}

static void watch(void)
{
	int status;
	pid_t tid;

	while ((tid = waitpid(-1, &status, __WALL)) > 0) {
		bool fresh;
		struct task *t = task_get(tid, &fresh);
		int sig = 0;

		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			t->tid = 0;
			continue;
		}
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			on_syscall(tid, t);
		else if (status >> 16)
			sig = 0; /* clone, fork or exec event */
		else if (!(WSTOPSIG(status) == SIGSTOP && fresh))
			sig = WSTOPSIG(status);
		ptrace(PTRACE_SYSCALL, tid, 0, sig);
	}
}

int main(int argc, char **argv)
{
	int status;
	bool fresh;
	pid_t pid;

	if (argc < 4)
		return 2;
	pid = fork();
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		execvp(argv[3], argv + 3);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	task_get(pid, &fresh);
	ptrace(PTRACE_SETOPTIONS, pid, 0,
	       PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
		       PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL);
	ptrace(PTRACE_SYSCALL, pid, 0, 0);
	watch();
	write_report(argv[1], argv[2]);
	return 0;
}
