// SPDX-License-Identifier: MIT
/*
 * State on file, one small text file an executor, so that a restarted jailer finds what an
 * earlier one has started. The directory is root's alone.
 */
#include "host/jailer/internal.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log/log.h"
#include "common/util/cleanup.h"

static int path_of(char *ret, size_t size, const struct jail_options *o, const char *format,
		   uint32_t id)
{
	char name[64];

	snprintf(name, sizeof(name), format, id);
	return snprintf(ret, size, "%s/%s", o->state_dir, name) < (int)size ? 0 : -ENAMETOOLONG;
}

/* Whole or not at all, also across a power cut: written beside and renamed. */
static int write_file(const struct jail_options *o, const char *path, const char *text)
{
	vgpu_close int fd = -1;
	char temporary[512];
	size_t bytes = strlen(text);

	if (snprintf(temporary, sizeof(temporary), "%s/new", o->state_dir) >= (int)sizeof(temporary))
		return -ENAMETOOLONG;
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, text, bytes) != (ssize_t)bytes)
		return errno ? -errno : -EIO;
	return rename(temporary, path) < 0 ? -errno : 0;
}

static int read_file(const char *path, char *ret, size_t size)
{
	vgpu_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, ret, size - 1);
	if (n < 0)
		return -errno;
	ret[n] = 0;
	return 0;
}

int jail_state_init(const struct jail_options *o, uint32_t *ret_next_id)
{
	char path[512], text[64];
	uint32_t next = 0;

	if (mkdir(o->state_dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	if (chmod(o->state_dir, 0700) < 0)
		return -errno;
	if (path_of(path, sizeof(path), o, "last-id", 0))
		return -ENAMETOOLONG;
	if (read_file(path, text, sizeof(text)) == 0)
		next = (uint32_t)strtoul(text, NULL, 10);
	*ret_next_id = next + 1;
	return 0;
}

int jail_state_take_id(const struct jail_options *o, uint32_t id)
{
	char path[512], text[64];

	if (path_of(path, sizeof(path), o, "last-id", 0))
		return -ENAMETOOLONG;
	snprintf(text, sizeof(text), "%u\n", id);
	return write_file(o, path, text);
}

int jail_state_save(const struct jail_options *o, const struct jail_executor *e)
{
	char path[512], text[256];

	if (path_of(path, sizeof(path), o, "executor-%u", e->id))
		return -ENAMETOOLONG;
	snprintf(text, sizeof(text), "id %u pid %d start %" PRIu64 " uid %u sandbox %u\n", e->id,
		 (int)e->pid, e->start_time, e->uid, e->sandbox);
	return write_file(o, path, text);
}

void jail_state_remove(const struct jail_options *o, uint32_t id)
{
	char path[512];

	if (!path_of(path, sizeof(path), o, "executor-%u", id))
		unlink(path);
	if (!path_of(path, sizeof(path), o, "log-%u", id))
		unlink(path);
}

static int parse(const char *path, struct jail_executor *ret)
{
	struct jail_executor e = { .sock = -1, .log = -1, .pidfd = -1 };
	char text[256];
	int pid, rc = read_file(path, text, sizeof(text));

	if (rc)
		return rc;
	if (sscanf(text, "id %u pid %d start %" SCNu64 " uid %u sandbox %u", &e.id, &pid,
		   &e.start_time, &e.uid, &e.sandbox) != 5 || pid <= 0)
		return -EINVAL;
	e.pid = pid;
	*ret = e;
	return 0;
}

/*
 * A directory entry: -ENOENT for what names no executor, or one that another entry names. A log
 * pipe alone is of one whose start or end was cut off: it has a number, but no process any more.
 */
static int read_entry(const struct jail_options *o, const char *name, struct jail_executor *ret)
{
	struct jail_executor e = { .sock = -1, .log = -1, .pidfd = -1 };
	bool log = strncmp(name, "log-", 4) == 0;
	const char *number = name + (log ? 4 : 9);
	char path[512];

	if ((!log && strncmp(name, "executor-", 9) != 0) || !isdigit((unsigned char)*number))
		return -ENOENT;
	e.id = (uint32_t)strtoul(number, NULL, 10);
	if (path_of(path, sizeof(path), o, "executor-%u", e.id))
		return -ENAMETOOLONG;
	if (!log)
		return parse(path, ret);
	if (access(path, F_OK) == 0)
		return -ENOENT;
	*ret = e;
	return 0;
}

int jail_state_each(const struct jail_options *o,
		    void (*found)(void *arg, const struct jail_executor *e), void *arg)
{
	DIR *dir = opendir(o->state_dir);
	struct dirent *d;

	if (!dir)
		return -errno;
	while ((d = readdir(dir))) {
		struct jail_executor e;
		int rc = read_entry(o, d->d_name, &e);

		if (rc == -ENOENT)
			continue;
		if (rc)
			vgpu_log(VGPU_LOG_ERROR, "state file not readable path=%s/%s error=\"%s\"",
				 o->state_dir, d->d_name, strerror(-rc));
		else
			found(arg, &e);
	}
	closedir(dir);
	return 0;
}

/* A named pipe, so that a restarted jailer can open it again. Neither end ever blocks. */
int jail_state_log_open(const struct jail_options *o, uint32_t id, int *ret_read, int *ret_write)
{
	vgpu_close int rd = -1, wr = -1;
	char path[512];

	if (path_of(path, sizeof(path), o, "log-%u", id))
		return -ENAMETOOLONG;
	if (ret_write && mkfifo(path, 0600) < 0)
		return -errno;
	rd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (rd < 0)
		return -errno;
	if (ret_write) {
		wr = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
		if (wr < 0)
			return -errno;
		*ret_write = vgpu_take_fd(&wr);
	}
	*ret_read = vgpu_take_fd(&rd);
	return 0;
}
