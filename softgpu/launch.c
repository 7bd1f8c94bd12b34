/* SPDX-License-Identifier: MIT */
/* Kernel launches: all that can be refused is refused here, before the stream sees it. */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "softgpu/internal.h"

static CUresult check_shape(const struct softgpu_function *function, const struct softgpu_launch *launch)
{
	const struct ptx_kernel *kernel = function->kernel;
	uint64_t threads = 1;
	bool fixed = kernel->required_block[0] != 0;

	for (int i = 0; i < 3; i++) {
		if (!launch->grid[i] || !launch->block[i])
			return CUDA_ERROR_INVALID_VALUE;
		if (launch->grid[i] > (i ? 65535u : 0x7fffffffu) ||
		    launch->block[i] > (i == 2 ? 64u : SOFTGPU_MAX_BLOCK_THREADS))
			return CUDA_ERROR_INVALID_VALUE;
		if (fixed && launch->block[i] != kernel->required_block[i])
			return CUDA_ERROR_INVALID_VALUE;
		threads *= launch->block[i];
	}
	if (threads > SOFTGPU_MAX_BLOCK_THREADS)
		return CUDA_ERROR_INVALID_VALUE;
	if (threads > kernel->max_threads)
		return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
	if (launch->dynamic_shared > (uint32_t)function->max_dynamic_shared)
		return CUDA_ERROR_INVALID_VALUE;
	return CUDA_SUCCESS;
}

static CUresult take_buffer(struct softgpu_launch *launch, void **extra, unsigned char *params)
{
	const void *buffer = NULL;
	size_t size = 0;

	for (int i = 0; extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
		if (i > 8)
			return CUDA_ERROR_INVALID_VALUE;
		if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER)
			buffer = extra[i + 1];
		else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE)
			size = *(size_t *)extra[i + 1];
		else
			return CUDA_ERROR_INVALID_VALUE;
	}
	/* The end may be padding that the caller left out. */
	if (size > ((size_t)launch->param_bytes + 15) / 16 * 16 || size + 15 < launch->param_bytes ||
	    (size && !buffer))
		return CUDA_ERROR_INVALID_VALUE;
	memset(params, 0, launch->param_bytes);
	if (size)
		memcpy(params, buffer, size < launch->param_bytes ? size : launch->param_bytes);
	return CUDA_SUCCESS;
}

/* Copies the parameters into the launch, or into memory of its own that the worker frees. */
static CUresult take_params(struct softgpu_launch *launch, void **params, void **extra)
{
	const struct ptx_kernel *kernel = launch->kernel;
	unsigned char *to = launch->params;
	CUresult result = CUDA_SUCCESS;

	launch->param_bytes = kernel->param_bytes;
	if (params && extra)
		return CUDA_ERROR_INVALID_VALUE;
	if (!kernel->param_count)
		return CUDA_SUCCESS;
	if (!params && !extra)
		return CUDA_ERROR_INVALID_VALUE;
	if (kernel->param_bytes > sizeof(launch->params)) {
		to = launch->big_params = malloc(kernel->param_bytes);
		if (!to)
			return CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (extra)
		result = take_buffer(launch, extra, to);
	for (uint32_t i = 0; params && i < kernel->param_count; i++) {
		if (!params[i]) {
			result = CUDA_ERROR_INVALID_VALUE;
			break;
		}
		memcpy(to + kernel->params[i].offset, params[i], kernel->params[i].size);
	}
	if (result)
		free(launch->big_params);
	return result;
}

/* The faults that were asked for. */
static CUresult inject(struct softgpu_context *context, struct softgpu_launch *launch)
{
	const struct softgpu_config *config = &softgpu.config;
	uint64_t count = atomic_fetch_add(&softgpu.launches, 1) + 1;

	if (count == config->fault_launch ||
	    (*config->fault_kernel && !fnmatch(config->fault_kernel, launch->kernel->name, 0)))
		launch->fault = SOFTGPU_INJECT_FAULT;
	if (count == config->endless_launch ||
	    (*config->endless_kernel && !fnmatch(config->endless_kernel, launch->kernel->name, 0)))
		launch->fault = SOFTGPU_INJECT_ENDLESS;
	if (count == config->ecc_launch)
		softgpu_context_fail(context, CUDA_ERROR_ECC_UNCORRECTABLE);
	if (count == config->lost_launch) {
		atomic_store(&softgpu.devices[context->device].lost, true);
		softgpu_context_fail(context, CUDA_ERROR_DEVICE_UNAVAILABLE);
	}
	return softgpu_context_error(context);
}

CUresult cuLaunchKernel(CUfunction handle, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
			unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared,
			CUstream stream_handle, void **params, void **extra)
{
	struct softgpu_command command = {
		.kind = SOFTGPU_LAUNCH,
		.launch = {
			.grid = { grid_x, grid_y, grid_z },
			.block = { block_x, block_y, block_z },
			.dynamic_shared = shared,
		},
	};
	struct softgpu_function *function;
	struct softgpu_context *context;
	struct softgpu_stream *stream;
	CUresult result = softgpu_stream_lookup(stream_handle, &context, &stream);

	if (result)
		return result;
	function = softgpu_object_get(SOFTGPU_FUNCTION, handle);
	if (!function || function->module->context != context)
		return CUDA_ERROR_INVALID_HANDLE;
	command.launch.kernel = function->kernel;
	result = check_shape(function, &command.launch);
	if (!result)
		result = take_params(&command.launch, params, extra);
	if (result)
		return result;
	result = inject(context, &command.launch);
	if (!result)
		result = softgpu_stream_submit(stream, &command, NULL);
	if (result)
		free(command.launch.big_params);
	return result;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **params, void **extra)
{
	if (!config || (config->numAttrs && !config->attrs))
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned int i = 0; i < config->numAttrs; i++) {
		const CUlaunchAttribute *attribute = &config->attrs[i];

		/* Hints are heeded by ignoring them; what changes the meaning of a kernel is refused. */
		switch (attribute->id) {
		case CU_LAUNCH_ATTRIBUTE_IGNORE:
		case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
		case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
		case CU_LAUNCH_ATTRIBUTE_PRIORITY:
		case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
		case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
			break;
		default:
			return CUDA_ERROR_NOT_SUPPORTED;
		}
	}
	return cuLaunchKernel(function, config->gridDimX, config->gridDimY, config->gridDimZ, config->blockDimX,
			      config->blockDimY, config->blockDimZ, config->sharedMemBytes, config->hStream, params,
			      extra);
}
