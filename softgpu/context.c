/* SPDX-License-Identifier: MIT */
/* Contexts: the thread's stack of them, primary ones, sticky errors, waiting for all streams. */
#include <stdlib.h>
#include <string.h>

#include "softgpu/internal.h"

static __thread struct softgpu_context *current_stack[SOFTGPU_MAX_CONTEXT_STACK];
static __thread unsigned int current_depth; /* the current context is the one on top */

CUresult softgpu_ready(void)
{
	if (!atomic_load_explicit(&softgpu.ready, memory_order_acquire) ||
	    atomic_load_explicit(&softgpu.forked, memory_order_relaxed))
		return CUDA_ERROR_NOT_INITIALIZED;
	return CUDA_SUCCESS;
}

static CUresult top(struct softgpu_context **ret_context)
{
	CUresult result = softgpu_ready();
	struct softgpu_context *context;

	if (result)
		return result;
	context = current_depth ? current_stack[current_depth - 1] : NULL;
	if (!context)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!softgpu_object_get(SOFTGPU_CONTEXT, context))
		return CUDA_ERROR_CONTEXT_IS_DESTROYED;
	*ret_context = context;
	return CUDA_SUCCESS;
}

CUresult softgpu_current(struct softgpu_context **ret_context)
{
	CUresult result = top(ret_context);

	if (!result && atomic_load_explicit(&softgpu.devices[(*ret_context)->device].lost, memory_order_relaxed))
		softgpu_context_fail(*ret_context, CUDA_ERROR_DEVICE_UNAVAILABLE);
	return result ? result : softgpu_context_error(*ret_context);
}

void softgpu_context_fail(struct softgpu_context *context, CUresult error)
{
	int none = CUDA_SUCCESS;

	atomic_compare_exchange_strong(&context->error, &none, (int)error);
	atomic_store(&context->stop, true);
}

CUresult softgpu_context_wait(struct softgpu_context *context)
{
	struct softgpu_stream **streams;
	uint64_t *until;
	size_t count = 1, i = 0;

	pthread_mutex_lock(&context->lock);
	for (struct softgpu_stream *s = context->streams; s; s = s->next)
		count++;
	streams = calloc(count, sizeof(struct softgpu_stream *));
	until = calloc(count, sizeof(*until));
	if (streams && until) {
		streams[i++] = context->legacy;
		for (struct softgpu_stream *s = context->streams; s; s = s->next)
			streams[i++] = s;
		for (i = 0; i < count; i++) {
			softgpu_stream_get(streams[i]);
			until[i] = atomic_load(&streams[i]->submitted);
		}
	}
	pthread_mutex_unlock(&context->lock);
	if (!streams || !until) {
		free(streams);
		free(until);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	for (i = 0; i < count; i++) {
		softgpu_stream_wait(streams[i], until[i]);
		softgpu_stream_put(streams[i]);
	}
	free(streams);
	free(until);
	return softgpu_context_error(context);
}

static CUresult context_new(CUdevice device, unsigned int flags, bool primary, struct softgpu_context **ret_context)
{
	struct softgpu_context *context;
	CUresult result;

	if (atomic_load(&softgpu.devices[device].lost))
		return CUDA_ERROR_DEVICE_UNAVAILABLE;
	context = softgpu_object_new(SOFTGPU_CONTEXT);
	if (!context)
		return CUDA_ERROR_OUT_OF_MEMORY;
	pthread_mutex_init(&context->lock, NULL);
	context->device = device;
	context->primary = primary;
	context->flags = flags | CU_CTX_MAP_HOST;
	context->id = atomic_fetch_add(&softgpu.ids, 1) + 1;
	context->limits[CU_LIMIT_STACK_SIZE] = 1024;
	context->limits[CU_LIMIT_PRINTF_FIFO_SIZE] = 1 << 20;
	context->limits[CU_LIMIT_MALLOC_HEAP_SIZE] = 8 << 20;
	context->limits[CU_LIMIT_MAX_L2_FETCH_GRANULARITY] = 64;
	result = softgpu_stream_new(context, CU_STREAM_DEFAULT, 0, &context->legacy);
	if (result) {
		softgpu_object_free(SOFTGPU_CONTEXT, context);
		return result;
	}
	context->legacy->legacy = true;
	atomic_store(&context->object.alive, true);
	*ret_context = context;
	return CUDA_SUCCESS;
}

static struct softgpu_stream *first_open_stream(struct softgpu_context *context)
{
	struct softgpu_stream *stream;

	pthread_mutex_lock(&context->lock);
	for (stream = context->streams; stream; stream = stream->next)
		if (atomic_load(&stream->object.alive))
			break;
	pthread_mutex_unlock(&context->lock);
	return stream;
}

/* Everything of the context ends: its work first, then streams, modules and memory. */
static void context_free(struct softgpu_context *context)
{
	struct softgpu_stream *stream;
	unsigned int workers;

	softgpu_context_wait(context);
	atomic_store(&context->object.alive, false);
	while ((stream = first_open_stream(context)))
		softgpu_stream_close(stream);
	softgpu_stream_close(context->legacy);
	while ((workers = atomic_load(&context->workers)))
		softgpu_futex_wait(&context->workers, workers, 0);
	while (context->modules)
		softgpu_module_free(context->modules);
	softgpu_memory_free_context(context);
	pthread_mutex_destroy(&context->lock);
	softgpu_object_free(SOFTGPU_CONTEXT, context);
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *ret_context, CUdevice device)
{
	CUresult result = softgpu_ready();
	struct softgpu_device *dev;

	if (result)
		return result;
	if (!ret_context)
		return CUDA_ERROR_INVALID_VALUE;
	if (device < 0 || device >= softgpu.config.devices)
		return CUDA_ERROR_INVALID_DEVICE;
	dev = &softgpu.devices[device];
	pthread_mutex_lock(&softgpu.lock);
	if (!dev->primary)
		result = context_new(device, dev->primary_flags, true, &dev->primary);
	if (!result) {
		dev->primary_refs++;
		*ret_context = (CUcontext)dev->primary;
	}
	pthread_mutex_unlock(&softgpu.lock);
	return result;
}

static CUresult primary_drop(CUdevice device, bool all)
{
	CUresult result = softgpu_ready();
	struct softgpu_device *dev;
	struct softgpu_context *end = NULL;

	if (result)
		return result;
	if (device < 0 || device >= softgpu.config.devices)
		return CUDA_ERROR_INVALID_DEVICE;
	dev = &softgpu.devices[device];
	pthread_mutex_lock(&softgpu.lock);
	if (!all && !dev->primary) {
		result = CUDA_ERROR_INVALID_CONTEXT;
	} else if (dev->primary && (all || --dev->primary_refs == 0)) {
		end = dev->primary;
		dev->primary = NULL;
		dev->primary_refs = 0;
	}
	pthread_mutex_unlock(&softgpu.lock);
	if (end)
		context_free(end);
	return result;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
	return primary_drop(device, false);
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice device)
{
	return primary_drop(device, true);
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned int flags)
{
	CUresult result = softgpu_ready();

	if (result)
		return result;
	if (device < 0 || device >= softgpu.config.devices)
		return CUDA_ERROR_INVALID_DEVICE;
	if (flags & ~(unsigned int)CU_CTX_FLAGS_MASK)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&softgpu.lock);
	softgpu.devices[device].primary_flags = flags;
	if (softgpu.devices[device].primary)
		softgpu.devices[device].primary->flags = flags | CU_CTX_MAP_HOST;
	pthread_mutex_unlock(&softgpu.lock);
	return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned int *flags, int *active)
{
	CUresult result = softgpu_ready();

	if (result)
		return result;
	if (device < 0 || device >= softgpu.config.devices)
		return CUDA_ERROR_INVALID_DEVICE;
	if (!flags || !active)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&softgpu.lock);
	*flags = softgpu.devices[device].primary_flags;
	*active = softgpu.devices[device].primary != NULL;
	pthread_mutex_unlock(&softgpu.lock);
	return CUDA_SUCCESS;
}

CUresult cuCtxCreate_v2(CUcontext *ret_context, unsigned int flags, CUdevice device)
{
	CUresult result = softgpu_ready();
	struct softgpu_context *context;

	if (result)
		return result;
	if (!ret_context || flags & ~(unsigned int)CU_CTX_FLAGS_MASK)
		return CUDA_ERROR_INVALID_VALUE;
	if (device < 0 || device >= softgpu.config.devices)
		return CUDA_ERROR_INVALID_DEVICE;
	result = context_new(device, flags, false, &context);
	if (result)
		return result;
	*ret_context = (CUcontext)context;
	return cuCtxPushCurrent_v2((CUcontext)context);
}

CUresult cuCtxDestroy_v2(CUcontext handle)
{
	CUresult result = softgpu_ready();
	struct softgpu_context *context = softgpu_object_get(SOFTGPU_CONTEXT, handle);

	if (result)
		return result;
	if (!context || context->primary)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (current_depth && current_stack[current_depth - 1] == context)
		current_depth--;
	context_free(context);
	return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext handle)
{
	CUresult result = softgpu_ready();

	if (result)
		return result;
	if (handle && !softgpu_object_get(SOFTGPU_CONTEXT, handle))
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!handle) {
		if (current_depth)
			current_depth--;
		return CUDA_SUCCESS;
	}
	if (!current_depth)
		current_depth = 1;
	current_stack[current_depth - 1] = (struct softgpu_context *)handle;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *ret_context)
{
	CUresult result = softgpu_ready();

	if (result)
		return result;
	if (!ret_context)
		return CUDA_ERROR_INVALID_VALUE;
	*ret_context = current_depth ? (CUcontext)current_stack[current_depth - 1] : NULL;
	return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent_v2(CUcontext handle)
{
	CUresult result = softgpu_ready();

	if (result)
		return result;
	if (!softgpu_object_get(SOFTGPU_CONTEXT, handle))
		return CUDA_ERROR_INVALID_CONTEXT;
	if (current_depth == SOFTGPU_MAX_CONTEXT_STACK)
		return CUDA_ERROR_OUT_OF_MEMORY;
	current_stack[current_depth++] = (struct softgpu_context *)handle;
	return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent_v2(CUcontext *ret_context)
{
	CUresult result = softgpu_ready();

	if (result)
		return result;
	if (!current_depth)
		return CUDA_ERROR_INVALID_CONTEXT;
	current_depth--;
	if (ret_context)
		*ret_context = (CUcontext)current_stack[current_depth];
	return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *device)
{
	struct softgpu_context *context;
	CUresult result = top(&context);

	if (result)
		return result;
	if (!device)
		return CUDA_ERROR_INVALID_VALUE;
	*device = context->device;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetFlags(unsigned int *flags)
{
	struct softgpu_context *context;
	CUresult result = top(&context);

	if (result)
		return result;
	if (!flags)
		return CUDA_ERROR_INVALID_VALUE;
	*flags = context->flags;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetApiVersion(CUcontext handle, unsigned int *version)
{
	CUresult result = softgpu_ready();

	if (result)
		return result;
	if (!version)
		return CUDA_ERROR_INVALID_VALUE;
	if (handle && !softgpu_object_get(SOFTGPU_CONTEXT, handle))
		return CUDA_ERROR_INVALID_CONTEXT;
	*version = 3020;
	return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize(void)
{
	struct softgpu_context *context;
	CUresult result = softgpu_current(&context);

	return result ? result : softgpu_context_wait(context);
}

static bool known_limit(CUlimit limit)
{
	return limit == CU_LIMIT_STACK_SIZE || limit == CU_LIMIT_PRINTF_FIFO_SIZE ||
	       limit == CU_LIMIT_MALLOC_HEAP_SIZE || limit == CU_LIMIT_MAX_L2_FETCH_GRANULARITY ||
	       limit == CU_LIMIT_PERSISTING_L2_CACHE_SIZE;
}

CUresult cuCtxGetLimit(size_t *value, CUlimit limit)
{
	struct softgpu_context *context;
	CUresult result = softgpu_current(&context);

	if (result)
		return result;
	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	if (!known_limit(limit))
		return CUDA_ERROR_UNSUPPORTED_LIMIT;
	*value = context->limits[limit];
	return CUDA_SUCCESS;
}

CUresult cuCtxSetLimit(CUlimit limit, size_t value)
{
	struct softgpu_context *context;
	CUresult result = softgpu_current(&context);

	if (result)
		return result;
	if (!known_limit(limit))
		return CUDA_ERROR_UNSUPPORTED_LIMIT;
	if (limit == CU_LIMIT_STACK_SIZE && value > PTX_MAX_LOCAL)
		return CUDA_ERROR_INVALID_VALUE;
	context->limits[limit] = value;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
	struct softgpu_context *context;
	CUresult result = softgpu_current(&context);

	if (result)
		return result;
	if (least)
		*least = 0;
	if (greatest)
		*greatest = -5;
	return CUDA_SUCCESS;
}
