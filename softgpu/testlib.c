/* SPDX-License-Identifier: MIT */
#include "softgpu/testlib.h"

struct cuda_driver cu;
static CUcontext context;

void softgpu_test_result(CUresult result, CUresult expected, const char *call, const char *file, int line)
{
	if (result == expected)
		return;
	print_error("%s gave %s, not %s\n", call, cuda_error_name(result), cuda_error_name(expected));
	_fail(file, line);
}

int softgpu_test_setup(void **state)
{
	const char *path = getenv("SOFTGPU_LIBRARY");
	char err[256];

	if (cuda_driver_load(path ? path : "libcuda.so.1", &cu, err, sizeof(err))) {
		print_error("%s\n", err);
		return -1;
	}
	OK(cu.cuInit(0));
	OK(cu.cuDevicePrimaryCtxRetain(&context, 0));
	OK(cu.cuCtxSetCurrent(context));
	return 0;
}

int softgpu_test_teardown(void **state)
{
	if (!cu.library)
		return 0;
	OK(cu.cuDevicePrimaryCtxRelease(0));
	cuda_driver_unload(&cu);
	return 0;
}

char *softgpu_test_read(const char *name, size_t *ret_size)
{
	const char *folder = getenv("SOFTGPU_KERNELS");
	char path[512], *text;
	FILE *file;
	long size;

	snprintf(path, sizeof(path), "%s/%s", folder ? folder : "tests/kernels", name);
	file = fopen(path, "rb");
	if (!file)
		fail_msg("cannot open %s", path);
	fseek(file, 0, SEEK_END);
	size = ftell(file);
	rewind(file);
	text = calloc(1, (size_t)size + 64);
	assert_non_null(text);
	assert_int_equal(fread(text, 1, (size_t)size, file), size);
	fclose(file);
	if (ret_size)
		*ret_size = (size_t)size;
	return text;
}

CUmodule softgpu_test_module(const char *name)
{
	static char log[1024];
	CUjit_option options[] = { CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES };
	void *values[] = { log, (void *)sizeof(log) };
	char *image = softgpu_test_read(name, NULL);
	CUmodule module;
	CUresult result = cu.cuModuleLoadDataEx(&module, image, 2, options, values);

	if (result)
		print_error("%s: %s\n", name, log);
	OK(result);
	free(image);
	return module;
}

CUfunction softgpu_test_function(CUmodule module, const char *name)
{
	CUfunction function;

	OK(cu.cuModuleGetFunction(&function, module, name));
	return function;
}

CUdeviceptr softgpu_test_upload(const void *data, size_t size)
{
	CUdeviceptr address;

	OK(cu.cuMemAlloc(&address, size));
	if (data)
		OK(cu.cuMemcpyHtoD(address, data, size));
	else
		OK(cu.cuMemsetD8(address, 0, size));
	/* A fill returns before it is done, and non-blocking streams would not wait for it. */
	OK(cu.cuStreamSynchronize(NULL));
	return address;
}

void softgpu_test_download(void *data, CUdeviceptr from, size_t size)
{
	OK(cu.cuMemcpyDtoH(data, from, size));
}

CUresult softgpu_test_run(CUfunction function, unsigned int blocks, unsigned int threads, unsigned int shared,
			  void **params)
{
	CUresult result = cu.cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, shared, NULL, params, NULL);

	return result ? result : cu.cuStreamSynchronize(NULL);
}

uint32_t softgpu_test_random(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

float softgpu_test_random_float(uint32_t *seed)
{
	return (float)(softgpu_test_random(seed) >> 8) / (1 << 23) - 1.0f;
}
