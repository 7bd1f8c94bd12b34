/* SPDX-License-Identifier: MIT */
/* Unwinding by scope: `vgpu_close int fd = -1;`, `vgpu_free char *p = NULL;`. */
#ifndef VGPU_COMMON_CLEANUP_H
#define VGPU_COMMON_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

static inline void vgpu_cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void vgpu_cleanup_free(void *p)
{
	free(*(void **)p);
}

#define vgpu_close __attribute__((cleanup(vgpu_cleanup_close)))
#define vgpu_free __attribute__((cleanup(vgpu_cleanup_free)))

/* Gives a descriptor or pointer away: the cleanup then finds nothing to do. */
static inline int vgpu_take_fd(int *fd)
{
	int ret = *fd;

	*fd = -1;
	return ret;
}

#define vgpu_take_ptr(p) \
	({ \
		__typeof__(p) taken_ = (p); \
		(p) = NULL; \
		taken_; \
	})

#endif
