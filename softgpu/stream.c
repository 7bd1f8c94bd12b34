/* SPDX-License-Identifier: MIT */
/*
 * Streams: the ring of commands, its order with other streams, and waiting.
 *
 * A stream object lives while somebody holds a reference: its handle, its worker, events recorded in it, WAIT commands
 * that name it. It stays in its context's list until its worker has gone, so that cuCtxSynchronize() also waits for
 * what was queued before cuStreamDestroy().
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "softgpu/internal.h"

enum { WORKER_STACK = 512 << 10 };

#define RING_BYTES (SOFTGPU_QUEUE_DEPTH * sizeof(struct softgpu_command))

CUresult softgpu_stream_new(struct softgpu_context *context, unsigned int flags, int priority,
			    struct softgpu_stream **ret_stream)
{
	struct softgpu_stream *stream = softgpu_object_new(SOFTGPU_STREAM);

	if (!stream)
		return CUDA_ERROR_OUT_OF_MEMORY;
	stream->ring = mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stream->ring == MAP_FAILED) {
		softgpu_object_free(SOFTGPU_STREAM, stream);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	stream->context = context;
	stream->flags = flags;
	stream->priority = priority;
	atomic_init(&stream->refs, 1);
	pthread_mutex_init(&stream->lock, NULL);
	*ret_stream = stream;
	return CUDA_SUCCESS;
}

void softgpu_stream_get(struct softgpu_stream *stream)
{
	atomic_fetch_add(&stream->refs, 1);
}

void softgpu_stream_put(struct softgpu_stream *stream)
{
	if (!stream || atomic_fetch_sub(&stream->refs, 1) != 1)
		return;
	munmap(stream->ring, RING_BYTES);
	pthread_mutex_destroy(&stream->lock);
	softgpu_object_free(SOFTGPU_STREAM, stream);
}

void softgpu_stream_unlink(struct softgpu_stream *stream)
{
	struct softgpu_context *context = stream->context;

	pthread_mutex_lock(&context->lock);
	for (struct softgpu_stream **at = &context->streams; *at; at = &(*at)->next) {
		if (*at == stream) {
			*at = stream->next;
			break;
		}
	}
	pthread_mutex_unlock(&context->lock);
}

/* stream->lock held. */
static CUresult start_worker(struct softgpu_stream *stream)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int error;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, WORKER_STACK);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	softgpu_stream_get(stream);
	atomic_fetch_add(&stream->context->workers, 1);
	error = pthread_create(&thread, &attributes, softgpu_worker, stream);
	pthread_attr_destroy(&attributes);
	if (error) {
		atomic_fetch_sub(&stream->context->workers, 1);
		atomic_fetch_sub(&stream->refs, 1);
		return CUDA_ERROR_OPERATING_SYSTEM;
	}
	stream->thread_started = true;
	return CUDA_SUCCESS;
}

/* stream->lock held. Blocks while the ring is full; whoever comes meanwhile would block just so, behind the lock. */
static uint64_t put(struct softgpu_stream *stream, const struct softgpu_command *command)
{
	uint64_t at = atomic_load_explicit(&stream->submitted, memory_order_relaxed);

	if (at >= SOFTGPU_QUEUE_DEPTH)
		softgpu_stream_wait(stream, at - SOFTGPU_QUEUE_DEPTH + 1);
	memcpy(&stream->ring[at % SOFTGPU_QUEUE_DEPTH], command, sizeof(*command));
	atomic_store(&stream->submitted, at + 1);
	if (atomic_load(&stream->sleeping) && atomic_exchange(&stream->sleeping, 0))
		softgpu_futex_wake(&stream->submitted);
	return at + 1;
}

/* stream->lock held. Takes over a reference to @other. */
static void put_wait(struct softgpu_stream *stream, struct softgpu_stream *other, uint64_t sequence)
{
	struct softgpu_command command = { .kind = SOFTGPU_WAIT, .wait = { other, sequence } };

	put(stream, &command);
}

void softgpu_stream_close(struct softgpu_stream *stream)
{
	struct softgpu_command end = { .kind = SOFTGPU_END };
	bool started;

	atomic_store(&stream->object.alive, false);
	pthread_mutex_lock(&stream->lock);
	started = stream->thread_started;
	if (started)
		put(stream, &end);
	pthread_mutex_unlock(&stream->lock);
	if (!started)
		softgpu_stream_unlink(stream);
	softgpu_stream_put(stream);
}

struct pending {
	struct softgpu_stream *stream;
	uint64_t sequence;
};

/* The blocking streams with something to do, each with a reference. */
static size_t pending_streams(struct softgpu_context *context, struct pending **ret_pending)
{
	struct pending *pending = NULL;
	size_t count = 0, space = 0;

	pthread_mutex_lock(&context->lock);
	for (struct softgpu_stream *s = context->streams; s; s = s->next) {
		uint64_t sequence = atomic_load(&s->submitted);

		if (s->flags & CU_STREAM_NON_BLOCKING || softgpu_stream_done(s, sequence))
			continue;
		if (count == space) {
			struct pending *grown = realloc(pending, (space + 32) * sizeof(*grown));

			if (!grown)
				break;
			pending = grown;
			space += 32;
		}
		softgpu_stream_get(s);
		pending[count++] = (struct pending){ s, sequence };
	}
	pthread_mutex_unlock(&context->lock);
	*ret_pending = pending;
	return count;
}

/* CUDA's rule: the legacy stream waits for all blocking streams, and they wait for it. stream->lock held. */
static void order(struct softgpu_stream *stream, struct pending *pending, size_t count)
{
	struct softgpu_stream *legacy = stream->context->legacy;
	uint64_t sequence;

	for (size_t i = 0; i < count; i++)
		put_wait(stream, pending[i].stream, pending[i].sequence);
	if (stream == legacy || stream->flags & CU_STREAM_NON_BLOCKING)
		return;
	sequence = atomic_load(&legacy->submitted);
	if (sequence == stream->legacy_seen)
		return;
	stream->legacy_seen = sequence;
	if (!softgpu_stream_done(legacy, sequence)) {
		softgpu_stream_get(legacy);
		put_wait(stream, legacy, sequence);
	}
}

CUresult softgpu_stream_submit(struct softgpu_stream *stream, const struct softgpu_command *command,
			       uint64_t *ret_sequence)
{
	struct pending *pending = NULL;
	CUresult result = CUDA_SUCCESS;
	size_t count = 0;
	uint64_t sequence;

	if (stream->legacy)
		count = pending_streams(stream->context, &pending);
	pthread_mutex_lock(&stream->lock);
	if (!stream->thread_started)
		result = start_worker(stream);
	if (!result) {
		order(stream, pending, count);
		sequence = put(stream, command);
		if (ret_sequence)
			*ret_sequence = sequence;
	}
	pthread_mutex_unlock(&stream->lock);
	if (result)
		for (size_t i = 0; i < count; i++)
			softgpu_stream_put(pending[i].stream);
	free(pending);
	return result;
}

void softgpu_stream_wait(struct softgpu_stream *stream, uint64_t sequence)
{
	uint64_t until = 0;

	for (unsigned int i = 0; !softgpu_stream_done(stream, sequence); i++) {
		softgpu_relax();
		if (i % 64 == 63) {
			uint64_t now = softgpu_now_ns();

			if (!until)
				until = now + (uint64_t)softgpu.config.spin_us * 1000;
			if (now >= until)
				break;
		}
	}
	if (softgpu_stream_done(stream, sequence))
		return;
	atomic_fetch_add(&stream->waiters, 1);
	for (;;) {
		uint64_t completed = atomic_load(&stream->completed);

		if (completed >= sequence)
			break;
		softgpu_futex_wait(&stream->completed, (uint32_t)completed, 0);
	}
	atomic_fetch_sub(&stream->waiters, 1);
}

CUresult softgpu_stream_lookup(CUstream handle, struct softgpu_context **ret_context,
			       struct softgpu_stream **ret_stream)
{
	CUresult result = softgpu_current(ret_context);
	struct softgpu_stream *stream;

	if (result)
		return result;
	if (handle == NULL || handle == CU_STREAM_LEGACY) {
		*ret_stream = (*ret_context)->legacy;
		return CUDA_SUCCESS;
	}
	stream = softgpu_object_get(SOFTGPU_STREAM, handle);
	if (!stream)
		return CUDA_ERROR_INVALID_HANDLE;
	if (stream->context != *ret_context) {
		/* A stream of another context than the thread's own: CUDA takes the stream's. */
		*ret_context = stream->context;
		result = softgpu_context_error(stream->context);
	}
	*ret_stream = stream;
	return result;
}
