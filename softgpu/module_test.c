/* SPDX-License-Identifier: MIT */
/* Loading modules: logs, images that are none, and images that lie about their sizes. */
#include <errno.h>

#include "softgpu/image.h"
#include "softgpu/testlib.h"

static CUresult load(const void *image, char *log, size_t size)
{
	CUjit_option options[] = { CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, CU_JIT_INFO_LOG_BUFFER,
				   CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, CU_JIT_OPTIMIZATION_LEVEL };
	char info[32] = "x";
	void *values[] = { log, (void *)size, info, (void *)sizeof(info), (void *)4 };
	CUmodule module;
	CUresult result = cu.cuModuleLoadDataEx(&module, image, 5, options, values);

	assert_int_equal((size_t)values[1], strlen(log));
	assert_string_equal(info, "");
	if (!result)
		OK(cu.cuModuleUnload(module));
	return result;
}

static void test_log(void **state)
{
	char log[128] = "old", small[8];
	const char *const text = ".version 8.0\n.target sm_90\n.address_size 64\n.entry k()\n{\n\twgmma.fence.sync.aligned;\n}\n";

	IS(CUDA_ERROR_INVALID_PTX, load(text, log, sizeof(log)));
	assert_string_equal(log, "line 6: the instruction \"wgmma.fence.sync.aligned\" is not supported");
	IS(CUDA_ERROR_INVALID_PTX, load(text, small, sizeof(small)));
	assert_string_equal(small, "line 6:");
	IS(CUDA_ERROR_INVALID_PTX, load(".version 11.0\n.target x\n", log, sizeof(log)));
}

static void test_images(void **state)
{
	char log[128];
	char *cubin = softgpu_test_read("vector-sm90.cubin", NULL);
	CUmodule module;
	CUfunction function;

	IS(CUDA_ERROR_NO_BINARY_FOR_GPU, load(cubin, log, sizeof(log)));
	assert_non_null(strstr(log, "needs a GPU"));
	IS(CUDA_ERROR_INVALID_IMAGE, load("this is no image at all, of any kind", log, sizeof(log)));
	IS(CUDA_ERROR_INVALID_IMAGE, load("", log, sizeof(log)));
	IS(CUDA_ERROR_INVALID_VALUE, cu.cuModuleLoadData(&module, NULL));
	module = softgpu_test_module("vector.ptx");
	IS(CUDA_ERROR_NOT_FOUND, cu.cuModuleGetFunction(&function, module, "no_such"));
	function = softgpu_test_function(module, "saxpy");
	OK(cu.cuModuleUnload(module));
	IS(CUDA_ERROR_INVALID_HANDLE, cu.cuModuleUnload(module));
	IS(CUDA_ERROR_INVALID_HANDLE, cu.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	free(cubin);
}

/* The wrapper that nvcc's host code has: magic, version, pointer. */
static void test_wrapper(void **state)
{
	char *fat = softgpu_test_read("vector-lz4.fatbin", NULL), log[128];
	struct {
		uint32_t magic, version;
		const void *data;
		void *unused;
	} wrapper = { 0x466243b1, 1, fat, NULL };

	OK(load(&wrapper, log, sizeof(log)));
	free(fat);
}

/* Each byte of the headers changed, and each length cut: no reading outside, which a sanitizer would tell. */
static void test_broken_fat_binaries(void **state)
{
	static const char *const names[] = { "vector-lz4.fatbin", "vector-zstd.fatbin", "vector-plain.fatbin" };

	for (int i = 0; i < 3; i++) {
		struct softgpu_ptx_text text = { 0 };
		size_t size;
		char *image = softgpu_test_read(names[i], &size);

		assert_int_equal(softgpu_image_size(image), size);
		for (size_t cut = 0; cut < size; cut++) {
			char *part = malloc(cut + 1);

			memcpy(part, image, cut);
			assert_int_not_equal(softgpu_image_find_ptx(part, cut, 90, &text), 0);
			free(part);
		}
		for (size_t at = 0; at < 0x60; at++) {
			for (int bit = 0; bit < 8; bit++) {
				image[at] = (char)(image[at] ^ 1 << bit);
				if (!softgpu_image_find_ptx(image, size, 90, &text))
					free(text.memory);
				image[at] = (char)(image[at] ^ 1 << bit);
			}
		}
		assert_int_equal(softgpu_image_find_ptx(image, size, 80, &text), -ENOENT);
		assert_int_equal(softgpu_image_find_ptx(image, size, 90, &text), 0);
		assert_true(text.size > 1000);
		free(text.memory);
		free(image);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_log),
		cmocka_unit_test(test_images),
		cmocka_unit_test(test_wrapper),
		cmocka_unit_test(test_broken_fat_binaries),
	};

	return cmocka_run_group_tests(tests, softgpu_test_setup, softgpu_test_teardown);
}
