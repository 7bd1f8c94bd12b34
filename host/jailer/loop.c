// SPDX-License-Identifier: MIT
/* The mediator's connection, and the loop around poll. */
#include "host/jailer/internal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/link/chan.h"
#include "common/log/log.h"
#include "common/util/cleanup.h"

static void disconnect(struct jailer *j, const char *why)
{
	if (j->conn < 0)
		return;
	vgpu_log(VGPU_LOG_NOTICE, "mediator disconnected reason=\"%s\"", why);
	close(j->conn);
	j->conn = -1;
	j->greeted = false;
	j->said_hello = false;
	j->send_listed = false;
}

static int send_message(struct jailer *j, uint32_t type, const struct jail_executor *e, int error,
			uint32_t tag, const char *text)
{
	struct vgpu_jailer_message m = { .type = type, .bytes = sizeof(m),
					 .version = VGPU_JAILER_VERSION, .tag = tag, .status = error };
	unsigned int fds = type == VGPU_JAILER_EXECUTOR && e->sock >= 0 ? 1 : 0;

	if (e) {
		m.id = e->id;
		m.pid = (uint32_t)e->pid;
		m.uid = e->uid;
		m.sandbox = e->sandbox;
	}
	if (type == VGPU_JAILER_DIED) {
		m.reason = e->reason;
		m.status = e->status;
	}
	if (text)
		snprintf(m.text, sizeof(m.text), "%s", text);
	return vgpu_chan_send(j->conn, &m, sizeof(m), e ? &e->sock : NULL, fds);
}

/* Sends what is pending until the socket is full; true when something is left. */
static bool flush(struct jailer *j)
{
	int rc = 0;

	if (!j->greeted)
		return false;
	for (struct jail_executor *e = j->executors; e && !rc; e = e->next) {
		if (e->pending & JAIL_SEND_EXECUTOR) {
			rc = send_message(j, VGPU_JAILER_EXECUTOR, e, 0, e->tag, NULL);
			if (!rc)
				e->pending &= ~(unsigned int)JAIL_SEND_EXECUTOR;
		}
		if (!rc && e->pending & JAIL_SEND_DIED) {
			rc = send_message(j, VGPU_JAILER_DIED, e, 0, 0, NULL);
			if (!rc)
				e->pending &= ~(unsigned int)JAIL_SEND_DIED;
		}
	}
	if (!rc && j->send_listed) {
		rc = send_message(j, VGPU_JAILER_LISTED, NULL, 0, 0, NULL);
		if (!rc)
			j->send_listed = false;
	}
	/* it is gone; what it has sent before, sockets of executors above all, is still read */
	if (rc && rc != -EAGAIN)
		j->greeted = false;
	return rc == -EAGAIN;
}

static void hello(struct jailer *j)
{
	j->greeted = true;
	j->send_listed = true;
	for (struct jail_executor *e = j->executors; e; e = e->next) {
		e->tag = 0;
		e->pending = e->state == JAIL_GONE || !e->started ? 0 : JAIL_SEND_EXECUTOR;
	}
}

static void spawn(struct jailer *j, const struct vgpu_jailer_message *m)
{
	char text[sizeof(m->text)] = "";
	int rc = jail_executor_spawn(j, m, text, sizeof(text));

	if (!rc)
		return;
	vgpu_log(VGPU_LOG_ERROR, "executor not started error=\"%s\"", text[0] ? text : strerror(-rc));
	rc = send_message(j, VGPU_JAILER_SPAWN_FAILED, NULL, rc, m->tag, text[0] ? text : strerror(-rc));
	if (rc == -EAGAIN)
		disconnect(j, "the mediator does not read");
}

/* One message; false when the mediator has broken the protocol. */
static bool handle(struct jailer *j, const struct vgpu_jailer_message *m, struct vgpu_chan_fds *fds)
{
	struct jail_executor *e;

	if (m->type != VGPU_JAILER_HELLO && !j->said_hello)
		return false;
	switch (m->type) {
	case VGPU_JAILER_HELLO:
		j->said_hello = true;
		hello(j);
		return true;
	case VGPU_JAILER_SPAWN:
		spawn(j, m);
		return true;
	case VGPU_JAILER_KILL:
		e = jail_executor_find(j, m->id);
		if (e)
			jail_executor_kill(j, e);
		return true;
	case VGPU_JAILER_ADOPT:
		e = jail_executor_find(j, m->id);
		if (e && e->sock < 0) {
			e->sock = vgpu_chan_fds_take(fds, 0);
			if (e->sock >= 0)
				jail_keep_socket(e);
		}
		return true;
	default:
		return false;
	}
}

static void read_mediator(struct jailer *j)
{
	struct vgpu_jailer_message m;
	struct vgpu_chan_fds fds;
	ssize_t n = vgpu_chan_recv(j->conn, &m, sizeof(m), &fds);
	bool good;

	/* reset: it died without having read all; its own last messages come after this error */
	if (n == -EAGAIN || n == -ECONNRESET)
		return;
	if (n <= 0) {
		disconnect(j, n ? strerror((int)-n) : "end of file");
		return;
	}
	good = n == sizeof(m) && m.bytes == sizeof(m) && m.version == VGPU_JAILER_VERSION &&
	       handle(j, &m, &fds);
	vgpu_chan_fds_close(&fds);
	if (!good)
		disconnect(j, "malformed message");
}

static void accept_mediator(struct jailer *j)
{
	vgpu_close int fd = accept4(j->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer;
	socklen_t size = sizeof(peer);
	char byte;

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return;
	if (peer.uid != j->options.mediator_uid) {
		vgpu_log(VGPU_LOG_WARNING, "connection refused uid=%u pid=%d expected_uid=%u", peer.uid,
			 (int)peer.pid, j->options.mediator_uid);
		return;
	}
	/* a mediator that has just died may not have been noticed yet */
	while (j->conn >= 0 && !(recv(j->conn, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN))
		read_mediator(j);
	if (j->conn >= 0) {
		vgpu_log(VGPU_LOG_WARNING, "second mediator refused pid=%d", (int)peer.pid);
		return;
	}
	j->conn = vgpu_take_fd(&fd);
	vgpu_log(VGPU_LOG_NOTICE, "mediator connected pid=%d", (int)peer.pid);
}

static void read_signals(struct jailer *j)
{
	struct signalfd_siginfo info;

	while (read(j->signal_fd, &info, sizeof(info)) == sizeof(info))
		if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
			j->stop = true;
}

enum { POLL_FIXED = 3 };

/* Fills the array of poll; executors' entries come in pairs after the fixed ones. */
static nfds_t fill(struct jailer *j, struct pollfd *p, bool blocked, int *ret_timeout)
{
	nfds_t n = POLL_FIXED;

	*ret_timeout = -1;
	p[0] = (struct pollfd){ .fd = j->listen_fd, .events = POLLIN };
	p[1] = (struct pollfd){ .fd = j->signal_fd, .events = POLLIN };
	p[2] = (struct pollfd){ .fd = j->conn, .events = POLLIN | (blocked ? POLLOUT : 0) };
	for (struct jail_executor *e = j->executors; e; e = e->next) {
		p[n++] = (struct pollfd){ .fd = e->log, .events = POLLIN };
		p[n++] = (struct pollfd){ .fd = e->state == JAIL_LIVE ? e->pidfd : -1, .events = POLLIN };
		/* what dies is looked at again; so is what gives no event when it dies */
		if (e->state == JAIL_DYING || (e->state == JAIL_LIVE && !e->child && e->pidfd < 0))
			*ret_timeout = JAIL_RETRY_MS;
	}
	return n;
}

static void read_logs(struct jailer *j, const struct pollfd *p)
{
	nfds_t n = POLL_FIXED;

	for (struct jail_executor *e = j->executors; e; e = e->next, n += 2) {
		if (p[n].revents & POLLIN)
			jail_executor_read_log(e);
		else if (p[n].revents && e->log >= 0 && e->state == JAIL_LIVE) {
			/* no writer: it has closed its log; nothing will come any more */
			close(e->log);
			e->log = -1;
		}
	}
}

int jail_loop(struct jailer *j)
{
	/* one more than may live: one whose start failed is in the list until it is reaped */
	static struct pollfd p[POLL_FIXED + 2 * (VGPU_JAILER_EXECUTORS + 1)];

	while (!j->stop) {
		bool blocked;
		int timeout;
		nfds_t n;

		jail_executors_check(j);
		blocked = flush(j);
		jail_executors_collect(j);
		n = fill(j, p, blocked, &timeout);
		if (poll(p, n, timeout) < 0 && errno != EINTR)
			return -errno;
		read_logs(j, p); /* first: it goes by the list as it was for poll */
		if (p[1].revents)
			read_signals(j);
		if (p[2].revents & (POLLIN | POLLHUP | POLLERR))
			read_mediator(j);
		if (p[0].revents)
			accept_mediator(j);
	}
	return 0;
}
