// SPDX-License-Identifier: MIT
#include "common/window/window.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/util/cleanup.h"
#include "protocol/device/device.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010 /* Linux 5.1 */
#endif

int vgpu_window_create(const char *name, uint64_t bytes, int *ret_fd)
{
	vgpu_close int fd = -1;

	if (!bytes || bytes % VGPU_EXTENT_BYTES || bytes > (1ull << 46))
		return -EINVAL;
	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bytes) < 0)
		return -errno;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	*ret_fd = vgpu_take_fd(&fd);
	return 0;
}

int vgpu_window_check(int fd, uint64_t bytes)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || fstat(fd, &st) < 0)
		return -EINVAL;
	if (!S_ISREG(st.st_mode) || !bytes || bytes % VGPU_EXTENT_BYTES || (uint64_t)st.st_size != bytes)
		return -EINVAL;
	/* seals against writing would make the punch fail; so would one that is added later */
	if (!(seals & F_SEAL_SHRINK) || !(seals & F_SEAL_SEAL) || (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)))
		return -EPERM;
	return 0;
}

int vgpu_window_punch(int fd, uint64_t offset, uint64_t bytes)
{
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes) < 0)
		return -errno;
	return 0;
}
