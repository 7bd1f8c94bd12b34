/* SPDX-License-Identifier: MIT */
/* The memfd that a link shares with the host. */
#ifndef VGPU_COMMON_WINDOW_H
#define VGPU_COMMON_WINDOW_H

#include <stdint.h>

/*
 * Makes a window of `bytes` (a multiple of 2 MiB), sealed against shrinking and growing, so that
 * a mapping of it can never fault for lack of file. 0, -EINVAL, -ENOMEM, -errno.
 */
int vgpu_window_create(const char *name, uint64_t bytes, int *ret_fd);

/*
 * Checks a descriptor that a client has sent: a memfd that cannot shrink and takes no more seals, of
 * exactly `bytes`. 0, -EINVAL (not a memfd, or another size), -EPERM (not sealed so).
 */
int vgpu_window_check(int fd, uint64_t bytes);

/*
 * Makes [offset, offset + bytes) read as zero and gives its memory back. Only when no process
 * can write there any more.
 */
int vgpu_window_punch(int fd, uint64_t offset, uint64_t bytes);

#endif
