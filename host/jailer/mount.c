// SPDX-License-Identifier: MIT
/*
 * The executor's root: a read-only tmpfs with bind mounts of the libraries, the executor, the
 * driver, the device nodes of its one GPU, and a /proc of its own. What the driver needs was
 * measured: docs/decisions/0003-executor-identity.md.
 */
#include "host/jailer/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/util/cleanup.h"

static int join(char *ret, const char *root, const char *path)
{
	return snprintf(ret, PATH_MAX, "%s%s", root, path) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int make_parents(const char *root, const char *path)
{
	char at[PATH_MAX];
	size_t skip = strlen(root) + 1;

	if (join(at, root, path))
		return -ENAMETOOLONG;
	for (char *p = strchr(at + skip, '/'); p; p = strchr(p + 1, '/')) {
		*p = 0;
		if (mkdir(at, 0755) < 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	return 0;
}

static bool visible(const char *root, const char *path)
{
	char at[PATH_MAX];
	struct stat st;

	return !join(at, root, path) && lstat(at, &st) == 0;
}

static int bind_one(const char *path, const char *at, bool device)
{
	unsigned long flags = MS_BIND | MS_REMOUNT | MS_NOSUID | (device ? MS_NOEXEC : MS_RDONLY | MS_NODEV);

	if (mount(path, at, NULL, MS_BIND | MS_REC, NULL) < 0)
		return -errno;
	return mount(NULL, at, NULL, flags, NULL) < 0 ? -errno : 0;
}

/* Shows `path` at the same place below root: a link as the same link. What is absent is skipped. */
static int show(const char *root, const char *path, bool device)
{
	vgpu_close int fd = -1;
	char at[PATH_MAX], target[PATH_MAX];
	struct stat st;
	ssize_t n;
	int rc;

	if (lstat(path, &st) < 0 || visible(root, path))
		return 0;
	rc = make_parents(root, path);
	if (rc)
		return rc;
	if (join(at, root, path))
		return -ENAMETOOLONG;
	if (S_ISLNK(st.st_mode)) {
		n = readlink(path, target, sizeof(target) - 1);
		if (n < 0)
			return -errno;
		target[n] = 0;
		return symlink(target, at) < 0 ? -errno : 0;
	}
	if (S_ISDIR(st.st_mode)) {
		if (mkdir(at, 0755) < 0 && errno != EEXIST)
			return -errno;
	} else {
		fd = open(at, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0)
			return -errno;
	}
	return bind_one(path, at, device);
}

/* The gpu'th of the GPUs' nodes, by their numbers; false when there are not so many. */
static bool find_gpu_node(uint32_t gpu, char *ret, size_t size)
{
	for (unsigned int minor = 0; minor < 256; minor++) {
		snprintf(ret, size, "/dev/nvidia%u", minor);
		if (!access(ret, F_OK) && !gpu--)
			return true;
	}
	return false;
}

static int show_devices(const char *root, uint32_t gpu)
{
	static const char *const nodes[] = { "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random",
					     "/dev/nvidiactl", "/dev/nvidia-uvm" };
	char node[32];
	int rc = 0;

	for (size_t i = 0; i < sizeof(nodes) / sizeof(*nodes) && !rc; i++)
		rc = show(root, nodes[i], true);
	if (!rc && find_gpu_node(gpu, node, sizeof(node)))
		rc = show(root, node, true);
	return rc;
}

/* A file's directory, unless the libraries' directories hold it already. */
static int show_directory_of(const char *root, const char *file)
{
	vgpu_free char *real = NULL;
	char *slash;

	if (!file || file[0] != '/')
		return 0;
	real = realpath(file, NULL);
	if (!real)
		return -errno;
	if (visible(root, real) && visible(root, file))
		return 0;
	slash = strrchr(real, '/');
	if (slash == real)
		return -EINVAL; /* would show the whole of the host */
	*slash = 0;
	if (strncmp(file, real, strlen(real)) != 0 || file[strlen(real)] != '/') {
		int rc = make_parents(root, file);
		char at[PATH_MAX];

		*slash = '/';
		if (!rc)
			rc = join(at, root, file);
		if (!rc && symlink(real, at) < 0 && errno != EEXIST)
			rc = -errno;
		*slash = 0;
		if (rc)
			return rc;
	}
	return show(root, real, false);
}

static int show_all(const char *root, const struct jail_options *o, bool own_pid, uint32_t gpu,
		    const char **ret_step)
{
	static const char *const libraries[] = { "/usr/lib", "/usr/lib64", "/lib", "/lib64",
						 "/usr/local/lib", "/etc/ld.so.cache" };
	char at[PATH_MAX];
	int rc = 0;

	*ret_step = "bind mounts of the libraries";
	for (size_t i = 0; i < sizeof(libraries) / sizeof(*libraries) && !rc; i++)
		rc = show(root, libraries[i], false);
	if (rc)
		return rc;
	*ret_step = "bind mount of the executor";
	rc = show(root, o->executor, false);
	if (rc)
		return rc;
	*ret_step = "bind mount of the GPU driver's directory";
	/* a bare name is the executor's to look up; here only its directory is needed, with the libraries
	 * that the driver loads from there. One that is nowhere is told by the executor */
	if (strchr(o->driver, '/'))
		rc = show_directory_of(root, o->driver);
	else if (jail_library_find(o, o->driver, at, sizeof(at)))
		rc = show_directory_of(root, at);
	if (rc)
		return rc;
	*ret_step = "bind mounts of the devices";
	rc = show_devices(root, gpu);
	if (rc)
		return rc;
	*ret_step = "mount of /proc";
	rc = join(at, root, "/proc");
	if (rc)
		return rc;
	if (mkdir(at, 0555) < 0)
		return -errno;
	if (!own_pid)
		return mount("/proc", at, NULL, MS_BIND | MS_REC, NULL) < 0 ? -errno : 0;
	return mount("proc", at, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ? -errno : 0;
}

int jail_mount_tree(const struct jail_options *o, bool own_pid, uint32_t gpu, const char **ret_step)
{
	char root[PATH_MAX];
	int rc;

	*ret_step = "private mount namespace";
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	if (snprintf(root, sizeof(root), "%s/root", o->state_dir) >= (int)sizeof(root))
		return -ENAMETOOLONG;
	*ret_step = "tmpfs for the root";
	if (mkdir(root, 0755) < 0 && errno != EEXIST)
		return -errno;
	if (mount("vgpu-executor", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755") < 0)
		return -errno;
	rc = show_all(root, o, own_pid, gpu, ret_step);
	if (rc)
		return rc;
	*ret_step = "change of the root";
	if (mount(NULL, root, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) < 0)
		return -errno;
	/* both at one place: the old root ends up on top and is detached */
	if (chdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
		return -errno;
	return chdir("/") < 0 ? -errno : 0;
}
