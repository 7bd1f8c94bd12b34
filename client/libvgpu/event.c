// SPDX-License-Identifier: MIT
#include "client/libvgpu/internal.h"

#include <stdlib.h>

static vgpu_status wait_event_call(struct vgpu_event *event, uint32_t op, uint32_t end, __u64 value[6])
{
	struct vgpu_call_event head = { .event = event->handle, .end = end };

	return vgpu_call_wait(event->session, &(struct vgpu_call){ .op = op, .head = &head,
								   .head_bytes = sizeof(head) }, value);
}

static vgpu_status check(struct vgpu_event *event, const char *what)
{
	if (!event)
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "%s: the event is NULL", what);
	return vgpu_session_check(event->session);
}

vgpu_status vgpu_event_create(struct vgpu_session *s, uint32_t flags, struct vgpu_event **ret_event)
{
	struct vgpu_call_event head = { .flags = flags };
	struct vgpu_call c = { .op = VGPU_OP_EVENT_CREATE, .head = &head, .head_bytes = sizeof(head) };
	struct vgpu_event *event;
	__u64 value[6];
	vgpu_status status = vgpu_session_check(s);

	if (status)
		return status;
	if (!ret_event || flags & ~(uint32_t)(VGPU_EVENT_BLOCKING_SYNC | VGPU_EVENT_DISABLE_TIMING))
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "create event: ret_event is NULL, or flags %#x unknown", flags);
	event = calloc(1, sizeof(*event));
	if (!event)
		return vgpu_fail(VGPU_ERROR_CALL_NO_MEMORY, "create event: no memory");
	status = vgpu_fail_host(vgpu_call_wait(s, &c, value), "create event");
	if (status) {
		free(event);
		return status;
	}
	event->session = s;
	event->handle = (uint32_t)value[0];
	pthread_mutex_lock(&s->object_lock);
	LIST_INSERT_HEAD(&s->events, event, link);
	pthread_mutex_unlock(&s->object_lock);
	*ret_event = event;
	return VGPU_OK;
}

vgpu_status vgpu_event_destroy(struct vgpu_event *event)
{
	struct vgpu_session *s;
	vgpu_status status;

	if (!event)
		return VGPU_OK;
	s = event->session;
	if (*vgpu_generation != s->generation)
		return vgpu_session_bad(s);
	pthread_mutex_lock(&s->object_lock);
	LIST_REMOVE(event, link);
	pthread_mutex_unlock(&s->object_lock);
	status = vgpu_session_check(s);
	if (!status)
		status = vgpu_fail_host(wait_event_call(event, VGPU_OP_EVENT_DESTROY, 0, NULL), "destroy event");
	free(event);
	return status;
}

vgpu_status vgpu_event_record(struct vgpu_event *event, struct vgpu_stream *stream)
{
	struct vgpu_call_event head = { 0 };
	vgpu_status status = check(event, "record event");

	if (status)
		return status;
	if (stream && stream->session != event->session)
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "record event: the stream belongs to another session");
	head.event = event->handle;
	return vgpu_call_post(event->session,
			      &(struct vgpu_call){ .op = VGPU_OP_EVENT_RECORD, .stream = vgpu_stream_handle(stream),
						   .stream_class = true, .head = &head,
						   .head_bytes = sizeof(head) });
}

vgpu_status vgpu_event_query(struct vgpu_event *event)
{
	vgpu_status status = check(event, "query event");

	if (status)
		return status;
	status = wait_event_call(event, VGPU_OP_EVENT_QUERY, 0, NULL);
	return status == VGPU_CUDA_NOT_READY ? status : vgpu_fail_host(status, "query event");
}

vgpu_status vgpu_event_synchronize(struct vgpu_event *event)
{
	vgpu_status status = check(event, "synchronise event");

	return status ? status :
			vgpu_fail_host(wait_event_call(event, VGPU_OP_EVENT_SYNC, 0, NULL), "synchronise event");
}

vgpu_status vgpu_event_elapsed(struct vgpu_event *start, struct vgpu_event *end, float *ret_ms)
{
	vgpu_status status = check(start, "elapsed time");
	__u64 value[6];
	uint32_t bits;

	if (status)
		return status;
	if (!end || end->session != start->session || !ret_ms)
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "elapsed time: an argument is NULL or of another session");
	status = vgpu_fail_host(wait_event_call(start, VGPU_OP_EVENT_ELAPSED, end->handle, value), "elapsed time");
	if (status)
		return status;
	bits = (uint32_t)value[0];
	memcpy(ret_ms, &bits, sizeof(*ret_ms));
	return VGPU_OK;
}
