// SPDX-License-Identifier: MIT
/* A link's window: which of its extents sessions have. */
#include "host/mediator/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/window/window.h"

int med_window_init(struct med_window *w, int fd, uint64_t bytes)
{
	struct stat st;

	memset(w, 0, sizeof(*w));
	w->fd = fd;
	if (fstat(fd, &st) < 0)
		goto fail;
	w->used = calloc(1, (bytes / VGPU_EXTENT_BYTES + 7) / 8);
	if (!w->used) {
		errno = ENOMEM;
		goto fail;
	}
	w->bytes = bytes;
	w->device = st.st_dev;
	w->inode = st.st_ino;
	return 0;
fail:
	close(fd);
	w->fd = -1;
	return -errno;
}

void med_window_uninit(struct med_window *w)
{
	if (w->fd >= 0)
		close(w->fd);
	free(w->used);
	memset(w, 0, sizeof(*w));
	w->fd = -1;
}

bool med_window_same(const struct med_window *w, int fd)
{
	struct stat st;

	return w->fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == w->device && st.st_ino == w->inode;
}

static bool inside(const struct med_window *w, uint64_t offset, uint64_t bytes)
{
	return bytes && !(offset % VGPU_EXTENT_BYTES) && !(bytes % VGPU_EXTENT_BYTES) &&
	       offset <= w->bytes && bytes <= w->bytes - offset;
}

int med_window_take(struct med_window *w, uint64_t offset, uint64_t bytes)
{
	uint64_t first = offset / VGPU_EXTENT_BYTES, end;

	if (!inside(w, offset, bytes))
		return -EINVAL;
	end = first + bytes / VGPU_EXTENT_BYTES;
	for (uint64_t i = first; i < end; i++)
		if (w->used[i / 8] >> i % 8 & 1)
			return -EEXIST;
	for (uint64_t i = first; i < end; i++)
		w->used[i / 8] |= (uint8_t)(1u << i % 8);
	return 0;
}

int med_window_put(struct med_window *w, uint64_t offset, uint64_t bytes)
{
	uint64_t first = offset / VGPU_EXTENT_BYTES, end = first + bytes / VGPU_EXTENT_BYTES;

	if (!inside(w, offset, bytes))
		return -EINVAL;
	for (uint64_t i = first; i < end; i++)
		w->used[i / 8] &= (uint8_t)~(1u << i % 8);
	return vgpu_window_punch(w->fd, offset, bytes);
}

int med_window_clear(struct med_window *w)
{
	memset(w->used, 0, (w->bytes / VGPU_EXTENT_BYTES + 7) / 8);
	return vgpu_window_punch(w->fd, 0, w->bytes);
}
