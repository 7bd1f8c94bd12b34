/* SPDX-License-Identifier: MIT */
/* The calls that copy and fill. */
#include <stdlib.h>
#include <string.h>

#include "softgpu/internal.h"

/* Where the caller says that an address lies. */
enum side { SIDE_DEVICE, SIDE_HOST, SIDE_ANY };

static CUresult check_side(struct softgpu_context *context, enum side side, uint64_t address, uint64_t size,
			   bool *ret_pageable)
{
	*ret_pageable = false;
	if (softgpu_range_covers(context, address, size))
		return CUDA_SUCCESS;
	if (side == SIDE_DEVICE || !address || softgpu_memory_in_arena(address) ||
	    softgpu_memory_in_arena(address + size - 1))
		return CUDA_ERROR_INVALID_VALUE;
	*ret_pageable = true;
	return CUDA_SUCCESS;
}

/*
 * CUDA's blocking rules: copies from pageable memory return when the source may be changed, copies to it when they are
 * done; pinned and device memory does not block, unless @wait.
 */
static CUresult copy(CUdeviceptr dst, enum side dst_side, CUdeviceptr src, enum side src_side, size_t size,
		     CUstream handle, bool wait)
{
	struct softgpu_command command = { .kind = SOFTGPU_COPY, .copy = { dst, src, size } };
	struct softgpu_context *context;
	struct softgpu_stream *stream;
	uint64_t sequence;
	CUresult result = softgpu_stream_lookup(handle, &context, &stream);

	if (result)
		return result;
	if (!size)
		return CUDA_SUCCESS;
	if (dst + size < dst || src + size < src)
		return CUDA_ERROR_INVALID_VALUE;
	result = check_side(context, dst_side, dst, size, &command.copy.dst_pageable);
	if (!result)
		result = check_side(context, src_side, src, size, &command.copy.src_pageable);
	if (result)
		return result;
	if (command.copy.src_pageable && size <= SOFTGPU_STAGING_MAX) {
		command.copy.staging = malloc(size);
		if (!command.copy.staging)
			return CUDA_ERROR_OUT_OF_MEMORY;
		memcpy(command.copy.staging, (void *)(uintptr_t)src, size);
	} else if (command.copy.src_pageable) {
		wait = true;
	}
	wait |= command.copy.dst_pageable;
	softgpu_stream_get(stream);
	result = softgpu_stream_submit(stream, &command, &sequence);
	if (result)
		free(command.copy.staging);
	else if (wait)
		softgpu_stream_wait(stream, sequence);
	softgpu_stream_put(stream);
	return result ? result : wait ? softgpu_context_error(context) : CUDA_SUCCESS;
}

static CUdeviceptr number(const void *pointer)
{
	return (CUdeviceptr)(uintptr_t)pointer;
}

CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t size)
{
	struct softgpu_range range;
	/* Between two places on the device the host is not made to wait. */
	bool device = softgpu_range_find(dst, &range) && !softgpu_memory_is_host(range.kind) &&
		      softgpu_range_find(src, &range) && !softgpu_memory_is_host(range.kind);

	return copy(dst, SIDE_ANY, src, SIDE_ANY, size, NULL, !device);
}

CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t size, CUstream stream)
{
	return copy(dst, SIDE_ANY, src, SIDE_ANY, size, stream, false);
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr dst, const void *src, size_t size)
{
	return copy(dst, SIDE_DEVICE, number(src), SIDE_HOST, size, NULL, true);
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void *src, size_t size, CUstream stream)
{
	return copy(dst, SIDE_DEVICE, number(src), SIDE_HOST, size, stream, false);
}

CUresult cuMemcpyDtoH_v2(void *dst, CUdeviceptr src, size_t size)
{
	return copy(number(dst), SIDE_HOST, src, SIDE_DEVICE, size, NULL, true);
}

CUresult cuMemcpyDtoHAsync_v2(void *dst, CUdeviceptr src, size_t size, CUstream stream)
{
	return copy(number(dst), SIDE_HOST, src, SIDE_DEVICE, size, stream, false);
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr dst, CUdeviceptr src, size_t size)
{
	return copy(dst, SIDE_DEVICE, src, SIDE_DEVICE, size, NULL, false);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dst, CUdeviceptr src, size_t size, CUstream stream)
{
	return copy(dst, SIDE_DEVICE, src, SIDE_DEVICE, size, stream, false);
}

static CUresult fill(CUdeviceptr dst, size_t pitch, uint32_t value, unsigned int element, size_t width, size_t height,
		     CUstream handle)
{
	struct softgpu_command command = {
		.kind = SOFTGPU_FILL,
		.fill = { dst, pitch, width, height, value, element },
	};
	struct softgpu_context *context;
	struct softgpu_stream *stream;
	size_t row, last, end;
	CUresult result = softgpu_stream_lookup(handle, &context, &stream);

	if (result)
		return result;
	if (!width || !height)
		return CUDA_SUCCESS;
	if (dst % element || (height > 1 && pitch % element) || __builtin_mul_overflow(width, (size_t)element, &row) ||
	    __builtin_mul_overflow(pitch, height - 1, &last) || __builtin_add_overflow(last, row, &end) ||
	    (height > 1 && row > pitch) || !softgpu_range_covers(context, dst, end))
		return CUDA_ERROR_INVALID_VALUE;
	return softgpu_stream_submit(stream, &command, NULL);
}

CUresult cuMemsetD8_v2(CUdeviceptr dst, unsigned char value, size_t count)
{
	return fill(dst, 0, value, 1, count, 1, NULL);
}

CUresult cuMemsetD8Async(CUdeviceptr dst, unsigned char value, size_t count, CUstream stream)
{
	return fill(dst, 0, value, 1, count, 1, stream);
}

CUresult cuMemsetD16_v2(CUdeviceptr dst, unsigned short value, size_t count)
{
	return fill(dst, 0, value, 2, count, 1, NULL);
}

CUresult cuMemsetD16Async(CUdeviceptr dst, unsigned short value, size_t count, CUstream stream)
{
	return fill(dst, 0, value, 2, count, 1, stream);
}

CUresult cuMemsetD32_v2(CUdeviceptr dst, unsigned int value, size_t count)
{
	return fill(dst, 0, value, 4, count, 1, NULL);
}

CUresult cuMemsetD32Async(CUdeviceptr dst, unsigned int value, size_t count, CUstream stream)
{
	return fill(dst, 0, value, 4, count, 1, stream);
}

CUresult cuMemsetD2D8_v2(CUdeviceptr dst, size_t pitch, unsigned char value, size_t width, size_t height)
{
	return fill(dst, pitch, value, 1, width, height, NULL);
}

CUresult cuMemsetD2D8Async(CUdeviceptr dst, size_t pitch, unsigned char value, size_t width, size_t height,
			   CUstream stream)
{
	return fill(dst, pitch, value, 1, width, height, stream);
}

CUresult cuMemsetD2D32_v2(CUdeviceptr dst, size_t pitch, unsigned int value, size_t width, size_t height)
{
	return fill(dst, pitch, value, 4, width, height, NULL);
}

CUresult cuMemsetD2D32Async(CUdeviceptr dst, size_t pitch, unsigned int value, size_t width, size_t height,
			    CUstream stream)
{
	return fill(dst, pitch, value, 4, width, height, stream);
}
