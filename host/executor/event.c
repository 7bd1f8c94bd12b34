/* SPDX-License-Identifier: MIT */
/* Events. Their handle can go while parked entries and helpers still use them. */
#include "host/executor/internal.h"

#include <stdlib.h>

static struct vx_event *event_find(struct vx_session *s, const struct vx_call *c, uint32_t handle)
{
	struct vx_event *e = vx_table_get(&s->events, handle);

	if (!e)
		vx_reply_call(s, c, VGPU_ERROR_CALL_HANDLE, NULL);
	return e;
}

void vx_event_create(struct vx_session *s, const struct vx_call *c)
{
	__u64 value[6] = { 0 };
	struct vx_event *e;
	uint32_t status, handle;

	if (c->event->flags & ~(CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING)) {
		vx_reply_call(s, c, VGPU_ERROR_CALL_UNSUPPORTED, NULL);
		return;
	}
	e = calloc(1, sizeof(*e));
	if (!e) {
		vx_reply_call(s, c, VGPU_ERROR_CALL_NO_MEMORY, NULL);
		return;
	}
	handle = vx_table_add(&s->events, e);
	if (!handle) {
		free(e);
		vx_reply_call(s, c, VGPU_ERROR_CALL_LIMIT, NULL);
		return;
	}
	/* not CU_EVENT_BLOCKING_SYNC: the driver blocks at the 57th record of such events that is on
	 * its way (docs/decisions/0004), and nobody waits in the driver for an event */
	status = vx_check(s, s->gpu->cu.cuEventCreate(&e->cu, c->event->flags & CU_EVENT_DISABLE_TIMING));
	if (status) {
		vx_table_remove(&s->events, handle);
		free(e);
	}
	value[0] = handle;
	vx_reply_call(s, c, status, value);
}

static void event_free(struct vx_session *s, struct vx_event *e)
{
	vx_check(s, s->gpu->cu.cuEventDestroy(e->cu));
	free(e);
}

void vx_event_put(struct vx_session *s, struct vx_event *e)
{
	if (--e->users == 0 && e->destroyed)
		event_free(s, e);
}

void vx_event_destroy(struct vx_session *s, const struct vx_call *c)
{
	struct vx_event *e = event_find(s, c, c->event->event);

	if (!e)
		return;
	vx_table_remove(&s->events, c->event->event);
	e->destroyed = true;
	if (!e->users)
		event_free(s, e);
	vx_reply_call(s, c, 0, NULL);
}

void vx_event_query(struct vx_session *s, const struct vx_call *c)
{
	struct vx_event *e = event_find(s, c, c->event->event);

	if (!e)
		return;
	if (vx_stream_event_parked(e))
		vx_reply_call(s, c, CUDA_ERROR_NOT_READY, NULL);
	else
		vx_reply_call(s, c, vx_check(s, s->gpu->cu.cuEventQuery(e->cu)), NULL);
}

void vx_event_elapsed(struct vx_session *s, const struct vx_call *c)
{
	struct vx_event *start = event_find(s, c, c->event->event);
	struct vx_event *end = start ? event_find(s, c, c->event->end) : NULL;
	__u64 value[6] = { 0 };
	float ms = 0;
	uint32_t bits, status;

	if (!end)
		return;
	if (vx_stream_event_parked(start) || vx_stream_event_parked(end)) {
		vx_reply_call(s, c, CUDA_ERROR_NOT_READY, NULL);
		return;
	}
	status = vx_check(s, s->gpu->cu.cuEventElapsedTime(&ms, start->cu, end->cu));
	memcpy(&bits, &ms, sizeof(bits));
	value[0] = bits;
	vx_reply_call(s, c, status, value);
}

static void sync_run(struct vx_job *job)
{
	const struct cuda_driver *cu = &job->session->gpu->cu;
	uint64_t ns = 0;
	CUresult rc;

	while ((rc = cu->cuEventQuery(job->event->cu)) == CUDA_ERROR_NOT_READY)
		ns = vx_doze(ns);
	job->status = vx_check(job->session, rc);
}

void vx_event_sync(struct vx_session *s, const struct vx_call *c)
{
	struct vx_event *e = event_find(s, c, c->event->event);
	struct vx_job *job;

	if (!e)
		return;
	job = vx_job_new(s, c);
	if (!job)
		return;
	e->users++;
	job->event = e;
	job->after = VX_AFTER_EVENT;
	job->reply_early = true;
	job->run = sync_run;
	job->finish = vx_job_close;
	vx_job_start(s, job);
}
