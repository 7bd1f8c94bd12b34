/* SPDX-License-Identifier: MIT */
/*
 * Packets with descriptors over a SOCK_SEQPACKET Unix socket: what links, executors and the jailer
 * speak. Nothing here blocks unless the socket does; no function keeps state.
 */
#ifndef VGPU_COMMON_CHAN_H
#define VGPU_COMMON_CHAN_H

#include <stddef.h>
#include <sys/types.h>

enum { VGPU_CHAN_FDS_MAX = 8 };

struct vgpu_chan_fds {
	int fd[VGPU_CHAN_FDS_MAX];
	unsigned int count;
};

/*
 * How descriptors are closed that came with a packet and nobody takes: close(2) unless set. For
 * processes that must not wait: the last close of a file can take as long as its owner likes.
 */
void vgpu_chan_set_discard(void (*discard)(int fd));
/* Discards what is left in fds. */
void vgpu_chan_fds_close(struct vgpu_chan_fds *fds);
/* Takes descriptor i out of fds (it is then the caller's); -1 when there is none. */
int vgpu_chan_fds_take(struct vgpu_chan_fds *fds, unsigned int i);

/*
 * Sends one packet; `count` descriptors (at most VGPU_CHAN_FDS_MAX) are duplicated to the peer.
 * 0, -EAGAIN (the socket is full and does not block), -EPIPE (peer gone; no signal), -errno.
 */
int vgpu_chan_send(int sock, const void *message, size_t bytes, const int *fds, unsigned int count);

/*
 * Receives one packet of at most `size` bytes. Returns its length (> 0), 0 at end of file,
 * -EAGAIN, -EMSGSIZE (longer than size, or more descriptors than fit; nothing is kept), -errno.
 * Descriptors are close-on-exec; with ret_fds NULL all are discarded. ret_fds is always initialised.
 */
ssize_t vgpu_chan_recv(int sock, void *message, size_t size, struct vgpu_chan_fds *ret_fds);

/* Connects to / listens at a path, close-on-exec. A path too long for a socket: -ENAMETOOLONG.
 * vgpu_chan_listen replaces a stale socket file and gives it `mode`. */
int vgpu_chan_connect(const char *path, int flags, int *ret_sock);
int vgpu_chan_listen(const char *path, unsigned int mode, int flags, int *ret_sock);

#endif
