/* SPDX-License-Identifier: MIT */
/* Pinned host memory: its device address is its host address, and kernels use it in place. */
#include <sys/mman.h>

#include "softgpu/internal.h"

static CUresult host_alloc(void **ret_pointer, size_t size, unsigned int flags)
{
	struct softgpu_range range = { .size = size, .kind = SOFTGPU_MEM_HOST, .flags = flags | CU_MEMHOSTALLOC_DEVICEMAP };
	CUresult result = softgpu_current(&range.context);
	size_t mapped = (size + 4095) & ~(size_t)4095;
	void *memory;

	if (result)
		return result;
	if (!ret_pointer || !size || mapped < size || flags & ~7u)
		return CUDA_ERROR_INVALID_VALUE;
	if (atomic_fetch_add(&softgpu.allocs, 1) + 1 == softgpu.config.fail_alloc)
		return CUDA_ERROR_OUT_OF_MEMORY;
	memory = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return CUDA_ERROR_OUT_OF_MEMORY;
	range.start = (uint64_t)(uintptr_t)memory;
	result = softgpu_range_add(&range);
	if (result) {
		munmap(memory, mapped);
		return result;
	}
	*ret_pointer = memory;
	return CUDA_SUCCESS;
}

CUresult cuMemHostAlloc(void **pointer, size_t size, unsigned int flags)
{
	return host_alloc(pointer, size, flags);
}

CUresult cuMemAllocHost_v2(void **pointer, size_t size)
{
	return host_alloc(pointer, size, 0);
}

/*
 * Takes the range of that kind that starts at pointer away, when the GPU is done with it: also after an
 * error of the GPU's work, which is the result then. False: it is there still, or never was.
 */
static bool forget(void *pointer, enum softgpu_memory kind, CUresult unknown, struct softgpu_range *ret_range,
		   CUresult *ret_result)
{
	uint64_t start = (uint64_t)(uintptr_t)pointer;
	struct softgpu_context *context;

	*ret_result = softgpu_current(&context);
	if (*ret_result)
		return false;
	*ret_result = unknown;
	if (!softgpu_range_find(start, ret_range) || ret_range->start != start || ret_range->kind != kind)
		return false;
	*ret_result = softgpu_context_wait(ret_range->context);
	if (softgpu_range_remove(start, kind, ret_range))
		return true;
	*ret_result = unknown;
	return false;
}

CUresult cuMemFreeHost(void *pointer)
{
	struct softgpu_range range;
	CUresult result;

	if (forget(pointer, SOFTGPU_MEM_HOST, CUDA_ERROR_INVALID_VALUE, &range, &result))
		munmap(pointer, (range.size + 4095) & ~(size_t)4095);
	return result;
}

CUresult cuMemHostRegister_v2(void *pointer, size_t size, unsigned int flags)
{
	struct softgpu_range range = {
		.start = (uint64_t)(uintptr_t)pointer,
		.size = size,
		.kind = SOFTGPU_MEM_REGISTERED,
		.flags = flags | CU_MEMHOSTREGISTER_DEVICEMAP,
	};
	CUresult result = softgpu_current(&range.context);

	if (result)
		return result;
	if (!pointer || !size || flags & ~7u)
		return CUDA_ERROR_INVALID_VALUE;
	return softgpu_range_add(&range);
}

CUresult cuMemHostUnregister(void *pointer)
{
	struct softgpu_range range;
	CUresult result;

	forget(pointer, SOFTGPU_MEM_REGISTERED, CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, &range, &result);
	return result;
}

static CUresult find_host(void *pointer, struct softgpu_range *ret_range)
{
	struct softgpu_context *context;
	CUresult result = softgpu_current(&context);

	if (result)
		return result;
	if (!softgpu_range_find((uint64_t)(uintptr_t)pointer, ret_range) ||
	    !softgpu_memory_is_host(ret_range->kind))
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *address, void *pointer, unsigned int flags)
{
	struct softgpu_range range;
	CUresult result = find_host(pointer, &range);

	if (result)
		return result;
	if (!address || flags)
		return CUDA_ERROR_INVALID_VALUE;
	*address = (uint64_t)(uintptr_t)pointer;
	return CUDA_SUCCESS;
}

CUresult cuMemHostGetFlags(unsigned int *flags, void *pointer)
{
	struct softgpu_range range;
	CUresult result = find_host(pointer, &range);

	if (result)
		return result;
	if (!flags)
		return CUDA_ERROR_INVALID_VALUE;
	*flags = range.flags;
	return CUDA_SUCCESS;
}
