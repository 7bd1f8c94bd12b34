/* SPDX-License-Identifier: MIT */
/*
 * A client that waits for a mark looks at memory and asks nobody; a kernel that has faulted never
 * writes it. So streams with work outstanding are asked now and then, which also tells when a
 * stream has run dry. A helper asks: while the driver handles a fault, one query can take half a
 * second (docs/decisions/0001). One stream at a time is enough, after a fault every one tells.
 */
#include "host/executor/internal.h"

#include <time.h>

uint64_t vx_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

uint64_t vx_doze(uint64_t ns)
{
	struct timespec t;

	ns = ns < VX_DOZE_NS ? VX_DOZE_NS : ns + ns / 4;
	if (ns > VX_DOZE_MAX_NS)
		ns = VX_DOZE_MAX_NS;
	t = (struct timespec){ 0, (long)ns };
	nanosleep(&t, NULL);
	return ns;
}

static bool watch_next(struct vx_session *s, uint32_t *ret_stream)
{
	for (uint32_t k = 0; k < VGPU_STREAMS; k++) {
		uint32_t i = (s->watch_next + k) % VGPU_STREAMS;

		if (!s->busy[i / 64]) {
			k += 63 - i % 64;
			continue;
		}
		if (s->busy[i / 64] >> (i % 64) & 1) {
			s->watch_next = i + 1;
			*ret_stream = i;
			return true;
		}
	}
	return false;
}

static void destroy_run(struct vx_job *job)
{
	vx_check(job->session, job->session->gpu->cu.cuStreamDestroy(job->cu_stream));
}

static void destroy_finish(struct vx_job *job)
{
	vx_stream_close(job->session, job->handle);
	vx_job_close(job);
}

/* A destroyed stream has run dry: now its handle can be used again, nothing writes its progress. */
static void watch_destroy(struct vx_session *s, struct vx_stream *st)
{
	struct vx_job *job = vx_job_new(s, NULL);

	if (!job)
		return; /* next time */
	st->destroyed = false;
	job->cu_stream = st->cu;
	job->handle = vx_stream_index(s, st);
	job->run = destroy_run;
	job->finish = destroy_finish;
	vx_job_start(s, job);
}

static void watch_run(struct vx_job *job)
{
	CUresult rc = job->session->gpu->cu.cuStreamQuery(job->cu_stream);

	job->status = rc == CUDA_ERROR_NOT_READY ? rc : vx_check(job->session, rc);
}

static void watch_finish(struct vx_job *job)
{
	struct vx_session *s = job->session;
	struct vx_stream *st = job->stream;
	uint32_t i = vx_stream_index(s, st);

	s->watching = false;
	s->watch_ns = vx_now_ns() + s->watch_period_ns;
	if (!job->status) {
		s->watch_period_ns = VX_WATCH_NS;
		if (st->done < job->issued)
			vx_flying_done(s, st, job->issued);
		/* unless it was given more meanwhile */
		if (st->done == st->issued && st->destroyed)
			watch_destroy(s, st);
		else if (st->done == st->issued)
			s->busy[i / 64] &= ~(1ull << (i % 64));
	} else if (s->watch_period_ns < VX_WATCH_MAX_NS) {
		s->watch_period_ns += s->watch_period_ns / 4; /* long kernels: less often */
	}
	vx_job_close(job);
}

void vx_stream_watch(struct vx_session *s)
{
	struct vx_job *job;
	uint32_t i;

	if (s->watching || !watch_next(s, &i))
		return;
	job = vx_job_new(s, NULL);
	if (!job)
		return;
	s->watching = true;
	s->stream[i].users++;
	job->stream = &s->stream[i];
	job->cu_stream = job->stream->cu;
	job->issued = job->stream->issued;
	job->run = watch_run;
	job->finish = watch_finish;
	vx_job_start(s, job);
}
