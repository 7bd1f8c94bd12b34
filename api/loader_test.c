/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "api/cuda_abi.h"

static void test_missing_library(void **state)
{
	struct cuda_driver driver;
	char err[256] = "";

	memset(&driver, 0x5a, sizeof(driver));
	assert_int_equal(cuda_driver_load("/nonexistent/libcuda.so.1", &driver, err, sizeof(err)), -ENOENT);
	assert_non_null(strstr(err, "/nonexistent/libcuda.so.1"));
	for (size_t i = 0; i < sizeof(driver); i++)
		assert_int_equal(((unsigned char *)&driver)[i], 0x5a);
}

static void test_other_library(void **state)
{
	struct cuda_driver driver;
	char err[256] = "", small[8];

	assert_int_equal(cuda_driver_load("libc.so.6", &driver, err, sizeof(err)), -ENOSYS);
	assert_non_null(strstr(err, "has no cuInit"));
	assert_int_equal(cuda_driver_load("libc.so.6", &driver, small, sizeof(small)), -ENOSYS);
	assert_int_equal(strlen(small), sizeof(small) - 1);
}

static void test_error_names(void **state)
{
	assert_string_equal(cuda_error_name(CUDA_SUCCESS), "CUDA_SUCCESS");
	assert_string_equal(cuda_error_name(CUDA_ERROR_ILLEGAL_ADDRESS), "CUDA_ERROR_ILLEGAL_ADDRESS");
	assert_string_equal(cuda_error_name((CUresult)12345), "CUDA_ERROR_?");
}

static void test_unload_nothing(void **state)
{
	struct cuda_driver driver = { 0 };

	cuda_driver_unload(NULL);
	cuda_driver_unload(&driver);
	assert_null(driver.library);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_missing_library),
		cmocka_unit_test(test_other_library),
		cmocka_unit_test(test_error_names),
		cmocka_unit_test(test_unload_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
