/* SPDX-License-Identifier: MIT */
/* Events: a place in a stream (a stream and a command's number) and the time when it was reached. */
#include "softgpu/internal.h"

enum { EVENT_FLAGS = CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS };

CUresult cuEventCreate(CUevent *ret_event, unsigned int flags)
{
	struct softgpu_context *context;
	struct softgpu_event *event;
	CUresult result = softgpu_current(&context);

	if (result)
		return result;
	if (!ret_event || flags & ~(unsigned int)EVENT_FLAGS)
		return CUDA_ERROR_INVALID_VALUE;
	if (flags & CU_EVENT_INTERPROCESS)
		return CUDA_ERROR_NOT_SUPPORTED;
	event = softgpu_object_new(SOFTGPU_EVENT);
	if (!event)
		return CUDA_ERROR_OUT_OF_MEMORY;
	event->context = context;
	event->flags = flags;
	atomic_init(&event->refs, 1);
	pthread_mutex_init(&event->lock, NULL);
	atomic_store(&event->object.alive, true);
	*ret_event = (CUevent)event;
	return CUDA_SUCCESS;
}

void softgpu_event_put(struct softgpu_event *event)
{
	if (atomic_fetch_sub(&event->refs, 1) != 1)
		return;
	softgpu_stream_put(event->stream);
	pthread_mutex_destroy(&event->lock);
	softgpu_object_free(SOFTGPU_EVENT, event);
}

static CUresult find(CUevent handle, struct softgpu_event **ret_event)
{
	CUresult result = softgpu_ready();
	struct softgpu_event *event;

	if (result)
		return result;
	event = softgpu_object_get(SOFTGPU_EVENT, handle);
	if (!event)
		return CUDA_ERROR_INVALID_HANDLE;
	*ret_event = event;
	return CUDA_SUCCESS;
}

CUresult cuEventDestroy_v2(CUevent handle)
{
	struct softgpu_event *event;
	CUresult result = find(handle, &event);

	if (result)
		return result;
	atomic_store(&event->object.alive, false);
	softgpu_event_put(event);
	return CUDA_SUCCESS;
}

/* Called by the worker that passes the place. */
void softgpu_event_reached(struct softgpu_event *event, uint64_t generation)
{
	uint64_t now = event->flags & CU_EVENT_DISABLE_TIMING ? 0 : softgpu_now_ns();

	pthread_mutex_lock(&event->lock);
	if (generation > event->time_generation) {
		event->time_generation = generation;
		event->time_ns = now;
	}
	pthread_mutex_unlock(&event->lock);
}

CUresult cuEventRecordWithFlags(CUevent handle, CUstream stream_handle, unsigned int flags)
{
	struct softgpu_command command = { .kind = SOFTGPU_RECORD };
	struct softgpu_context *context;
	struct softgpu_stream *stream, *before;
	struct softgpu_event *event;
	uint64_t sequence;
	CUresult result = softgpu_stream_lookup(stream_handle, &context, &stream);

	if (!result)
		result = find(handle, &event);
	if (result)
		return result;
	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	if (event->context != context)
		return CUDA_ERROR_INVALID_HANDLE;
	softgpu_stream_get(stream);
	atomic_fetch_add(&event->refs, 1);
	pthread_mutex_lock(&event->lock);
	command.record.event = event;
	command.record.generation = ++event->generation;
	pthread_mutex_unlock(&event->lock);
	/* Not under the event's lock: this may block, and the worker takes it. */
	result = softgpu_stream_submit(stream, &command, &sequence);
	if (result) {
		softgpu_event_put(event);
		softgpu_stream_put(stream);
		return result;
	}
	pthread_mutex_lock(&event->lock);
	before = event->stream;
	event->stream = stream;
	event->sequence = sequence;
	pthread_mutex_unlock(&event->lock);
	softgpu_stream_put(before);
	return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent event, CUstream stream)
{
	return cuEventRecordWithFlags(event, stream, 0);
}

/* The place where the event was recorded last, with a reference; false when never. */
static bool place(struct softgpu_event *event, struct softgpu_stream **ret_stream, uint64_t *ret_sequence)
{
	struct softgpu_stream *stream;

	pthread_mutex_lock(&event->lock);
	stream = event->stream;
	if (stream) {
		softgpu_stream_get(stream);
		*ret_stream = stream;
		*ret_sequence = event->sequence;
	}
	pthread_mutex_unlock(&event->lock);
	return stream != NULL;
}

CUresult cuEventQuery(CUevent handle)
{
	struct softgpu_stream *stream;
	struct softgpu_event *event;
	uint64_t sequence;
	CUresult result = find(handle, &event);
	bool done = true;

	if (result)
		return result;
	if (place(event, &stream, &sequence)) {
		done = softgpu_stream_done(stream, sequence);
		softgpu_stream_put(stream);
	}
	result = softgpu_context_error(event->context);
	return result ? result : done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult cuEventSynchronize(CUevent handle)
{
	struct softgpu_stream *stream;
	struct softgpu_event *event;
	uint64_t sequence;
	CUresult result = find(handle, &event);

	if (result)
		return result;
	if (place(event, &stream, &sequence)) {
		softgpu_stream_wait(stream, sequence);
		softgpu_stream_put(stream);
	}
	return softgpu_context_error(event->context);
}

CUresult cuStreamWaitEvent(CUstream stream_handle, CUevent handle, unsigned int flags)
{
	struct softgpu_command command = { .kind = SOFTGPU_WAIT };
	struct softgpu_context *context;
	struct softgpu_stream *stream;
	struct softgpu_event *event;
	CUresult result = softgpu_stream_lookup(stream_handle, &context, &stream);

	if (!result)
		result = find(handle, &event);
	if (result)
		return result;
	if (flags > CU_EVENT_WAIT_EXTERNAL)
		return CUDA_ERROR_INVALID_VALUE;
	if (!place(event, &command.wait.stream, &command.wait.sequence))
		return CUDA_SUCCESS;
	if (command.wait.stream == stream || softgpu_stream_done(command.wait.stream, command.wait.sequence)) {
		softgpu_stream_put(command.wait.stream);
		return CUDA_SUCCESS;
	}
	result = softgpu_stream_submit(stream, &command, NULL);
	if (result)
		softgpu_stream_put(command.wait.stream);
	return result;
}

/* 0 and the time, or why there is none. */
static CUresult reached_at(struct softgpu_event *event, uint64_t *ret_ns)
{
	CUresult result = CUDA_SUCCESS;

	pthread_mutex_lock(&event->lock);
	if (!event->stream || event->flags & CU_EVENT_DISABLE_TIMING)
		result = CUDA_ERROR_INVALID_HANDLE;
	else if (!softgpu_stream_done(event->stream, event->sequence))
		result = CUDA_ERROR_NOT_READY;
	else
		*ret_ns = event->time_ns;
	pthread_mutex_unlock(&event->lock);
	return result;
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end)
{
	struct softgpu_event *first, *second;
	uint64_t from, to;
	CUresult result = find(start, &first);

	if (!result)
		result = find(end, &second);
	if (!result && !milliseconds)
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result)
		result = softgpu_context_error(first->context);
	if (!result)
		result = reached_at(first, &from);
	if (!result)
		result = reached_at(second, &to);
	if (!result)
		*milliseconds = (float)((double)(int64_t)(to - from) / 1e6);
	return result;
}
