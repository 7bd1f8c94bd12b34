/* SPDX-License-Identifier: MIT */
/* Jobs: from the issue thread to a helper and back. */
#include "host/executor/internal.h"

#include <stdlib.h>
#include <unistd.h>

struct vx_job *vx_job_new(struct vx_session *s, const struct vx_call *call)
{
	struct vx_job *job;

	/* those with a call are limited by the slots */
	if (!call && s->jobs >= 2 * VX_JOBS)
		return NULL;
	job = calloc(1, sizeof(*job));
	if (!job) {
		vx_session_end(s, VGPU_ERROR_SESSION_MEMORY, "no memory for a call");
		return NULL;
	}
	job->session = s;
	job->order = s->order;
	job->slot = VGPU_NO_SLOT;
	if (call) {
		job->slot = call->entry->slot;
		job->seq = call->entry->seq;
		atomic_store(&s->slot_busy[job->slot], true);
	}
	s->jobs++;
	return job;
}

static void job_reply(struct vx_job *job)
{
	struct vx_session *s = job->session;

	if (job->slot == VGPU_NO_SLOT)
		return;
	/* before the answer: the client may use the slot at once */
	atomic_store(&s->slot_busy[job->slot], false);
	vx_reply(s, job->slot, job->seq, job->status, job->value);
}

void vx_job_close(struct vx_job *job)
{
	if (!job->replied)
		job_reply(job);
	if (job->stream && !job->parked)
		job->stream->users--;
	if (job->event)
		vx_event_put(job->session, job->event);
	if (job->module)
		job->module->users--;
	job->session->jobs--;
	free(job->params);
	free(job->name);
	free(job);
}

void vx_job_done(struct vx_job *job)
{
	struct vx_session *s = job->session;
	uint64_t one = 1;

	job->next = atomic_load_explicit(&s->done, memory_order_relaxed);
	while (!atomic_compare_exchange_weak(&s->done, &job->next, job))
		;
	/* the issue thread says that it sleeps, then looks at `done` again */
	if (atomic_load(&s->asleep) && write(s->wake, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is awake already */
}

/* Helper thread. */
void vx_job_perform(struct vx_job *job)
{
	job->run(job);
	if (job->reply_early) {
		job->replied = true;
		job_reply(job);
	}
	vx_job_done(job);
}

static bool job_ready(struct vx_session *s, const struct vx_job *job)
{
	if (job->alone && ((job->stream && job->stream->users > 1) ||
			   (job->module && job->module->users > 1)))
		return false;
	return vx_stream_reached(s, job);
}

static void job_dispatch(struct vx_session *s, struct vx_job *job)
{
	if (!job->run) {
		job->finish(job);
		return;
	}
	if (vx_pool_run(job) == 0)
		return;
	job->status = VGPU_ERROR_CALL_NO_MEMORY;
	job->finish(job);
}

void vx_job_start(struct vx_session *s, struct vx_job *job)
{
	if (job_ready(s, job)) {
		job_dispatch(s, job);
		return;
	}
	job->next = NULL;
	*s->waiting_end = job;
	s->waiting_end = &job->next;
}

void vx_job_pump(struct vx_session *s)
{
	uint32_t sticky = atomic_load_explicit(&s->sticky, memory_order_relaxed);
	struct vx_job *job = s->waiting;

	/* taken apart first: finishing one may queue another */
	s->waiting = NULL;
	s->waiting_end = &s->waiting;
	while (job) {
		struct vx_job *next = job->next;

		if (sticky) {
			job->status = sticky;
			job->finish(job);
		} else {
			vx_job_start(s, job);
		}
		job = next;
	}
}

bool vx_job_reap(struct vx_session *s)
{
	struct vx_job *job, *first = NULL;

	if (!atomic_load_explicit(&s->done, memory_order_relaxed))
		return false;
	job = atomic_exchange(&s->done, NULL);
	while (job) { /* a stack: turned round, oldest first */
		struct vx_job *next = job->next;

		job->next = first;
		first = job;
		job = next;
	}
	while (first) {
		job = first;
		first = job->next;
		job->finish(job);
	}
	return true;
}
