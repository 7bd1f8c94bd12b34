// SPDX-License-Identifier: MIT
/*
 * One cgroup an executor: version 2, or the version 1 controllers of older hosts. The mounts are
 * looked up once; paths are ours, nothing a guest says is part of them.
 */
#include "host/jailer/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/util/cleanup.h"

#define CGROUP2_MAGIC 0x63677270

static const char *const controllers[JAIL_CONTROLLERS] = { "memory", "pids", "cpu", "freezer" };
/* v2: one base; v1: one a controller, empty where there is none */
static char bases[JAIL_CONTROLLERS][256];
static unsigned int base_count;
static bool version2;

static int write_text(const char *dir, const char *file, const char *text)
{
	vgpu_close int fd = -1;
	char path[384];

	if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int read_text(const char *dir, const char *file, char *ret, size_t size)
{
	vgpu_close int fd = -1;
	char path[384];
	ssize_t n;

	if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, ret, size - 1);
	if (n < 0)
		return -errno;
	ret[n] = 0;
	return 0;
}

/* mkdir -p below `mount`, enabling the controllers of version 2 on the way. */
static int make_parents(const char *mount, const char *relative, char *ret, size_t size)
{
	char path[256];
	size_t at = (size_t)snprintf(path, sizeof(path), "%s", mount);

	while (*relative) {
		size_t n;

		relative += strspn(relative, "/");
		n = strcspn(relative, "/");
		if (!n)
			break;
		if (at + n + 2 > sizeof(path))
			return -ENAMETOOLONG;
		if (version2) {
			/* those that cannot be had show when memory.max is missing */
			write_text(path, "cgroup.subtree_control", "+memory");
			write_text(path, "cgroup.subtree_control", "+pids");
		}
		path[at++] = '/';
		memcpy(path + at, relative, n);
		at += n;
		path[at] = 0;
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return -errno;
		relative += n;
	}
	if (version2) {
		write_text(path, "cgroup.subtree_control", "+memory");
		write_text(path, "cgroup.subtree_control", "+pids");
	}
	return snprintf(ret, size, "%s", path) < (int)size ? 0 : -ENAMETOOLONG;
}

static bool is_cgroup2(const char *mount)
{
	struct statfs fs;
	char text[256];

	return statfs(mount, &fs) == 0 && (unsigned long)fs.f_type == CGROUP2_MAGIC &&
	       read_text(mount, "cgroup.controllers", text, sizeof(text)) == 0 &&
	       strstr(text, "memory");
}

int jail_cgroup_init(const char *parent)
{
	int rc;

	base_count = 0;
	version2 = is_cgroup2("/sys/fs/cgroup");
	if (version2) {
		rc = make_parents("/sys/fs/cgroup", parent, bases[0], sizeof(bases[0]));
		if (!rc)
			base_count = 1;
		return rc;
	}
	for (unsigned int i = 0; i < JAIL_CONTROLLERS; i++) {
		char mount[64];

		snprintf(mount, sizeof(mount), "/sys/fs/cgroup/%s", controllers[i]);
		if (access(mount, F_OK))
			continue;
		rc = make_parents(mount, parent, bases[base_count], sizeof(bases[0]));
		if (!rc)
			base_count++;
		else if (!i)
			return rc; /* without the memory controller the rest is not worth having */
	}
	return base_count ? 0 : -ENOENT;
}

static bool dir_of(char *ret, size_t size, unsigned int base, uint32_t id)
{
	return snprintf(ret, size, "%s/executor-%u", bases[base], id) < (int)size;
}

static bool limit_memory(const char *dir, uint64_t bytes)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, bytes);
	if (version2) {
		write_text(dir, "memory.swap.max", "0");
		write_text(dir, "memory.oom.group", "1");
		return write_text(dir, "memory.max", text) == 0;
	}
	return write_text(dir, "memory.limit_in_bytes", text) == 0;
}

int jail_cgroup_create(uint32_t id, uint64_t memory_limit_bytes, bool *ret_limited)
{
	bool limited = false;

	for (unsigned int i = 0; i < base_count; i++) {
		char dir[320], pids[16];

		if (!dir_of(dir, sizeof(dir), i, id))
			return -ENAMETOOLONG;
		if (mkdir(dir, 0755) < 0 && errno != EEXIST) {
			int rc = -errno;

			jail_cgroup_remove(id);
			return rc;
		}
		if (memory_limit_bytes)
			limited |= limit_memory(dir, memory_limit_bytes);
		snprintf(pids, sizeof(pids), "%d", JAIL_EXECUTOR_PIDS);
		write_text(dir, "pids.max", pids);
	}
	*ret_limited = limited;
	return 0;
}

int jail_cgroup_add(uint32_t id, pid_t pid)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", (int)pid);
	for (unsigned int i = 0; i < base_count; i++) {
		char dir[320];
		int rc;

		if (!dir_of(dir, sizeof(dir), i, id))
			return -ENAMETOOLONG;
		rc = write_text(dir, "cgroup.procs", text);
		if (rc)
			return rc;
	}
	return 0;
}

void jail_cgroup_kill(uint32_t id)
{
	char dir[320], text[8192], *p, *save = NULL;

	if (!base_count || !dir_of(dir, sizeof(dir), 0, id))
		return;
	if (version2 && write_text(dir, "cgroup.kill", "1") == 0)
		return;
	/* A list read is stale at once; the caller repeats until the cgroup can be removed. */
	if (read_text(dir, "cgroup.procs", text, sizeof(text)))
		return;
	for (p = strtok_r(text, "\n", &save); p; p = strtok_r(NULL, "\n", &save)) {
		pid_t pid = (pid_t)strtol(p, NULL, 10);

		if (pid > 0)
			kill(pid, SIGKILL);
	}
}

int jail_cgroup_remove(uint32_t id)
{
	int rc = 0;

	for (unsigned int i = 0; i < base_count; i++) {
		char dir[320];

		if (dir_of(dir, sizeof(dir), i, id) && rmdir(dir) < 0 && errno != ENOENT)
			rc = -errno;
	}
	return rc;
}

bool jail_cgroup_out_of_memory(uint32_t id)
{
	char dir[320], text[512], *p;

	if (!base_count || !dir_of(dir, sizeof(dir), 0, id))
		return false;
	if (read_text(dir, version2 ? "memory.events" : "memory.oom_control", text, sizeof(text)))
		return false;
	p = strstr(text, "oom_kill ");
	return p && strtoul(p + 9, NULL, 10) > 0;
}
