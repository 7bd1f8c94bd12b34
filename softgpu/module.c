/* SPDX-License-Identifier: MIT */
/* Modules: an image is turned into PTX, compiled, and its variables get device memory. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "softgpu/image.h"
#include "softgpu/internal.h"

enum { CAPABILITY = 90 };

/* What nvcc's host code passes: magic, version, and a pointer to the fat binary. */
#define WRAPPER_MAGIC "\xb1\x43\x62\x46"

/* Where the caller of cuModuleLoadDataEx wants to read messages. */
struct jit_logs {
	struct ptx_log error, info;

	void **error_value, **info_value;
};

static CUresult read_options(unsigned int count, CUjit_option *options, void **values, struct jit_logs *ret_logs)
{
	struct jit_logs logs = { 0 };

	if (count && (!options || !values))
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned int i = 0; i < count; i++) {
		switch (options[i]) {
		case CU_JIT_ERROR_LOG_BUFFER:
			logs.error.text = values[i];
			break;
		case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
			logs.error.size = (unsigned int)(uintptr_t)values[i];
			logs.error_value = &values[i];
			break;
		case CU_JIT_INFO_LOG_BUFFER:
			logs.info.text = values[i];
			break;
		case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
			logs.info.size = (unsigned int)(uintptr_t)values[i];
			logs.info_value = &values[i];
			break;
		default:
			if ((unsigned int)options[i] >= CU_JIT_NUM_OPTIONS)
				return CUDA_ERROR_INVALID_VALUE;
			break;
		}
	}
	if (!logs.error.text || !logs.error.size)
		logs.error = (struct ptx_log){ 0 };
	if (!logs.info.text || !logs.info.size)
		logs.info = (struct ptx_log){ 0 };
	if (logs.info.text)
		logs.info.text[0] = 0;
	if (logs.error.text)
		logs.error.text[0] = 0;
	*ret_logs = logs;
	return CUDA_SUCCESS;
}

/* CUDA writes back how much of each buffer is filled. */
static void report_sizes(struct jit_logs *logs)
{
	if (logs->error_value)
		*logs->error_value = (void *)(uintptr_t)(logs->error.text ? strlen(logs->error.text) : 0);
	if (logs->info_value)
		*logs->info_value = (void *)(uintptr_t)(logs->info.text ? strlen(logs->info.text) : 0);
}

static CUresult compile(const void *image, struct jit_logs *logs, struct ptx_module **ret_ptx)
{
	struct softgpu_ptx_text text;
	int error;

	if (!strncmp(image, WRAPPER_MAGIC, 4))
		image = *(void *const *)((const char *)image + 8);
	error = softgpu_image_find_ptx(image, softgpu_image_size(image), CAPABILITY, &text);
	if (error && logs->error.text)
		snprintf(logs->error.text, logs->error.size,
			 error == -ENOENT ? "the image has no PTX that this device can run; machine code needs a GPU" :
					    "the image is no PTX, no fat binary and no machine code");
	if (error)
		return error == -ENOENT ? CUDA_ERROR_NO_BINARY_FOR_GPU :
		       error == -ENOMEM ? CUDA_ERROR_OUT_OF_MEMORY :
					  CUDA_ERROR_INVALID_IMAGE;
	error = ptx_compile(text.text, text.size, logs->error, ret_ptx);
	free(text.memory);
	return error == PTX_ERROR_MEMORY ? CUDA_ERROR_OUT_OF_MEMORY : error ? CUDA_ERROR_INVALID_PTX : CUDA_SUCCESS;
}

/* Makes the functions' handles and the variables' memory. */
static CUresult fill_module(struct softgpu_module *module)
{
	size_t count = ptx_kernel_count(module->ptx), globals = ptx_globals_size(module->ptx);
	CUresult result;

	module->functions = calloc(count + 1, sizeof(struct softgpu_function *));
	if (!module->functions)
		return CUDA_ERROR_OUT_OF_MEMORY;
	for (size_t i = 0; i < count; i++) {
		struct softgpu_function *function = softgpu_object_new(SOFTGPU_FUNCTION);

		if (!function)
			return CUDA_ERROR_OUT_OF_MEMORY;
		function->module = module;
		function->kernel = ptx_kernel_at(module->ptx, i);
		function->max_dynamic_shared = SOFTGPU_MAX_STATIC_SHARED - (int)function->kernel->shared_bytes;
		if (function->max_dynamic_shared < 0)
			function->max_dynamic_shared = 0;
		function->carveout = -1;
		module->functions[i] = function;
	}
	if (globals) {
		result = softgpu_memory_alloc(module->context, globals, SOFTGPU_MEM_GLOBALS, &module->globals);
		if (result)
			return result;
	}
	ptx_link(module->ptx, module->globals, (void *)(uintptr_t)module->globals);
	for (size_t i = 0; i < count; i++)
		atomic_store(&module->functions[i]->object.alive, true);
	return CUDA_SUCCESS;
}

void softgpu_module_free(struct softgpu_module *module)
{
	struct softgpu_context *context = module->context;

	atomic_store(&module->object.alive, false);
	pthread_mutex_lock(&context->lock);
	for (struct softgpu_module **at = &context->modules; *at; at = &(*at)->next) {
		if (*at == module) {
			*at = module->next;
			break;
		}
	}
	pthread_mutex_unlock(&context->lock);
	for (size_t i = 0; module->functions && module->functions[i]; i++)
		softgpu_object_free(SOFTGPU_FUNCTION, module->functions[i]);
	free(module->functions);
	if (module->globals)
		softgpu_memory_free(module->globals, SOFTGPU_MEM_GLOBALS);
	ptx_free(module->ptx);
	softgpu_object_free(SOFTGPU_MODULE, module);
}

CUresult cuModuleLoadDataEx(CUmodule *ret_module, const void *image, unsigned int count, CUjit_option *options,
			    void **values)
{
	struct softgpu_context *context;
	struct softgpu_module *module;
	struct jit_logs logs;
	CUresult result = softgpu_current(&context);

	if (!result && (!ret_module || !image))
		result = CUDA_ERROR_INVALID_VALUE;
	if (!result)
		result = read_options(count, options, values, &logs);
	if (result)
		return result;
	module = softgpu_object_new(SOFTGPU_MODULE);
	if (!module)
		return CUDA_ERROR_OUT_OF_MEMORY;
	module->context = context;
	result = compile(image, &logs, &module->ptx);
	report_sizes(&logs);
	if (!result)
		result = fill_module(module);
	if (result) {
		softgpu_module_free(module);
		return result;
	}
	pthread_mutex_lock(&context->lock);
	module->next = context->modules;
	context->modules = module;
	pthread_mutex_unlock(&context->lock);
	atomic_store(&module->object.alive, true);
	*ret_module = (CUmodule)module;
	return CUDA_SUCCESS;
}

CUresult cuModuleLoadData(CUmodule *ret_module, const void *image)
{
	return cuModuleLoadDataEx(ret_module, image, 0, NULL, NULL);
}

CUresult cuModuleLoadFatBinary(CUmodule *ret_module, const void *image)
{
	return cuModuleLoadDataEx(ret_module, image, 0, NULL, NULL);
}

/* Waits for everything of the context: kernels of the module may still run. */
CUresult cuModuleUnload(CUmodule handle)
{
	struct softgpu_context *context;
	CUresult result = softgpu_current(&context);
	struct softgpu_module *module;

	if (result)
		return result;
	module = softgpu_object_get(SOFTGPU_MODULE, handle);
	if (!module)
		return CUDA_ERROR_INVALID_HANDLE;
	result = softgpu_context_wait(module->context);
	softgpu_module_free(module);
	return result;
}

CUresult cuModuleGetFunction(CUfunction *ret_function, CUmodule handle, const char *name)
{
	struct softgpu_context *context;
	CUresult result = softgpu_current(&context);
	struct softgpu_module *module;

	if (result)
		return result;
	module = softgpu_object_get(SOFTGPU_MODULE, handle);
	if (!module)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!ret_function || !name)
		return CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; module->functions[i]; i++) {
		if (!strcmp(module->functions[i]->kernel->name, name)) {
			*ret_function = (CUfunction)module->functions[i];
			return CUDA_SUCCESS;
		}
	}
	return CUDA_ERROR_NOT_FOUND;
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr *address, size_t *size, CUmodule handle, const char *name)
{
	struct softgpu_context *context;
	CUresult result = softgpu_current(&context);
	struct softgpu_module *module;
	uint64_t offset, bytes;

	if (result)
		return result;
	module = softgpu_object_get(SOFTGPU_MODULE, handle);
	if (!module)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!name || (!address && !size))
		return CUDA_ERROR_INVALID_VALUE;
	if (!ptx_global_find(module->ptx, name, &offset, &bytes))
		return CUDA_ERROR_NOT_FOUND;
	if (address)
		*address = module->globals + offset;
	if (size)
		*size = bytes;
	return CUDA_SUCCESS;
}

CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode *mode)
{
	CUresult result = softgpu_ready();

	if (result)
		return result;
	if (!mode)
		return CUDA_ERROR_INVALID_VALUE;
	*mode = CU_MODULE_EAGER_LOADING;
	return CUDA_SUCCESS;
}
