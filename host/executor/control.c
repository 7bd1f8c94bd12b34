/* SPDX-License-Identifier: MIT */
/* fd 3: what the mediator wants. */
#include "host/executor/internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/link/chan.h"

/* The newest mediator's; an older one may still write into the socket that both have held. */
static _Atomic uint32_t control_epoch;

union control_message {
	struct vgpu_executor_header h;
	struct vgpu_executor_assign assign;
	struct vgpu_executor_heap heap;
	uint8_t bytes[VGPU_EXECUTOR_MESSAGE_MAX];
};

/* 0, or the size that a message of this type has not. */
static bool message_is_valid(const union control_message *m, size_t bytes)
{
	size_t want = sizeof(m->h);

	if (bytes < sizeof(m->h) || m->h.bytes != bytes || m->h.version != VGPU_EXECUTOR_VERSION)
		return false;
	if (m->h.type == VGPU_EXECUTOR_ASSIGN)
		want = sizeof(m->assign);
	else if (m->h.type == VGPU_EXECUTOR_HEAP_ADD)
		want = sizeof(m->heap);
	return bytes == want;
}

/* The socket may be full while the mediator is away: it waits there until one reads again. */
static void control_send(const void *message, size_t bytes, const int *fds, unsigned int count)
{
	while (vgpu_chan_send(VGPU_EXECUTOR_SOCKET_FD, message, bytes, fds, count) == -EAGAIN) {
		struct pollfd pfd = { .fd = VGPU_EXECUTOR_SOCKET_FD, .events = POLLOUT };

		poll(&pfd, 1, -1);
	}
}

static struct vgpu_executor_header control_header(uint32_t type, size_t bytes)
{
	return (struct vgpu_executor_header){ .type = type,
					      .bytes = (uint32_t)bytes,
					      .version = VGPU_EXECUTOR_VERSION,
					      .epoch = atomic_load(&control_epoch) };
}

void vx_control_result(uint32_t type, uint32_t error, uint64_t heap_offset, const char *text)
{
	struct vgpu_executor_result r = { .h = control_header(type, sizeof(r)),
					  .error = error,
					  .heap_offset = heap_offset };

	snprintf(r.text, sizeof(r.text), "%s", text);
	control_send(&r, sizeof(r), NULL, 0);
}

/* READY, or with a session REPORT. */
static void control_hello(const struct vx_control *c)
{
	const struct vx_gpu *gpu = c->gpu;
	const struct vx_session *s = c->session;
	bool has = s && s->gpu;
	struct vgpu_executor_ready r = {
		.h = control_header(has ? VGPU_EXECUTOR_REPORT : VGPU_EXECUTOR_READY, sizeof(r)),
		.error = gpu->error,
		.sandbox = c->sandbox,
		.driver_version = gpu->info.driver_version,
		.software = gpu->software,
		.vram_total_bytes = gpu->info.total_bytes,
		.vram_free_bytes = gpu->free_bytes,
		.context_bytes = gpu->context_bytes,
	};
	int fds[3];

	snprintf(r.gpu_name, sizeof(r.gpu_name), "%.*s", (int)sizeof(r.gpu_name) - 1, gpu->info.name);
	memcpy(r.gpu_uuid, gpu->info.uuid, sizeof(r.gpu_uuid));
	snprintf(r.text, sizeof(r.text), "%s", gpu->error ? gpu->text : c->text);
	if (!has) {
		control_send(&r, sizeof(r), NULL, 0);
		return;
	}
	memcpy(r.vm_uuid, s->assign.vm_uuid, sizeof(r.vm_uuid));
	r.sid = s->assign.sid;
	r.link_epoch = s->assign.link_epoch;
	r.control_offset = s->assign.control_offset;
	r.quota_slot = s->assign.quota_slot;
	fds[0] = s->window;
	fds[1] = s->gate_fd;
	fds[2] = s->quota_fd;
	control_send(&r, sizeof(r), fds, 3);
}

static void control_assign(struct vx_control *c, const struct vgpu_executor_assign *a,
			   struct vgpu_chan_fds *fds)
{
	char text[VGPU_EXECUTOR_TEXT] = "";
	int taken[VGPU_EXECUTOR_FDS_MAX];
	pthread_t thread;
	uint32_t error;

	if (c->gpu->error || c->session->gpu) {
		vx_control_result(VGPU_EXECUTOR_ASSIGNED, VGPU_ERROR_CALL_INVALID, 0,
				  c->gpu->error ? "this executor has no GPU" :
						  "this executor has a session already");
		return;
	}
	if (fds->count != VGPU_EXECUTOR_FDS_MAX) {
		vx_control_result(VGPU_EXECUTOR_ASSIGNED, VGPU_ERROR_CALL_PROTOCOL, 0,
				  "ASSIGN needs window, doorbell, interrupt, gate page and quota page");
		return;
	}
	for (unsigned int i = 0; i < VGPU_EXECUTOR_FDS_MAX; i++)
		taken[i] = vgpu_chan_fds_take(fds, i);
	error = vx_session_open(c->session, c->gpu, a, taken, text);
	if (!error && pthread_create(&thread, NULL, vx_issue_run, c->session)) {
		error = VGPU_ERROR_HOST_INTERNAL;
		snprintf(text, sizeof(text), "cannot start the issue thread");
	}
	vx_control_result(VGPU_EXECUTOR_ASSIGNED, error, 0, text);
	/* half a session is no session: the mediator takes another executor */
	if (error)
		_exit(1);
}

static void control_heap(struct vx_control *c, const struct vgpu_executor_heap *heap)
{
	char text[VGPU_EXECUTOR_TEXT] = "";
	uint32_t error = VGPU_ERROR_CALL_NOT_OPEN;

	if (c->session->gpu)
		error = vx_session_heap_add(c->session, heap, text);
	if (error) /* success is told when the issue thread knows the run */
		vx_control_result(VGPU_EXECUTOR_HEAP_ADDED, error, heap->heap_offset, text);
}

static bool control_message(struct vx_control *c, const union control_message *m,
			    struct vgpu_chan_fds *fds)
{
	switch (m->h.type) {
	case VGPU_EXECUTOR_HELLO:
		control_hello(c);
		return true;
	case VGPU_EXECUTOR_ASSIGN:
		control_assign(c, &m->assign, fds);
		return true;
	case VGPU_EXECUTOR_HEAP_ADD:
		control_heap(c, &m->heap);
		return true;
	case VGPU_EXECUTOR_FINISH:
		return false;
	default:
		vx_control_result(VGPU_EXECUTOR_FAILED, VGPU_ERROR_CALL_PROTOCOL, 0,
				  "unknown message from the mediator");
		return false;
	}
}

void vx_control_serve(struct vx_control *c)
{
	bool go_on = true;

	while (go_on) {
		struct vgpu_chan_fds fds;
		union control_message m;
		ssize_t bytes = vgpu_chan_recv(VGPU_EXECUTOR_SOCKET_FD, &m, sizeof(m), &fds);

		if (bytes == -EAGAIN) {
			struct pollfd pfd = { .fd = VGPU_EXECUTOR_SOCKET_FD, .events = POLLIN };

			poll(&pfd, 1, -1);
			continue;
		}
		if (bytes == -EINTR)
			continue;
		if (bytes <= 0) /* nobody holds the other end any more */
			return;
		if (!message_is_valid(&m, (size_t)bytes)) {
			vx_control_result(VGPU_EXECUTOR_FAILED, VGPU_ERROR_CALL_PROTOCOL, 0,
					  "a message from the mediator has a wrong size or version");
			go_on = false;
		} else if (m.h.epoch >= atomic_load(&control_epoch)) {
			atomic_store(&control_epoch, m.h.epoch);
			go_on = control_message(c, &m, &fds);
		}
		vgpu_chan_fds_close(&fds);
	}
}
