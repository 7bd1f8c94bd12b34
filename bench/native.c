// SPDX-License-Identifier: MIT
#include "bench/calls.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/cuda_abi.h"

/* A kernel with parameters of an ordinary size that does nothing. */
const char bench_ptx[] = ".version 7.0\n.target sm_70\n.address_size 64\n"
			 ".visible .entry nothing(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n)\n"
			 "{\n\tret;\n}\n";

struct bench_native {
	struct cuda_driver cu;
	CUdevice device;
	CUcontext context;
	CUfunction function;
	CUdeviceptr memory;
	void *pinned, *pageable;
};

#define MUST(call) \
	do { \
		CUresult must_ = (call); \
		if (must_ != CUDA_SUCCESS) { \
			fprintf(stderr, "%s: CUDA error %d\n", #call, (int)must_); \
			exit(1); \
		} \
	} while (0)

static bool load(struct cuda_driver *cu, const char **why)
{
	static char err[256];

	*why = err;
	if (access("/dev/nvidiactl", F_OK)) {
		snprintf(err, sizeof(err), "no NVIDIA GPU here (/dev/nvidiactl)");
		return false;
	}
	return !cuda_driver_load("libcuda.so.1", cu, err, sizeof(err));
}

struct bench_native *bench_native_open(const char **why)
{
	struct bench_native *n = calloc(1, sizeof(*n));
	CUmodule module;

	if (!n || !load(&n->cu, why)) {
		free(n);
		return NULL;
	}
	MUST(n->cu.cuInit(0));
	MUST(n->cu.cuDeviceGet(&n->device, 0));
	MUST(n->cu.cuCtxCreate(&n->context, 0, n->device));
	MUST(n->cu.cuModuleLoadData(&module, bench_ptx));
	MUST(n->cu.cuModuleGetFunction(&n->function, module, "nothing"));
	MUST(n->cu.cuMemAlloc(&n->memory, BENCH_COPY_BYTES));
	MUST(n->cu.cuMemHostAlloc(&n->pinned, BENCH_COPY_BYTES, 0));
	n->pageable = malloc(BENCH_COPY_BYTES);
	memset(n->pageable, 1, BENCH_COPY_BYTES);
	memset(n->pinned, 1, BENCH_COPY_BYTES);
	return n;
}

void bench_native_about(struct bench_native *n, struct bench_about *a)
{
	int version;

	MUST(n->cu.cuDeviceGetName(a->gpu, sizeof(a->gpu), n->device));
	MUST(n->cu.cuDriverGetVersion(&version));
	snprintf(a->driver, sizeof(a->driver), "CUDA %d.%d", version / 1000, version / 10 % 100);
}

void bench_native_launch(struct bench_native *n)
{
	uint64_t a = 1, b = 2, c = 3;
	uint32_t count = 4;
	void *params[] = { &a, &b, &c, &count };

	MUST(n->cu.cuLaunchKernel(n->function, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
}

void bench_native_sync(struct bench_native *n)
{
	MUST(n->cu.cuCtxSynchronize());
}

void bench_native_h2d(struct bench_native *n, bool pinned, size_t bytes)
{
	MUST(n->cu.cuMemcpyHtoD(n->memory, pinned ? n->pinned : n->pageable, bytes));
}

void bench_native_d2h(struct bench_native *n, bool pinned, size_t bytes)
{
	MUST(n->cu.cuMemcpyDtoH(pinned ? n->pinned : n->pageable, n->memory, bytes));
}

double bench_native_init(void)
{
	struct cuda_driver cu;
	CUdevice device;
	CUcontext context;
	const char *why;
	double start;

	if (!load(&cu, &why))
		return -1;
	start = bench_now();
	MUST(cu.cuInit(0));
	MUST(cu.cuDeviceGet(&device, 0));
	MUST(cu.cuCtxCreate(&context, 0, device));
	return (bench_now() - start) / 1000;
}
