/* SPDX-License-Identifier: MIT */
/* What functions are: attributes, parameters, occupancy. */
#include "softgpu/internal.h"

static CUresult find(CUfunction handle, struct softgpu_function **ret_function)
{
	struct softgpu_context *context;
	CUresult result = softgpu_current(&context);
	struct softgpu_function *function;

	if (result)
		return result;
	function = softgpu_object_get(SOFTGPU_FUNCTION, handle);
	if (!function)
		return CUDA_ERROR_INVALID_HANDLE;
	*ret_function = function;
	return CUDA_SUCCESS;
}

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction handle)
{
	struct softgpu_function *function;
	CUresult result = find(handle, &function);
	const struct ptx_kernel *kernel;

	if (result)
		return result;
	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	kernel = function->kernel;
	switch (attribute) {
	case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
		*value = (int)kernel->max_threads;
		break;
	case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
		*value = (int)kernel->shared_bytes;
		break;
	case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
		*value = (int)kernel->const_bytes;
		break;
	case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
		*value = (int)kernel->local_bytes;
		break;
	case CU_FUNC_ATTRIBUTE_NUM_REGS:
		*value = (int)kernel->registers;
		break;
	case CU_FUNC_ATTRIBUTE_PTX_VERSION:
	case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
		*value = 90;
		break;
	case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
		*value = function->max_dynamic_shared;
		break;
	case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
		*value = function->carveout;
		break;
	case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA:
	case CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET:
	case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
	case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
	case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
	case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
	case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
		*value = 0;
		break;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
	return CUDA_SUCCESS;
}

CUresult cuFuncSetAttribute(CUfunction handle, CUfunction_attribute attribute, int value)
{
	struct softgpu_function *function;
	CUresult result = find(handle, &function);

	if (result)
		return result;
	switch (attribute) {
	case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
		if (value < 0 || value > SOFTGPU_MAX_SHARED - (int)function->kernel->shared_bytes)
			return CUDA_ERROR_INVALID_VALUE;
		function->max_dynamic_shared = value;
		return CUDA_SUCCESS;
	case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
		if (value < -1 || value > 100)
			return CUDA_ERROR_INVALID_VALUE;
		function->carveout = value;
		return CUDA_SUCCESS;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

CUresult cuFuncSetCacheConfig(CUfunction handle, CUfunc_cache config)
{
	struct softgpu_function *function;
	CUresult result = find(handle, &function);

	if (result)
		return result;
	return (unsigned int)config > CU_FUNC_CACHE_PREFER_EQUAL ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuFuncGetModule(CUmodule *ret_module, CUfunction handle)
{
	struct softgpu_function *function;
	CUresult result = find(handle, &function);

	if (result)
		return result;
	if (!ret_module)
		return CUDA_ERROR_INVALID_VALUE;
	*ret_module = (CUmodule)function->module;
	return CUDA_SUCCESS;
}

CUresult cuFuncGetName(const char **name, CUfunction handle)
{
	struct softgpu_function *function;
	CUresult result = find(handle, &function);

	if (result)
		return result;
	if (!name)
		return CUDA_ERROR_INVALID_VALUE;
	*name = function->kernel->name;
	return CUDA_SUCCESS;
}

CUresult cuFuncGetParamInfo(CUfunction handle, size_t index, size_t *offset, size_t *size)
{
	struct softgpu_function *function;
	CUresult result = find(handle, &function);

	if (result)
		return result;
	if (!offset || index >= function->kernel->param_count)
		return CUDA_ERROR_INVALID_VALUE;
	*offset = function->kernel->params[index].offset;
	if (size)
		*size = function->kernel->params[index].size;
	return CUDA_SUCCESS;
}

CUresult cuFuncIsLoaded(CUfunctionLoadingState *state, CUfunction handle)
{
	struct softgpu_function *function;
	CUresult result = find(handle, &function);

	if (result)
		return result;
	if (!state)
		return CUDA_ERROR_INVALID_VALUE;
	*state = CU_FUNCTION_LOADING_STATE_LOADED;
	return CUDA_SUCCESS;
}

CUresult cuFuncLoad(CUfunction handle)
{
	struct softgpu_function *function;

	return find(handle, &function);
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, CUfunction handle, int block_size,
							      size_t dynamic_shared, unsigned int flags)
{
	struct softgpu_function *function;
	CUresult result = find(handle, &function);
	size_t shared;
	int most;

	if (result)
		return result;
	if (!blocks || block_size <= 0 || flags & ~(unsigned int)CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE)
		return CUDA_ERROR_INVALID_VALUE;
	/* A Hopper multiprocessor: 2,048 threads, 32 blocks, 228 KiB of which each block also takes 1. */
	most = 2048 / ((block_size + 31) / 32 * 32);
	if (most > 32)
		most = 32;
	if (dynamic_shared > SOFTGPU_MAX_SHARED || block_size > (int)function->kernel->max_threads) {
		*blocks = 0;
		return CUDA_SUCCESS;
	}
	shared = function->kernel->shared_bytes + dynamic_shared + 1024;
	if ((size_t)most > (228 << 10) / shared)
		most = (int)((228 << 10) / shared);
	*blocks = most;
	return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction function, int block_size,
						     size_t dynamic_shared)
{
	return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, block_size, dynamic_shared, 0);
}
