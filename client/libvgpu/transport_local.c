// SPDX-License-Identifier: MIT
/*
 * The local transport: a link of its own for each session, to the mediator's local socket. The
 * window is a memfd that the mediator makes; this side gives its extents out, in order.
 *
 * Opening is done by the calling thread. After that the link belongs to link_local.c's thread.
 */
#include "client/libvgpu/local.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/window/window.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum { CLOSE_MS = 10000 };

/* ---- opening ---- */

static vgpu_status refused(struct vgpu_local *l, const char *what, const struct vgpu_link_result *r)
{
	char text[VGPU_LINK_TEXT];

	memcpy(text, r->text, sizeof(text));
	text[sizeof(text) - 1] = 0;
	return vgpu_fail(r->error ? r->error : VGPU_ERROR_HOST_INTERNAL, "%s %s: %s (%s; asked %u, limit %u)", what,
			 l->path, *text ? text : vgpu_status_text(r->error), vgpu_status_name(r->error), r->value,
			 r->limit);
}

static vgpu_status connect_link(struct vgpu_local *l, const struct vgpu_transport_open *how)
{
	union vgpu_link_message m;
	struct vgpu_chan_fds fds;
	int rc = vgpu_chan_connect(l->path, 0, &l->sock);

	if (rc)
		return vgpu_fail(VGPU_ERROR_HOST_NO_MEDIATOR, "open %s: %s; is vgpu-mediator running, and may this user?",
				 l->path, strerror(-rc));
	rc = vgpu_local_greet(l, how->window_bytes, how->timeout_ms, &m, &fds);
	if (rc) {
		vgpu_chan_fds_close(&fds);
		return vgpu_fail(VGPU_ERROR_HOST_NO_MEDIATOR, "open %s: the host's service does not answer: %s", l->path,
				 strerror(-rc));
	}
	if (m.h.type == VGPU_LINK_REFUSED) {
		vgpu_chan_fds_close(&fds);
		return refused(l, "open", &m.result);
	}
	l->window_fd = vgpu_chan_fds_take(&fds, 0);
	vgpu_chan_fds_close(&fds);
	l->window_bytes = m.welcome.window_bytes;
	rc = l->window_fd < 0 ? -EBADF : vgpu_window_check(l->window_fd, l->window_bytes);
	if (rc || l->window_bytes < 2 * VGPU_EXTENT_BYTES)
		return vgpu_fail(VGPU_ERROR_HOST_INTERNAL, "open %s: the host's window of %llu bytes is not usable: %s",
				 l->path, (unsigned long long)l->window_bytes, strerror(-rc));
	return VGPU_OK;
}

static vgpu_status map_control(struct vgpu_local *l)
{
	void *p = mmap(NULL, VGPU_CONTROL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, l->window_fd, 0);

	if (p == MAP_FAILED)
		return vgpu_fail(VGPU_ERROR_CALL_NO_MEMORY, "open %s: cannot map the session: %s", l->path, strerror(errno));
	madvise(p, VGPU_CONTROL_BYTES, MADV_DONTFORK);
	l->t.control = p;
	l->window_next = VGPU_CONTROL_BYTES;
	return VGPU_OK;
}

static vgpu_status open_session(struct vgpu_local *l, uint32_t timeout_ms)
{
	struct vgpu_link_open open = { .h = { .type = VGPU_LINK_OPEN, .bytes = sizeof(open) },
				       .arena = l->t.arena, .features = VGPU_SESSION_FEATURE_BASE,
				       .pid = (uint32_t)getpid() };
	int fds[2] = { l->doorbell_fd, l->interrupt_fd };
	union vgpu_link_message m;
	int rc = vgpu_chan_send(l->sock, &open, sizeof(open), fds, 2);

	while (!rc) {
		rc = vgpu_local_receive(l->sock, timeout_ms, &m, NULL);
		if (rc || m.h.type != VGPU_LINK_STATUS)
			break;
	}
	if (rc)
		return vgpu_fail(VGPU_ERROR_HOST_NO_MEDIATOR, "open %s: no answer about the session: %s", l->path,
				 strerror(-rc));
	if (m.h.type != VGPU_LINK_OPENED || m.result.error)
		return refused(l, "open", &m.result);
	return vgpu_control_check(l->t.control, l->t.arena);
}

static void local_free(struct vgpu_local *l)
{
	if (l->t.control)
		munmap(l->t.control, VGPU_CONTROL_BYTES);
	if (l->t.heap)
		munmap(l->t.heap, l->t.heap_limit);
	for (size_t i = 0; i < VGPU_LOCAL_FDS; i++)
		if (*vgpu_local_fd(l, i) >= 0)
			close(*vgpu_local_fd(l, i));
	free(l->run);
	free(l);
}

static vgpu_status start(struct vgpu_local *l, const struct vgpu_transport_open *how)
{
	vgpu_status status = connect_link(l, how);

	if (status)
		return status;
	l->doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->interrupt_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->doorbell_fd < 0 || l->interrupt_fd < 0 || l->wake_fd < 0)
		return vgpu_fail(VGPU_ERROR_CALL_NO_MEMORY, "open %s: no descriptors: %s", l->path, strerror(errno));
	l->t.heap_limit = l->window_bytes - VGPU_CONTROL_BYTES;
	if (l->t.heap_limit > VGPU_ARENA_BYTES)
		l->t.heap_limit = VGPU_ARENA_BYTES;
	status = vgpu_arena_reserve(l->t.heap_limit, &l->t.arena, &l->t.heap);
	l->t.view = l->t.heap; /* nobody takes a local client's memory away */
	if (!status)
		status = map_control(l);
	if (!status)
		status = open_session(l, how->timeout_ms);
	if (!status && vgpu_local_thread_start(l))
		status = vgpu_fail(VGPU_ERROR_CALL_NO_MEMORY, "open %s: cannot start a thread", l->path);
	return status;
}

static vgpu_status local_open(const struct vgpu_transport_open *how, struct vgpu_transport **ret)
{
	struct vgpu_local *l = calloc(1, sizeof(*l));
	vgpu_status status;

	if (!l || strlen(how->path) >= sizeof(l->path)) {
		free(l);
		return vgpu_fail(l ? VGPU_ERROR_CALL_INVALID : VGPU_ERROR_CALL_NO_MEMORY,
				 "open %s: no memory, or the path is longer than a socket's may be", how->path);
	}
	memcpy(l->path, how->path, strlen(how->path) + 1);
	l->t.ops = &vgpu_transport_local;
	for (size_t i = 0; i < VGPU_LOCAL_FDS; i++)
		*vgpu_local_fd(l, i) = -1;
	status = start(l, how);
	if (status) {
		local_free(l);
		return status;
	}
	*ret = &l->t;
	return VGPU_OK;
}

/* ---- the heap ---- */

/* Maps it and has its pages made: they count as this process's. */
static int map_heap(struct vgpu_local *l, uint64_t heap_offset, uint64_t bytes)
{
	uint8_t *at = l->t.heap + heap_offset;

	if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, l->window_fd,
		 (off_t)l->window_next) == MAP_FAILED)
		return -errno;
	madvise(at, bytes, MADV_DONTFORK);
	madvise(at, bytes, MADV_HUGEPAGE);
	if (!madvise(at, bytes, MADV_POPULATE_WRITE))
		return 0;
	if (errno != EINVAL)
		return -errno;
	for (uint64_t i = 0; i < bytes; i += 4096) /* before Linux 5.14 */
		*(volatile uint8_t *)(at + i) = 0;
	return 0;
}

static vgpu_status local_heap_add(struct vgpu_transport *t, uint64_t heap_offset, uint64_t bytes,
				  uint32_t timeout_ms, bool *ret_lost)
{
	struct vgpu_local *l = vgpu_local_of(t);
	struct vgpu_link_heap add = { .h = { .type = VGPU_LINK_HEAP_ADD, .bytes = sizeof(add) },
				      .heap_offset = heap_offset, .window_offset = l->window_next, .bytes = bytes };
	struct vgpu_link_result answer;
	vgpu_status status;
	int rc;

	*ret_lost = false;
	if (bytes > l->window_bytes - l->window_next)
		return vgpu_fail(VGPU_ERROR_CALL_HEAP_FULL, "pinned memory: %llu MiB more, the window of %llu MiB has %llu left",
				 (unsigned long long)(bytes >> 20), (unsigned long long)(l->window_bytes >> 20),
				 (unsigned long long)((l->window_bytes - l->window_next) >> 20));
	rc = vgpu_local_run_room(l);
	if (!rc)
		rc = map_heap(l, heap_offset, bytes);
	if (rc) {
		vgpu_arena_keep(t->heap + heap_offset, bytes);
		return vgpu_fail(VGPU_ERROR_CALL_NO_MEMORY, "pinned memory: cannot map %llu MiB: %s",
				 (unsigned long long)(bytes >> 20), strerror(-rc));
	}
	rc = vgpu_local_request(l, &add.h, VGPU_LINK_HEAP_ADDED, timeout_ms, &answer);
	*ret_lost = rc == -EPIPE;
	if (*ret_lost)
		l->window_next += bytes;
	if (rc || answer.error)
		vgpu_arena_keep(t->heap + heap_offset, bytes);
	if (rc) {
		status = atomic_load(&t->dead) ? atomic_load(&t->dead) : VGPU_ERROR_HOST_NO_MEDIATOR;
		return vgpu_fail(status, "pinned memory, %llu MiB more: %s", (unsigned long long)(bytes >> 20),
				 vgpu_status_text(status));
	}
	if (answer.error)
		return refused(l, "pinned memory from", &answer);
	vgpu_local_run_add(l, heap_offset, l->window_next, bytes);
	l->window_next += bytes;
	return VGPU_OK;
}

/* ---- waiting and waking ---- */

static void local_wait_word(struct vgpu_transport *t, uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
	struct timespec ts = { .tv_sec = (time_t)(timeout_ns / 1000000000), .tv_nsec = (long)(timeout_ns % 1000000000) };

	syscall(SYS_futex, word, FUTEX_WAIT, expected, &ts, NULL, 0);
}

static void local_doorbell(struct vgpu_transport *t)
{
	uint64_t one = 1;

	/* full means that a wake is under way already */
	if (write(vgpu_local_of(t)->doorbell_fd, &one, sizeof(one)) < 0)
		return;
}

static void local_close(struct vgpu_transport *t)
{
	struct vgpu_local *l = vgpu_local_of(t);
	struct vgpu_link_header close_message = { .type = VGPU_LINK_CLOSE, .bytes = sizeof(close_message) };
	struct vgpu_link_result answer;

	/* without an answer the end of the link does the same a little later */
	(void)vgpu_local_request(l, &close_message, VGPU_LINK_CLOSED, CLOSE_MS, &answer);
	vgpu_local_thread_stop(l);
	local_free(l);
}

/* ---- fork ---- */

static void local_forked(struct vgpu_transport *t)
{
	struct vgpu_local *l = vgpu_local_of(t);

	for (size_t i = 0; i < VGPU_LOCAL_FDS; i++) {
		int *fd = vgpu_local_fd(l, i);

		if (*fd >= 0)
			close(*fd);
		*fd = -1;
	}
	t->control = NULL; /* not inherited */
	/* now nothing can have been mapped into the holes; the child may want the arena */
	munmap(t->heap, t->heap_limit);
	t->heap = t->view = NULL;
}

static void local_forget(struct vgpu_transport *t)
{
	local_free(vgpu_local_of(t));
}

const struct vgpu_transport_ops vgpu_transport_local = {
	.kind = 2,
	.open = local_open,
	.heap_add = local_heap_add,
	.wait_word = local_wait_word,
	.doorbell = local_doorbell,
	.close = local_close,
	.forget = local_forget,
	.forked = local_forked,
};
