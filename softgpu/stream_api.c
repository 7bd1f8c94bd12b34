/* SPDX-License-Identifier: MIT */
/* The calls on streams; what they do with the ring is in stream.c. */
#include "softgpu/internal.h"

CUresult cuStreamCreateWithPriority(CUstream *ret_stream, unsigned int flags, int priority)
{
	struct softgpu_context *context;
	struct softgpu_stream *stream;
	CUresult result = softgpu_current(&context);

	if (result)
		return result;
	if (!ret_stream || flags & ~(unsigned int)CU_STREAM_NON_BLOCKING)
		return CUDA_ERROR_INVALID_VALUE;
	if (priority > 0)
		priority = 0;
	if (priority < -5)
		priority = -5;
	result = softgpu_stream_new(context, flags, priority, &stream);
	if (result)
		return result;
	pthread_mutex_lock(&context->lock);
	stream->next = context->streams;
	context->streams = stream;
	pthread_mutex_unlock(&context->lock);
	atomic_store(&stream->object.alive, true);
	*ret_stream = (CUstream)stream;
	return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream *ret_stream, unsigned int flags)
{
	return cuStreamCreateWithPriority(ret_stream, flags, 0);
}

CUresult cuStreamDestroy_v2(CUstream handle)
{
	CUresult result = softgpu_ready();
	struct softgpu_stream *stream = softgpu_object_get(SOFTGPU_STREAM, handle);

	if (result)
		return result;
	if (!stream)
		return CUDA_ERROR_INVALID_HANDLE;
	softgpu_stream_close(stream);
	return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream handle)
{
	struct softgpu_context *context;
	struct softgpu_stream *stream;
	CUresult result = softgpu_stream_lookup(handle, &context, &stream);

	if (result)
		return result;
	softgpu_stream_get(stream);
	softgpu_stream_wait(stream, atomic_load(&stream->submitted));
	softgpu_stream_put(stream);
	return softgpu_context_error(context);
}

CUresult cuStreamQuery(CUstream handle)
{
	struct softgpu_context *context;
	struct softgpu_stream *stream;
	CUresult result = softgpu_stream_lookup(handle, &context, &stream);

	if (result)
		return result;
	if (!softgpu_stream_done(stream, atomic_load(&stream->submitted)))
		return CUDA_ERROR_NOT_READY;
	return softgpu_context_error(context);
}

CUresult cuStreamGetFlags(CUstream handle, unsigned int *flags)
{
	struct softgpu_context *context;
	struct softgpu_stream *stream;
	CUresult result = softgpu_stream_lookup(handle, &context, &stream);

	if (result)
		return result;
	if (!flags)
		return CUDA_ERROR_INVALID_VALUE;
	*flags = stream->flags;
	return CUDA_SUCCESS;
}

CUresult cuStreamGetPriority(CUstream handle, int *priority)
{
	struct softgpu_context *context;
	struct softgpu_stream *stream;
	CUresult result = softgpu_stream_lookup(handle, &context, &stream);

	if (result)
		return result;
	if (!priority)
		return CUDA_ERROR_INVALID_VALUE;
	*priority = stream->priority;
	return CUDA_SUCCESS;
}

CUresult cuStreamGetCtx(CUstream handle, CUcontext *ret_context)
{
	struct softgpu_context *context;
	struct softgpu_stream *stream;
	CUresult result = softgpu_stream_lookup(handle, &context, &stream);

	if (result)
		return result;
	if (!ret_context)
		return CUDA_ERROR_INVALID_VALUE;
	*ret_context = (CUcontext)context;
	return CUDA_SUCCESS;
}

CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus *status)
{
	struct softgpu_context *context;
	struct softgpu_stream *stream;
	CUresult result = softgpu_stream_lookup(handle, &context, &stream);

	if (result)
		return result;
	if (!status)
		return CUDA_ERROR_INVALID_VALUE;
	*status = CU_STREAM_CAPTURE_STATUS_NONE;
	return CUDA_SUCCESS;
}

CUresult cuLaunchHostFunc(CUstream handle, CUhostFn function, void *data)
{
	struct softgpu_command command = { .kind = SOFTGPU_HOST_FUNCTION, .host = { function, NULL, data } };
	struct softgpu_context *context;
	struct softgpu_stream *stream;
	CUresult result = softgpu_stream_lookup(handle, &context, &stream);

	if (result)
		return result;
	return function ? softgpu_stream_submit(stream, &command, NULL) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuStreamAddCallback(CUstream handle, CUstreamCallback callback, void *data, unsigned int flags)
{
	struct softgpu_command command = { .kind = SOFTGPU_CALLBACK, .host = { NULL, callback, data } };
	struct softgpu_context *context;
	struct softgpu_stream *stream;
	CUresult result = softgpu_stream_lookup(handle, &context, &stream);

	if (result)
		return result;
	return callback && !flags ? softgpu_stream_submit(stream, &command, NULL) : CUDA_ERROR_INVALID_VALUE;
}

static CUresult submit_value(CUstream handle, enum softgpu_command_kind kind, CUdeviceptr address, uint64_t value,
			     unsigned int flags, bool wide)
{
	struct softgpu_command command = { .kind = kind, .value = { address, value, flags, wide } };
	struct softgpu_context *context;
	struct softgpu_stream *stream;
	CUresult result = softgpu_stream_lookup(handle, &context, &stream);
	unsigned int size = wide ? 8 : 4;

	if (result)
		return result;
	if (address % size || !softgpu_range_covers(context, address, size))
		return CUDA_ERROR_INVALID_VALUE;
	return softgpu_stream_submit(stream, &command, NULL);
}

CUresult cuStreamWriteValue32_v2(CUstream stream, CUdeviceptr address, cuuint32_t value, unsigned int flags)
{
	if (flags > CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER)
		return CUDA_ERROR_INVALID_VALUE;
	return submit_value(stream, SOFTGPU_WRITE_VALUE, address, value, flags, false);
}

CUresult cuStreamWriteValue64_v2(CUstream stream, CUdeviceptr address, cuuint64_t value, unsigned int flags)
{
	if (flags > CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER)
		return CUDA_ERROR_INVALID_VALUE;
	return submit_value(stream, SOFTGPU_WRITE_VALUE, address, value, flags, true);
}

CUresult cuStreamWaitValue32_v2(CUstream stream, CUdeviceptr address, cuuint32_t value, unsigned int flags)
{
	if ((flags & ~(unsigned int)CU_STREAM_WAIT_VALUE_FLUSH) > CU_STREAM_WAIT_VALUE_NOR)
		return CUDA_ERROR_INVALID_VALUE;
	return submit_value(stream, SOFTGPU_WAIT_VALUE, address, value, flags, false);
}

CUresult cuStreamWaitValue64_v2(CUstream stream, CUdeviceptr address, cuuint64_t value, unsigned int flags)
{
	if ((flags & ~(unsigned int)CU_STREAM_WAIT_VALUE_FLUSH) > CU_STREAM_WAIT_VALUE_NOR)
		return CUDA_ERROR_INVALID_VALUE;
	return submit_value(stream, SOFTGPU_WAIT_VALUE, address, value, flags, true);
}
