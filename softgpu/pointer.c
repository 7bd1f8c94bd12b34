/* SPDX-License-Identifier: MIT */
/* What a pointer is: cuPointerGetAttribute and its plural. */
#include <string.h>

#include "softgpu/internal.h"

/* Writes one attribute; @range is NULL for an address that CUDA does not know. */
static CUresult get(void *data, CUpointer_attribute attribute, const struct softgpu_range *range, CUdeviceptr address)
{
	bool host = range && softgpu_memory_is_host(range->kind);

	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
		*(CUcontext *)data = range ? (CUcontext)range->context : NULL;
		return range ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
		*(unsigned int *)data = !range ? 0 : host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
		return range ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
		*(CUdeviceptr *)data = range ? address : 0;
		return range ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	case CU_POINTER_ATTRIBUTE_HOST_POINTER:
		*(void **)data = host ? (void *)(uintptr_t)address : NULL;
		return host ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
		*(int *)data = 0;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
		*(unsigned long long *)data = range ? range->id : 0;
		return range ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		*(int *)data = range ? range->context->device : CU_DEVICE_INVALID;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
		*(CUdeviceptr *)data = range ? range->start : 0;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
		*(size_t *)data = range ? range->size : 0;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_MAPPED:
		*(int *)data = range != NULL;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
		*(int *)data = 0;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
		*(unsigned long long *)data = 0;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
		*(unsigned int *)data = range ? 3 : 0;
		return CUDA_SUCCESS;
	default:
		return CUDA_ERROR_NOT_SUPPORTED;
	}
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr address)
{
	struct softgpu_context *context;
	struct softgpu_range range;
	CUresult result = softgpu_current(&context);

	if (result)
		return result;
	if (!data)
		return CUDA_ERROR_INVALID_VALUE;
	if (!softgpu_range_find(address, &range))
		return CUDA_ERROR_INVALID_VALUE;
	return get(data, attribute, &range, address);
}

CUresult cuPointerGetAttributes(unsigned int count, CUpointer_attribute *attributes, void **data, CUdeviceptr address)
{
	struct softgpu_context *context;
	struct softgpu_range range;
	CUresult result = softgpu_current(&context);
	bool known;

	if (result)
		return result;
	if (!count || !attributes || !data)
		return CUDA_ERROR_INVALID_VALUE;
	known = softgpu_range_find(address, &range);
	for (unsigned int i = 0; i < count; i++) {
		/* Unlike the singular, an unknown address is no error here: its attributes are zeros. */
		result = get(data[i], attributes[i], known ? &range : NULL, address);
		if (result == CUDA_ERROR_NOT_SUPPORTED)
			return result;
	}
	return CUDA_SUCCESS;
}
