// SPDX-License-Identifier: MIT
/* Packets to a peer that may be slow: what its socket does not take waits in a bounded queue. */
#include "host/mediator/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct med_packet {
	struct med_packet *next;
	struct vgpu_chan_fds fds;
	size_t bytes;
	char message[];
};

static void packet_free(struct med_packet *p)
{
	vgpu_chan_fds_close(&p->fds);
	free(p);
}

static void pop(struct med_channel *c)
{
	struct med_packet *p = c->head;

	c->head = p->next;
	if (!c->head)
		c->tail = &c->head;
	c->queued--;
	packet_free(p);
}

/* Reading waits while the peer does not read: who floods without reading is held back. */
static void watch(struct med_channel *c)
{
	med_loop_change(&c->source, c->queued ? EPOLLOUT : EPOLLIN);
}

static void channel_ready(struct med_source *s, uint32_t events)
{
	struct med_channel *c = med_container(s, struct med_channel, source);

	while (c->queued) {
		struct med_packet *p = c->head;
		int rc = vgpu_chan_send(s->fd, p->message, p->bytes, p->fds.fd, p->fds.count);

		if (rc == -EAGAIN)
			break;
		pop(c); /* a peer that is gone shows when it is read from */
	}
	watch(c);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		c->receive(c);
}

int med_channel_init(struct med_channel *c, int sock, unsigned int queued_max,
		     void (*receive)(struct med_channel *c))
{
	memset(c, 0, sizeof(*c));
	c->source.fd = -1;
	c->source.ready = channel_ready;
	c->tail = &c->head;
	c->queued_max = queued_max;
	c->receive = receive;
	return med_loop_add(&c->source, sock, EPOLLIN);
}

static int enqueue(struct med_channel *c, const void *message, size_t bytes, const int *fds,
		   unsigned int count)
{
	struct med_packet *p;

	if (c->queued >= c->queued_max)
		return -ENOBUFS;
	p = calloc(1, sizeof(*p) + bytes);
	if (!p)
		return -ENOMEM;
	memcpy(p->message, message, bytes);
	p->bytes = bytes;
	for (unsigned int i = 0; i < count; i++) {
		int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);

		if (fd < 0) {
			int rc = -errno;

			packet_free(p);
			return rc;
		}
		p->fds.fd[p->fds.count++] = fd;
	}
	*c->tail = p;
	c->tail = &p->next;
	if (!c->queued++)
		watch(c);
	return 0;
}

int med_channel_send(struct med_channel *c, const void *message, size_t bytes, const int *fds,
		     unsigned int count)
{
	int rc = -EAGAIN;

	if (c->source.fd < 0)
		return -ENOTCONN;
	if (!c->queued)
		rc = vgpu_chan_send(c->source.fd, message, bytes, fds, count);
	return rc == -EAGAIN ? enqueue(c, message, bytes, fds, count) : rc;
}

void med_channel_uninit(struct med_channel *c)
{
	int fd = c->source.fd;

	med_loop_remove(&c->source);
	if (fd >= 0)
		med_close_later(fd); /* with what is unread in it */
	while (c->head)
		pop(c);
}
