// SPDX-License-Identifier: MIT
/* Links: accepting, reading, ending. */
#include "host/mediator/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/util/cleanup.h"

static const char *vm_name(const struct med_link *l)
{
	return l->vm ? l->vm->config.name : "-";
}

/* Refusals come as fast as clients like: the log gets some of them, the counters all. */
static bool may_log(struct med *m)
{
	uint64_t now = med_now_ns();

	if (now - m->refusals_logged_ns > 1000000000u) {
		m->refusals_logged_ns = now;
		m->refusals_logged = 0;
	}
	return m->refusals_logged++ < MED_REFUSALS_LOGGED_PER_S;
}

void med_link_result(struct med_link *l, uint32_t type, uint32_t epoch, uint32_t sid, uint32_t error,
		     uint32_t value, uint32_t limit, const char *text)
{
	struct vgpu_link_result r = { .h = { type, sizeof(r), epoch, sid }, .error = error,
				      .value = value, .limit = limit };
	int rc;

	snprintf(r.text, sizeof(r.text), "%s", text ? text : "");
	if (error && may_log(l->med))
		vgpu_log(VGPU_LOG_NOTICE, "answer type=%u vm=%s uid=%u sid=%u error=0x%x value=%u limit=%u text=\"%s\"",
			 type, vm_name(l), l->uid, sid, error, value, limit, r.text);
	rc = med_channel_send(&l->channel, &r, sizeof(r), NULL, 0);
	if (rc && rc != -ENOTCONN) {
		/* its queue is full: it would wait for ever for an answer that is lost. The reader finds the end
		 * of the link at its next event; freeing here would pull the ground from under our callers. */
		l->med->counters.queue_overflow++;
		shutdown(l->channel.source.fd, SHUT_RDWR);
	}
}

void med_link_refuse(struct med_link *l, uint32_t error, uint32_t value, uint32_t limit,
		     const char *format, ...)
{
	char text[VGPU_LINK_TEXT];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args); // NOLINT: the analyzer of clang 14 loses va_start
	va_end(args);
	l->med->counters.links_refused++;
	l->refused++;
	if (l->vm)
		l->vm->refused++;
	med_link_result(l, VGPU_LINK_REFUSED, l->epoch, 0, error, value, limit, text);
	med_link_drop(l, "refused");
}

static void dispatch(struct med_link *l, const struct med_request *r, struct vgpu_chan_fds *fds)
{
	switch (r->h.type) {
	case VGPU_LINK_HELLO:
		med_link_hello(l, &r->hello, fds);
		break;
	case VGPU_LINK_OPEN:
		med_session_open(l, &r->open, fds);
		break;
	case VGPU_LINK_RESUME:
		med_session_resume(l, &r->open);
		break;
	case VGPU_LINK_HEAP_ADD:
		if (r->heap.flags & VGPU_LINK_FLAG_RESUME)
			med_session_resume_heap(l, &r->heap);
		else
			med_session_heap_add(l, &r->heap);
		break;
	case VGPU_LINK_CLOSE:
		med_session_close(l, r->h.sid);
		break;
	case VGPU_LINK_RESUMED:
		med_session_match(l->med, false);
		l->resuming = false;
		med_executors_end_unresumed(l);
		break;
	}
}

static void malformed(struct med_link *l, const char *why)
{
	l->med->counters.links_malformed++;
	l->malformed++;
	if (may_log(l->med))
		vgpu_log(VGPU_LOG_WARNING, "malformed message vm=%s uid=%u reason=\"%s\"", vm_name(l), l->uid,
			 why);
	med_link_drop(l, why);
}

/* A new epoch: all sessions of older ones go. */
static void reset(struct med_link *l, uint32_t epoch)
{
	struct med_session *next;

	l->epoch = epoch;
	l->resetting = true;
	l->resuming = false;
	med_executors_end_unresumed(l);
	for (struct med_session *s = l->sessions; s; s = next) {
		next = s->next;
		med_session_vanish(s);
	}
	med_link_check_reset(l);
}

void med_link_check_reset(struct med_link *l)
{
	int rc;

	if (!l->resetting || l->sessions || med_executors_of_earlier(l))
		return;
	l->resetting = false;
	/* sessions that an earlier mediator had are not known one by one: all of the window goes */
	rc = med_window_clear(&l->window);
	if (rc)
		vgpu_log(VGPU_LOG_ERROR, "window not punched vm=%s error=\"%s\"", l->vm->config.name, strerror(-rc));
	med_link_result(l, VGPU_LINK_RESET_DONE, l->epoch, 0, 0, 0, 0, "");
}

void med_links_check_resets(struct med *m)
{
	for (struct med_link *l = m->links; l; l = l->next)
		if (!l->gone)
			med_link_check_reset(l);
}

/* False when l is gone. */
static bool handle(struct med_link *l, const void *packet, size_t bytes, struct vgpu_chan_fds *fds)
{
	struct med *m = l->med;
	struct med_request r;
	const char *why;

	if (med_link_parse(packet, bytes, fds->count, l->greeted, &r, &why)) {
		malformed(l, why);
		return false;
	}
	if (l->greeted && r.h.type == VGPU_LINK_RESET && !l->local) {
		reset(l, r.h.epoch);
		return true;
	}
	if (l->greeted && (r.h.epoch != l->epoch || r.h.type == VGPU_LINK_RESET)) {
		malformed(l, "the message is of another epoch");
		return false;
	}
	if (!l->resuming && (r.h.type == VGPU_LINK_RESUME || r.h.type == VGPU_LINK_RESUMED ||
			     (r.h.type == VGPU_LINK_HEAP_ADD && r.heap.flags))) {
		malformed(l, "nothing is to be resumed");
		return false;
	}
	dispatch(l, &r, fds);
	for (struct med_link *k = m->links; k; k = k->next)
		if (k == l)
			return !l->gone;
	return false;
}

static void link_receive(struct med_channel *c)
{
	struct med_link *l = med_container(c, struct med_link, channel);
	char packet[VGPU_LINK_MESSAGE_MAX];

	for (unsigned int i = 0; i < MED_LINK_BUDGET && !c->queued; i++) {
		struct vgpu_chan_fds fds;
		ssize_t n = vgpu_chan_recv(c->source.fd, packet, sizeof(packet), &fds);
		bool going;

		if (n == -EAGAIN)
			return;
		if (n == -EMSGSIZE) {
			malformed(l, "the packet is too long");
			return;
		}
		if (n <= 0) {
			med_link_drop(l, n ? strerror((int)-n) : "end of file");
			return;
		}
		going = handle(l, packet, (size_t)n, &fds);
		vgpu_chan_fds_close(&fds);
		if (!going)
			return;
	}
}

static void hello_late(struct med_timer *t)
{
	med_link_drop(med_container(t, struct med_link, hello_timer), "no HELLO in time");
}

static unsigned int pending_of(const struct med *m, uid_t uid)
{
	unsigned int n = 0;

	for (struct med_link *l = m->links; l; l = l->next)
		n += !l->greeted && l->uid == uid;
	return n;
}

/* Takes what waits at listen_fd; vm is NULL for the local socket. */
int med_link_accept(struct med *m, struct med_vm *vm, int listen_fd)
{
	vgpu_close int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer;
	socklen_t size = sizeof(peer);
	struct med_link *l;
	int rc;

	if (fd < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return -errno;
	if (m->link_count >= MED_LINKS || pending_of(m, peer.uid) >= MED_LINKS_PENDING_UID || med_closing_many()) {
		m->counters.links_refused++;
		med_close_later(vgpu_take_fd(&fd));
		if (may_log(m))
			vgpu_log(VGPU_LOG_WARNING, "connection refused uid=%u links=%u limit=%d: too many",
				 peer.uid, m->link_count, MED_LINKS);
		return -EBUSY;
	}
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->med = m;
	l->local = !vm;
	l->vm = vm ? vm : med_vm_local(m, fd, peer.uid, peer.gid);
	l->uid = peer.uid;
	l->pid = (uint32_t)peer.pid;
	l->window.fd = -1;
	l->since_ns = med_now_ns();
	l->hello_timer.fire = hello_late;
	rc = med_channel_init(&l->channel, fd, MED_LINK_QUEUE, link_receive);
	if (rc) {
		free(l);
		return rc;
	}
	vgpu_take_fd(&fd);
	l->next = m->links;
	m->links = l;
	m->link_count++;
	m->counters.links++;
	med_timer_start(&l->hello_timer, MED_HELLO_MS);
	return 0;
}

void med_link_drop(struct med_link *l, const char *why)
{
	struct med_session *next;

	if (l->gone)
		return;
	if (l->greeted)
		vgpu_log(VGPU_LOG_INFO, "link ended vm=%s uid=%u pid=%u reason=\"%s\"", vm_name(l), l->uid,
			 l->pid, why);
	l->gone = true;
	l->resetting = false;
	med_timer_stop(&l->hello_timer);
	med_channel_uninit(&l->channel);
	for (struct med_session *s = l->sessions; s; s = next) {
		next = s->next;
		if (!next) {
			med_session_vanish(s); /* the last may free the link */
			return;
		}
		med_session_vanish(s);
	}
	if (!l->sessions)
		med_link_collect(l);
}

/* Frees a link without peer and sessions. */
void med_link_collect(struct med_link *l)
{
	struct med *m = l->med;

	if (!l->gone || l->sessions)
		return;
	for (struct med_link **at = &m->links; *at; at = &(*at)->next) {
		if (*at == l) {
			*at = l->next;
			break;
		}
	}
	m->link_count--;
	m->window_bytes -= l->window.bytes;
	med_window_uninit(&l->window);
	free(l);
	med_vms_collect(m);
}
