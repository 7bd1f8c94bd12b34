// SPDX-License-Identifier: MIT
/* The control socket: lines in, lines out, nobody waited for. */
#include "host/mediator/control_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/util/cleanup.h"

struct client {
	struct client *next;
	struct med *med;
	struct med_source source;
	uid_t uid;
	gid_t gid;
	char *in;
	size_t in_bytes, in_space;
	char *out; /* the answer that is being written; nothing is read meanwhile */
	size_t out_at, out_bytes;
	bool closing;
};

static struct med_source control_listen = { .fd = -1 };
static struct client *clients;
static unsigned int client_count;
static struct med *control_med;

static void client_free(struct client *c)
{
	int fd = c->source.fd;

	for (struct client **at = &clients; *at; at = &(*at)->next) {
		if (*at == c) {
			*at = c->next;
			break;
		}
	}
	client_count--;
	med_loop_remove(&c->source);
	med_close_later(fd);
	free(c->in);
	free(c->out);
	free(c);
}

/* True when all is written; false while the peer is slow. c is freed on errors: *ret_gone. */
static bool write_out(struct client *c, bool *ret_gone)
{
	*ret_gone = false;
	while (c->out && c->out_at < c->out_bytes) {
		ssize_t n = send(c->source.fd, c->out + c->out_at, c->out_bytes - c->out_at, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			med_loop_change(&c->source, EPOLLOUT);
			return false;
		}
		if (n < 0) {
			*ret_gone = true;
			client_free(c);
			return false;
		}
		c->out_at += (size_t)n;
	}
	free(c->out);
	c->out = NULL;
	c->out_at = c->out_bytes = 0;
	if (c->closing) {
		*ret_gone = true;
		client_free(c);
		return false;
	}
	return true;
}

static void answer_line(struct client *c, const char *line, size_t bytes)
{
	/* each time anew: whose VM it is may have changed since the client connected */
	struct med_vm *own = med_vm_local(c->med, c->source.fd, c->uid, c->gid);

	c->out = med_rpc_answer(c->med, c->uid, own, line, bytes);
	c->out_bytes = c->out ? strlen(c->out) : 0;
	c->out_at = 0;
}

/* Handles one whole line, when the answers of those before it are taken. With more of them at hand it
 * comes again at the loop's next round: who sends many lines at once does not hold up others. */
static void work(struct client *c)
{
	bool gone, answered = false;

	while (write_out(c, &gone)) {
		char *end = memchr(c->in, '\n', c->in_bytes);
		size_t line;

		if (!end && c->in_bytes >= VGPU_CONTROL_MESSAGE_MAX) {
			c->closing = true;
			c->out = strdup("{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,"
					"\"message\":\"the line is longer than 1 MiB\"}}\n");
			c->out_bytes = c->out ? strlen(c->out) : 0;
			continue;
		}
		if (!end) {
			med_loop_change(&c->source, EPOLLIN);
			return;
		}
		if (answered) {
			med_loop_change(&c->source, EPOLLOUT);
			return;
		}
		answered = true;
		line = (size_t)(end - c->in);
		if (line)
			answer_line(c, c->in, line);
		c->in_bytes -= line + 1;
		memmove(c->in, end + 1, c->in_bytes);
	}
}

static bool grow(struct client *c)
{
	size_t space = c->in_space ? 2 * c->in_space : 4096;
	char *in;

	if (c->in_bytes < c->in_space)
		return true;
	if (space > VGPU_CONTROL_MESSAGE_MAX)
		space = VGPU_CONTROL_MESSAGE_MAX;
	in = realloc(c->in, space);
	if (!in)
		return false;
	c->in = in;
	c->in_space = space;
	return true;
}

static void client_ready(struct med_source *s, uint32_t events)
{
	struct client *c = med_container(s, struct client, source);
	struct vgpu_chan_fds fds;
	ssize_t n;

	if (!(events & EPOLLIN)) {
		if (events & EPOLLOUT)
			work(c);
		else
			client_free(c);
		return;
	}
	if (!grow(c)) {
		client_free(c);
		return;
	}
	n = vgpu_chan_recv(c->source.fd, c->in + c->in_bytes, c->in_space - c->in_bytes, &fds);
	if (n == -EAGAIN)
		return;
	/* descriptors have no place here */
	if (n <= 0 || fds.count) {
		vgpu_chan_fds_close(&fds);
		client_free(c);
		return;
	}
	c->in_bytes += (size_t)n;
	work(c);
}

static unsigned int count_of(uid_t uid)
{
	unsigned int n = 0;

	for (struct client *c = clients; c; c = c->next)
		n += c->uid == uid;
	return n;
}

static void accept_client(struct med_source *s, uint32_t events)
{
	vgpu_close int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer;
	socklen_t size = sizeof(peer);
	struct client *c;

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return;
	/* root always gets in */
	if (peer.uid && (client_count >= MED_CONTROL_CLIENTS || count_of(peer.uid) >= VGPU_CONTROL_CLIENTS_UID ||
			 med_closing_many())) {
		med_close_later(vgpu_take_fd(&fd));
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return;
	c->med = control_med;
	c->uid = peer.uid;
	c->gid = peer.gid;
	c->source.ready = client_ready;
	if (med_loop_add(&c->source, fd, EPOLLIN)) {
		free(c);
		return;
	}
	vgpu_take_fd(&fd);
	c->next = clients;
	clients = c;
	client_count++;
}

int med_control_start(struct med *m)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	vgpu_close int fd = -1;
	int rc;

	if (snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/control.sock", m->options.run_dir) >=
	    (int)sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	unlink(sa.sun_path);
	/* open to all: roles go by the peer's uid */
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || chmod(sa.sun_path, 0666) < 0 ||
	    listen(fd, 64) < 0)
		return -errno;
	control_med = m;
	control_listen.ready = accept_client;
	rc = med_loop_add(&control_listen, fd, EPOLLIN);
	if (!rc)
		vgpu_take_fd(&fd);
	return rc;
}

void med_control_stop(struct med *m)
{
	int fd = control_listen.fd;

	while (clients)
		client_free(clients);
	med_loop_remove(&control_listen);
	if (fd >= 0)
		close(fd);
}
