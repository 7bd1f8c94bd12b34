/* SPDX-License-Identifier: MIT */
/* What the software GPU's tests share: the loaded library, a context, modules from tests/kernels, memory. */
#ifndef SOFTGPU_TESTLIB_H
#define SOFTGPU_TESTLIB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "api/cuda_abi.h"

extern struct cuda_driver cu;

/* Fails the test with the error's name when a call does not succeed. */
#define OK(call) softgpu_test_result((call), CUDA_SUCCESS, #call, __FILE__, __LINE__)
#define IS(expected, call) softgpu_test_result((call), (expected), #call, __FILE__, __LINE__)
void softgpu_test_result(CUresult result, CUresult expected, const char *call, const char *file, int line);

/* cmocka group set-up and tear-down: load the library, cuInit, primary context current. */
int softgpu_test_setup(void **state);
int softgpu_test_teardown(void **state);

/* A file of tests/kernels, terminated; the caller frees. */
char *softgpu_test_read(const char *name, size_t *ret_size);
CUmodule softgpu_test_module(const char *name);
CUfunction softgpu_test_function(CUmodule module, const char *name);

/* Device memory with a copy of @data (or zeros). */
CUdeviceptr softgpu_test_upload(const void *data, size_t size);
void softgpu_test_download(void *data, CUdeviceptr from, size_t size);

/* Launches on the legacy stream in one dimension and waits. */
CUresult softgpu_test_run(CUfunction function, unsigned int blocks, unsigned int threads, unsigned int shared,
			  void **params);
#define RUN(function, blocks, threads, shared, ...)                                                                    \
	softgpu_test_run(function, blocks, threads, shared, (void *[]){ __VA_ARGS__ })

/* A sequence that is the same in each run. */
uint32_t softgpu_test_random(uint32_t *seed);
float softgpu_test_random_float(uint32_t *seed);

#endif /* SOFTGPU_TESTLIB_H */
