// SPDX-License-Identifier: MIT
/*
 * Copies between pageable and device memory: in chunks through pinned buffers, by the calling
 * thread and, for large ones, one helper thread. Both take the next chunk until none is left.
 */
#include "client/libvgpu/internal.h"

#include <signal.h>

enum {
	CHUNK_MIN = 128 << 10,
	CHUNK_MAX = 1 << 20,
	HELP_FROM = 2 << 20, /* smaller copies are over before a second thread is awake */
	FLIGHTS = 4,	     /* chunks under way for each thread when reading */
};

struct vgpu_copy_job {
	struct vgpu_session *session;
	uint64_t device;
	uint8_t *host;
	size_t bytes;
	size_t chunk;
	uint32_t stream;
	bool to_device;
	_Atomic size_t next;
	_Atomic uint32_t status;
};

static bool next_chunk(struct vgpu_copy_job *job, size_t *ret_at, size_t *ret_bytes)
{
	size_t at;

	if (atomic_load_explicit(&job->status, memory_order_relaxed))
		return false;
	at = atomic_fetch_add(&job->next, job->chunk);
	if (at >= job->bytes)
		return false;
	*ret_at = at;
	*ret_bytes = job->bytes - at < job->chunk ? job->bytes - at : job->chunk;
	return true;
}

static void job_fail(struct vgpu_copy_job *job, vgpu_status status)
{
	uint32_t none = 0;

	if (status)
		atomic_compare_exchange_strong(&job->status, &none, status);
}

static enum vgpu_stage_kind kind_of(const struct vgpu_copy_job *job)
{
	return job->bytes <= 64 << 10 ? VGPU_STAGE_SMALL : VGPU_STAGE_LARGE;
}

/* ---- to the GPU ---- */

/* Without any pinned memory: pieces in the ring itself. */
static vgpu_status write_inline(struct vgpu_copy_job *job, size_t at, size_t bytes)
{
	vgpu_status status = VGPU_OK;

	for (size_t n; bytes && !status; at += n, bytes -= n) {
		n = bytes < VGPU_INLINE_MAX ? bytes : VGPU_INLINE_MAX;
		status = vgpu_copy_inline(job->session, job->device + at, job->host + at, n, job->stream);
	}
	return status;
}

static vgpu_status write_chunk(struct vgpu_copy_job *job, size_t at, size_t bytes)
{
	struct vgpu_session *s = job->session;
	vgpu_status status = VGPU_OK;

	while (bytes && !status) {
		struct vgpu_stage *b;
		uint64_t mark = 0;
		size_t n;

		status = vgpu_stage_get(s, kind_of(job), job->stream, true, &b);
		if (status == VGPU_ERROR_CALL_HEAP_FULL || VGPU_ERROR_GROUP(status) == VGPU_GROUP_HOST)
			return write_inline(job, at, bytes);
		if (status)
			break;
		n = bytes < b->bytes ? bytes : b->bytes;
		vgpu_stream_copy(b->data, job->host + at, n);
		status = vgpu_copy_post(s, VGPU_OP_COPY_H2D, job->device + at, b->address, n, job->stream);
		if (!status)
			status = vgpu_stream_mark(s, job->stream, true, true, &mark);
		/* after a failure the session is dead, and nobody waits for the mark */
		vgpu_stage_put(s, kind_of(job), b, job->stream, mark);
		at += n;
		bytes -= n;
	}
	return status;
}

static void write_chunks(struct vgpu_copy_job *job)
{
	size_t at, bytes;

	while (next_chunk(job, &at, &bytes))
		job_fail(job, write_chunk(job, at, bytes));
}

/* ---- from the GPU ---- */

struct flight {
	struct vgpu_stage *stage;
	size_t at;
	size_t bytes;
	uint64_t mark;
};

static vgpu_status read_start(struct vgpu_copy_job *job, struct flight *f, size_t at, size_t bytes, bool wait)
{
	struct vgpu_session *s = job->session;
	vgpu_status status = vgpu_stage_get(s, kind_of(job), job->stream, wait, &f->stage);

	if (status)
		return status;
	f->at = at;
	f->bytes = bytes < f->stage->bytes ? bytes : f->stage->bytes;
	status = vgpu_copy_post(s, VGPU_OP_COPY_D2H, f->stage->address, job->device + at, f->bytes,
				job->stream);
	if (!status)
		status = vgpu_stream_mark(s, job->stream, true, true, &f->mark);
	if (status)
		vgpu_stage_put(s, kind_of(job), f->stage, job->stream, 0);
	return status;
}

static vgpu_status read_finish(struct vgpu_copy_job *job, struct flight *f)
{
	vgpu_status status = vgpu_stream_wait_mark(job->session, job->stream, f->mark);

	if (!status) {
		vgpu_stream_copy(job->host + f->at, f->stage->data, f->bytes);
		status = vgpu_view_check(job->session);
	}
	vgpu_stage_put(job->session, kind_of(job), f->stage, job->stream, status ? f->mark : 0);
	return status;
}

/* Keeps FLIGHTS transfers under way; `first` is the oldest, `count` of them fly. */
static void read_chunks(struct vgpu_copy_job *job)
{
	struct flight flight[FLIGHTS];
	unsigned int first = 0, count = 0;
	size_t at = 0, left = 0;

	for (;;) {
		vgpu_status status = VGPU_OK;

		if (!left && !next_chunk(job, &at, &left))
			left = 0;
		if (left && count < FLIGHTS) {
			struct flight *f = &flight[(first + count) % FLIGHTS];

			/* who has a buffer under way does not wait for another */
			status = read_start(job, f, at, left, !count);
			if (!status) {
				at += f->bytes;
				left -= f->bytes;
				count++;
				continue;
			}
		}
		if (!count) {
			job_fail(job, status);
			if (status || !left)
				return;
			continue;
		}
		status = read_finish(job, &flight[first]);
		first = (first + 1) % FLIGHTS;
		count--;
		if (status) {
			job_fail(job, status);
			left = 0;
		}
	}
}

static void run(struct vgpu_copy_job *job)
{
	if (job->to_device)
		write_chunks(job);
	else
		read_chunks(job);
}

/* ---- the helper thread ---- */

static void *helper_main(void *arg)
{
	struct vgpu_helper *h = arg;

	pthread_mutex_lock(&h->lock);
	while (!h->stop) {
		if (!h->job) {
			pthread_cond_wait(&h->wake, &h->lock);
			continue;
		}
		pthread_mutex_unlock(&h->lock);
		run(h->job);
		pthread_mutex_lock(&h->lock);
		h->job = NULL;
		pthread_cond_broadcast(&h->idle);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

static bool helper_start(struct vgpu_helper *h)
{
	pthread_attr_t attr;
	sigset_t all, old;

	if (h->started || h->failed)
		return h->started;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 << 10);
	/* the program's signals are not for this thread */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	h->started = !pthread_create(&h->thread, &attr, helper_main, h);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	h->failed = !h->started;
	return h->started;
}

/* True: it works on the job; helper_wait must follow. One job at a time, others go alone. */
static bool helper_call(struct vgpu_session *s, struct vgpu_copy_job *job)
{
	struct vgpu_helper *h = &s->helper;
	bool helps = false;

	if (job->bytes < HELP_FROM || !s->spin_max)
		return false;
	pthread_mutex_lock(&h->lock);
	if (!h->job && helper_start(h)) {
		h->job = job;
		pthread_cond_signal(&h->wake);
		helps = true;
	}
	pthread_mutex_unlock(&h->lock);
	return helps;
}

static void helper_wait(struct vgpu_session *s, const struct vgpu_copy_job *job)
{
	struct vgpu_helper *h = &s->helper;

	pthread_mutex_lock(&h->lock);
	while (h->job == job)
		pthread_cond_wait(&h->idle, &h->lock);
	pthread_mutex_unlock(&h->lock);
}

void vgpu_helper_stop(struct vgpu_session *s)
{
	struct vgpu_helper *h = &s->helper;

	if (!h->started)
		return;
	pthread_mutex_lock(&h->lock);
	h->stop = true;
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&h->lock);
	pthread_join(h->thread, NULL);
}

static vgpu_status pipeline(struct vgpu_copy_job *job)
{
	size_t chunk = (job->bytes / 8 + CHUNK_MIN - 1) & ~(size_t)(CHUNK_MIN - 1);
	vgpu_status status;
	bool helps;

	job->chunk = chunk < CHUNK_MIN ? CHUNK_MIN : chunk > CHUNK_MAX ? CHUNK_MAX : chunk;
	helps = helper_call(job->session, job);
	run(job);
	if (helps)
		helper_wait(job->session, job);
	status = atomic_load(&job->status);
	/* the sentence may be in the helper's thread */
	return status && helps ? vgpu_fail_host(status, "copy") : status;
}

vgpu_status vgpu_pipeline_h2d(struct vgpu_session *s, uint64_t dst, const void *src, size_t bytes,
			      uint32_t stream)
{
	struct vgpu_copy_job job = { .session = s, .device = dst, .host = (uint8_t *)(uintptr_t)src,
				     .bytes = bytes, .stream = stream, .to_device = true };

	return pipeline(&job);
}

vgpu_status vgpu_pipeline_d2h(struct vgpu_session *s, void *dst, uint64_t src, size_t bytes,
			      uint32_t stream)
{
	struct vgpu_copy_job job = { .session = s, .device = src, .host = dst, .bytes = bytes, .stream = stream };

	return pipeline(&job);
}
