// SPDX-License-Identifier: MIT
#include "common/link/chan.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "common/util/cleanup.h"

/* The most that the kernel lets come with one packet (SCM_MAX_FD). There is room for all: what has
 * none would be closed by the kernel, at once and by the caller. */
enum { CHAN_FDS_COME = 253 };

static void close_now(int fd)
{
	close(fd);
}

static void (*chan_discard)(int fd) = close_now;

void vgpu_chan_set_discard(void (*discard)(int fd))
{
	chan_discard = discard;
}

void vgpu_chan_fds_close(struct vgpu_chan_fds *fds)
{
	for (unsigned int i = 0; i < fds->count; i++)
		if (fds->fd[i] >= 0)
			chan_discard(fds->fd[i]);
	fds->count = 0;
}

int vgpu_chan_fds_take(struct vgpu_chan_fds *fds, unsigned int i)
{
	return i < fds->count ? vgpu_take_fd(&fds->fd[i]) : -1;
}

int vgpu_chan_send(int sock, const void *message, size_t bytes, const int *fds, unsigned int count)
{
	union {
		char space[CMSG_SPACE(sizeof(int) * VGPU_CHAN_FDS_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec iov = { (void *)message, bytes };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t sent;

	if (count > VGPU_CHAN_FDS_MAX || !bytes)
		return -EINVAL;
	if (count) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		m.msg_control = control.space;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * count);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
	}
	do {
		sent = sendmsg(sock, &m, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return -errno;
	return (size_t)sent == bytes ? 0 : -EIO;
}

/* True: there were no more than fit. */
static bool take_descriptors(struct msghdr *m, struct vgpu_chan_fds *fds)
{
	bool fit = true;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (fds->count < VGPU_CHAN_FDS_MAX) {
				fds->fd[fds->count++] = fd;
				continue;
			}
			chan_discard(fd);
			fit = false;
		}
	}
	return fit;
}

ssize_t vgpu_chan_recv(int sock, void *message, size_t size, struct vgpu_chan_fds *ret_fds)
{
	union {
		char space[CMSG_SPACE(sizeof(int) * CHAN_FDS_COME)];
		struct cmsghdr align;
	} control;
	struct iovec iov = { message, size };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space,
			    .msg_controllen = sizeof(control.space) };
	struct vgpu_chan_fds fds = { .count = 0 };
	ssize_t got;
	bool fit;

	if (ret_fds)
		ret_fds->count = 0;
	do {
		got = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	fit = take_descriptors(&m, &fds);
	if (!fit || m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		vgpu_chan_fds_close(&fds);
		return -EMSGSIZE;
	}
	if (ret_fds)
		*ret_fds = fds;
	else
		vgpu_chan_fds_close(&fds);
	return got;
}

static int address_of(const char *path, struct sockaddr_un *ret)
{
	size_t length = strlen(path);

	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	if (length >= sizeof(ret->sun_path))
		return -ENAMETOOLONG;
	memcpy(ret->sun_path, path, length);
	return 0;
}

int vgpu_chan_connect(const char *path, int flags, int *ret_sock)
{
	struct sockaddr_un sa;
	vgpu_close int sock = -1;
	int rc = address_of(path, &sa);

	if (rc)
		return rc;
	sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);
	if (sock < 0)
		return -errno;
	if (connect(sock, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	*ret_sock = vgpu_take_fd(&sock);
	return 0;
}

int vgpu_chan_listen(const char *path, unsigned int mode, int flags, int *ret_sock)
{
	struct sockaddr_un sa;
	vgpu_close int sock = -1;
	int rc = address_of(path, &sa);

	if (rc)
		return rc;
	sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);
	if (sock < 0)
		return -errno;
	unlink(path);
	if (bind(sock, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	if (chmod(path, mode) < 0 || listen(sock, 64) < 0)
		return -errno;
	*ret_sock = vgpu_take_fd(&sock);
	return 0;
}
