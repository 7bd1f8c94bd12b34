/* SPDX-License-Identifier: MIT */
/* Calls that may block in the driver: memory, streams, synchronisation. */
#include "host/executor/internal.h"

#include <errno.h>

static void refuse(struct vx_session *s, const struct vx_call *c, uint32_t status)
{
	vx_reply_call(s, c, status, NULL);
}

/* ---- memory ---- */

static void alloc_run(struct vx_job *job)
{
	CUdeviceptr at = 0;

	job->status = vx_check(job->session, job->session->gpu->cu.cuMemAlloc(&at, job->mem.bytes));
	job->mem.address = at;
}

/*
 * Frees run on helpers too: the driver may have given freed memory out again before the issue
 * thread has heard that it was free. What is dying and in the way of new memory is gone.
 */
static bool forget_dying(struct vx_ranges *r, uint64_t start, uint64_t bytes)
{
	bool any = false;

	for (uint32_t i = r->count; i-- > 0;) {
		const struct vx_range *x = &r->range[i];

		if (!x->dying || x->start >= start + bytes || start >= x->start + x->bytes)
			continue;
		vx_ranges_remove(r, x->start);
		any = true;
	}
	return any;
}

static int add_range(struct vx_ranges *r, const struct vx_range *range)
{
	int rc = vx_ranges_add(r, range);

	if (rc == -EEXIST && forget_dying(r, range->start, range->bytes))
		rc = vx_ranges_add(r, range);
	return rc;
}

static void alloc_finish(struct vx_job *job)
{
	struct vx_session *s = job->session;
	const struct vx_range range = { .start = job->mem.address,
					.bytes = job->mem.bytes,
					.charged = job->mem.charged };

	/* room for it was made sure of, except for memory of our own */
	if (!job->status && add_range(&s->device, &range) < 0) {
		s->gpu->cu.cuMemFree(job->mem.address);
		job->status = VGPU_ERROR_CALL_NO_MEMORY;
	}
	s->allocs--;
	if (job->status)
		vx_quota_release(&s->quota, job->mem.charged);
	else
		s->stats.vram_bytes += job->mem.charged;
	job->value[0] = job->mem.address;
	vx_job_close(job);
}

static void mem_alloc(struct vx_session *s, const struct vx_call *c)
{
	uint64_t cost = vx_quota_cost(c->mem->bytes);
	struct vx_job *job;

	if (s->device.count + s->allocs >= s->device.limit) {
		refuse(s, c, VGPU_ERROR_CALL_LIMIT);
		return;
	}
	if (!cost || !vx_quota_charge(&s->quota, cost)) {
		refuse(s, c, VGPU_ERROR_CALL_QUOTA);
		return;
	}
	job = vx_job_new(s, c);
	if (!job)
		return;
	s->allocs++;
	job->mem.bytes = c->mem->bytes;
	job->mem.charged = cost;
	job->run = alloc_run;
	job->finish = alloc_finish;
	vx_job_start(s, job);
}

static void free_run(struct vx_job *job)
{
	job->status = vx_check(job->session, job->session->gpu->cu.cuMemFree(job->mem.address));
}

static void free_finish(struct vx_job *job)
{
	struct vx_session *s = job->session;
	const struct vx_range *range = vx_ranges_find(&s->device, job->mem.address);

	if (!job->status) {
		/* unless it is somebody else's by now */
		if (range && range->start == job->mem.address && range->dying)
			vx_ranges_remove(&s->device, job->mem.address);
		vx_quota_release(&s->quota, job->mem.charged);
		s->stats.vram_bytes -= job->mem.charged;
	}
	vx_job_close(job);
}

static void mem_free(struct vx_session *s, const struct vx_call *c)
{
	struct vx_range *range = vx_ranges_find(&s->device, c->mem->address);
	struct vx_job *job;

	if (!range || range->start != c->mem->address || range->module || range->dying) {
		refuse(s, c, VGPU_ERROR_CALL_ADDRESS);
		return;
	}
	job = vx_job_new(s, c);
	if (!job)
		return;
	range->dying = true; /* later calls no longer find it */
	job->mem.address = range->start;
	job->mem.charged = range->charged;
	job->after = VX_AFTER_ALL;
	job->run = free_run;
	job->finish = free_finish;
	vx_job_start(s, job);
}

/* ---- streams ---- */

static void create_run(struct vx_job *job)
{
	struct vx_session *s = job->session;

	job->status = vx_check(s, s->gpu->cu.cuStreamCreateWithPriority(
					  &job->cu_stream, job->create.flags, job->create.priority));
}

static void create_finish(struct vx_job *job)
{
	struct vx_session *s = job->session;

	if (job->status)
		s->stream[job->handle].used = false;
	else
		vx_stream_open(s, job->handle, job->cu_stream,
			       job->create.flags & CU_STREAM_NON_BLOCKING);
	job->value[0] = job->handle;
	vx_job_close(job);
}

static void stream_create(struct vx_session *s, const struct vx_call *c)
{
	struct vx_job *job;
	uint32_t handle = 1;

	while (handle < VGPU_STREAMS && s->stream[handle].used)
		handle++;
	if (handle == VGPU_STREAMS) {
		refuse(s, c, VGPU_ERROR_CALL_LIMIT);
		return;
	}
	job = vx_job_new(s, c);
	if (!job)
		return;
	s->stream[handle].used = true;
	s->stream[handle].dying = true; /* not to be used before its reply */
	job->handle = handle;
	job->create.flags = c->stream->flags;
	job->create.priority = c->stream->priority;
	job->run = create_run;
	job->finish = create_finish;
	vx_job_start(s, job);
}

static struct vx_stream *stream_find(struct vx_session *s, const struct vx_call *c)
{
	struct vx_stream *st = &s->stream[c->entry->stream];

	return st->used && !st->dying ? st : NULL;
}

static void destroy_answer(struct vx_job *job)
{
	struct vx_session *s = job->session;
	uint32_t i = job->handle;

	s->stream[i].destroyed = true;
	s->busy[i / 64] |= 1ull << (i % 64); /* the watch ends it when it has run dry */
	vx_job_close(job);
}

/* As natively: returns at once, the stream goes when its work is done. */
static void stream_destroy(struct vx_session *s, const struct vx_call *c)
{
	struct vx_stream *st = stream_find(s, c);
	struct vx_job *job;

	if (!st || !c->entry->stream) {
		refuse(s, c, VGPU_ERROR_CALL_HANDLE);
		return;
	}
	job = vx_job_new(s, c);
	if (!job)
		return;
	st->dying = true;
	st->users++;
	job->stream = st;
	job->alone = true;
	job->handle = c->entry->stream;
	job->after = VX_AFTER_STREAM;
	job->finish = destroy_answer;
	vx_job_start(s, job);
}

/* A wait that blocks in the driver is woken by an interrupt, but only a few dozen can be under way
 * before the driver blocks everybody: the others ask now and then. */
static bool sync_enter(struct vx_session *s)
{
	if (atomic_fetch_add(&s->syncs, 1) < VX_SYNCS)
		return true;
	atomic_fetch_sub(&s->syncs, 1);
	return false;
}

static void sync_run(struct vx_job *job)
{
	struct vx_session *s = job->session;
	uint64_t ns = 0;
	CUresult rc;

	if (sync_enter(s)) {
		rc = s->gpu->cu.cuStreamSynchronize(job->stream->cu);
		atomic_fetch_sub(&s->syncs, 1);
	} else {
		while ((rc = s->gpu->cu.cuStreamQuery(job->stream->cu)) == CUDA_ERROR_NOT_READY)
			ns = vx_doze(ns);
	}
	job->status = vx_check(s, rc);
}

static void stream_sync(struct vx_session *s, const struct vx_call *c)
{
	struct vx_stream *st = stream_find(s, c);
	struct vx_job *job;

	if (!st) {
		refuse(s, c, VGPU_ERROR_CALL_HANDLE);
		return;
	}
	job = vx_job_new(s, c);
	if (!job)
		return;
	st->users++;
	job->stream = st;
	job->after = VX_AFTER_STREAM;
	job->reply_early = true;
	job->run = sync_run;
	job->finish = vx_job_close;
	vx_job_start(s, job);
}

static void context_run(struct vx_job *job)
{
	struct vx_session *s = job->session;
	uint64_t ns = 0;

	/* those who wait in the driver wait for less than this call, so none of them waits for it */
	while (!sync_enter(s))
		ns = vx_doze(ns);
	job->status = vx_check(s, s->gpu->cu.cuCtxSynchronize());
	atomic_fetch_sub(&s->syncs, 1);
}

static void context_sync(struct vx_session *s, const struct vx_call *c)
{
	struct vx_job *job = vx_job_new(s, c);

	if (!job)
		return;
	job->after = VX_AFTER_ALL;
	job->reply_early = true;
	job->run = context_run;
	job->finish = vx_job_close;
	vx_job_start(s, job);
}

void vx_wait_call(struct vx_session *s, struct vx_call *c)
{
	switch (c->entry->op) {
	case VGPU_OP_MEM_ALLOC:
		mem_alloc(s, c);
		break;
	case VGPU_OP_MEM_FREE:
		mem_free(s, c);
		break;
	case VGPU_OP_MODULE_LOAD:
		vx_module_load(s, c);
		break;
	case VGPU_OP_MODULE_UNLOAD:
		vx_module_unload(s, c);
		break;
	case VGPU_OP_FUNCTION_GET:
		vx_module_function(s, c);
		break;
	case VGPU_OP_GLOBAL_GET:
		vx_module_global(s, c);
		break;
	case VGPU_OP_FUNCTION_SET:
		vx_module_set(s, c);
		break;
	case VGPU_OP_LAUNCH_FIRST:
		vx_stream_submit(s, c);
		break;
	case VGPU_OP_STREAM_CREATE:
		stream_create(s, c);
		break;
	case VGPU_OP_STREAM_DESTROY:
		stream_destroy(s, c);
		break;
	case VGPU_OP_STREAM_SYNC:
		stream_sync(s, c);
		break;
	case VGPU_OP_EVENT_SYNC:
		vx_event_sync(s, c);
		break;
	default: /* CONTEXT_SYNC */
		context_sync(s, c);
	}
}
