// SPDX-License-Identifier: MIT
/* Processes by number, without mistaking a new one for an old one. */
#include "host/jailer/internal.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/util/cleanup.h"

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

static ssize_t read_proc(pid_t pid, const char *file, char *ret, size_t size)
{
	vgpu_close int fd = -1;
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, ret, size - 1);
	if (n < 0)
		return -errno;
	ret[n] = 0;
	return n;
}

int jail_process_start_time(pid_t pid, uint64_t *ret_ticks)
{
	char text[2048];
	char *p, state;
	long threads = 0;
	ssize_t n = read_proc(pid, "stat", text, sizeof(text));

	if (n < 0)
		return (int)n;
	/* the name may hold anything, so count fields from its closing bracket: state is the 3rd */
	p = strrchr(text, ')');
	if (!p || sscanf(p + 1, " %c", &state) != 1)
		return -EIO;
	p += 2;
	for (int field = 3; field < 22; field++) {
		p = strchr(p, ' ');
		if (!p)
			return -EIO;
		p++;
		if (field + 1 == 20)
			threads = strtol(p, NULL, 10);
	}
	/* a first thread that has ended is a zombie too, while others go on */
	if ((state == 'Z' && threads <= 1) || state == 'X')
		return -ESRCH;
	*ret_ticks = strtoull(p, NULL, 10);
	return 0;
}

int jail_process_pidfd(pid_t pid, int *ret_pidfd)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0)
		return -errno;
	*ret_pidfd = fd;
	return 0;
}

int jail_process_pidfd_kill(int pidfd)
{
	return syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 ? -errno : 0;
}

/* A zombie without threads is a number that its parent has not asked for yet: nothing of it is left. */
static bool has_uid(pid_t pid, uid_t uid)
{
	char text[4096];
	unsigned int real, threads;
	char *p, *state, *count;

	if (read_proc(pid, "status", text, sizeof(text)) < 0)
		return false;
	p = strstr(text, "\nUid:");
	if (!p || sscanf(p, "\nUid: %u", &real) != 1 || real != uid)
		return false;
	state = strstr(text, "\nState:\tZ");
	count = strstr(text, "\nThreads:");
	return !state || !count || sscanf(count, "\nThreads: %u", &threads) != 1 || threads > 1;
}

bool jail_process_uid_used(uid_t uid, bool end)
{
	DIR *dir = opendir("/proc");
	struct dirent *d;
	bool used = false;

	if (!dir)
		return true;
	while ((d = readdir(dir))) {
		pid_t pid = (pid_t)strtol(d->d_name, NULL, 10);

		if (!isdigit((unsigned char)d->d_name[0]) || !has_uid(pid, uid))
			continue;
		used = true;
		if (end)
			kill(pid, SIGKILL);
	}
	closedir(dir);
	return used;
}
