// SPDX-License-Identifier: MIT
/*
 * How much a stream takes before the driver blocks its caller: a kernel waits for a host flag,
 * commands of one kind are put behind it on one or several streams, and a watcher sees when the
 * issuing thread has stood still for 200 ms. Arguments: only these, kind and number of streams each.
 */
#define _GNU_SOURCE
#include "bench/probes/probe.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_STREAMS = 128, MOST = 6000 };

enum kind {
	EMPTY,
	PARAMS_64,
	PARAMS_512,
	PARAMS_4000,
	H2D_4,
	H2D_256,
	H2D_4K,
	H2D_32K,
	H2D_64K,
	H2D_PINNED,
	D2H_PINNED,
	D2D,
	MEMSET,
	EVENT,
	EVENT_TIMED,
	EVENT_BLOCKING,
	EVENT_BOTH,
	WAIT_EVENT,
	WRITE64,
	MIXED,
	KINDS
};

static const char *const names[] = {
	"launch, no parameters", "launch, 64 bytes", "launch, 512 bytes", "launch, 4,000 bytes",
	"H2D pageable 4", "H2D pageable 256", "H2D pageable 4 KiB", "H2D pageable 32 KiB",
	"H2D pageable 64 KiB", "H2D pinned 4 KiB", "D2H pinned 4 KiB", "D2D 4 KiB", "memset 4 KiB",
	"event record", "event record, timed", "event record, blocking", "event record, timed, blocking",
	"event wait", "write value", "launch, memset, copy in turn",
};

static const char ptx[] =
	".version 7.0\n.target sm_70\n.address_size 64\n"
	".visible .entry flag(.param .u64 a){.reg .u64 %rd<2>;.reg .u32 %r<2>;.reg .pred p;\n"
	"ld.param.u64 %rd1,[a];\nL:ld.volatile.global.u32 %r1,[%rd1];setp.eq.u32 p,%r1,0;@p bra L;ret;}\n"
	".visible .entry empty(){ret;}\n"
	".visible .entry p64(.param .align 8 .b8 p[64]){ret;}\n"
	".visible .entry p512(.param .align 8 .b8 p[512]){ret;}\n"
	".visible .entry p4000(.param .align 8 .b8 p[4000]){ret;}\n";

static struct gpu gpu;
static CUfunction flag_kernel, empties[4];
static CUstream streams[MAX_STREAMS];
static CUevent event[4]; /* plain, timed, blocking, both */
static CUdeviceptr mem, flag_dev;
static volatile uint32_t *flag;
static char *pinned, *pageable;
static volatile int counted, finished;
static int n_streams;
static enum kind kind;

static void launch(CUfunction f, size_t bytes, CUstream s)
{
	static char params[4096];
	void *extra[] = { CU_LAUNCH_PARAM_BUFFER_POINTER, params, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
			  CU_LAUNCH_PARAM_END };

	MUST(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, s, NULL, bytes ? extra : NULL));
}

static void one(enum kind k, CUstream s, int i)
{
	static const size_t params[] = { 0, 64, 512, 4000 };
	static const size_t h2d[] = { 4, 256, 4096, 32768, 65536 };

	if (k <= PARAMS_4000)
		launch(empties[k], params[k], s);
	else if (k <= H2D_64K)
		MUST(cuMemcpyHtoDAsync(mem, pageable, h2d[k - H2D_4], s));
	else if (k == H2D_PINNED)
		MUST(cuMemcpyHtoDAsync(mem, pinned, 4096, s));
	else if (k == D2H_PINNED)
		MUST(cuMemcpyDtoHAsync(pinned, mem, 4096, s));
	else if (k == D2D)
		MUST(cuMemcpyDtoDAsync(mem, mem + 65536, 4096, s));
	else if (k == MEMSET)
		MUST(cuMemsetD32Async(mem, 1, 1024, s));
	else if (k >= EVENT && k <= EVENT_BOTH)
		MUST(cuEventRecord(event[k - EVENT], s));
	else if (k == WAIT_EVENT)
		MUST(cuStreamWaitEvent(s, event[0], 0));
	else if (k == WRITE64)
		MUST(cuStreamWriteValue64(s, mem, 1, 0));
	else
		one(i % 3 == 0 ? PARAMS_64 : i % 3 == 1 ? MEMSET : H2D_PINNED, s, i);
}

static void *issue(void *arg)
{
	MUST(cuCtxSetCurrent(gpu.ctx));
	for (int i = 0; i < MOST; i++) {
		one(kind, streams[i % n_streams], i / n_streams);
		counted = i + 1;
	}
	finished = 1;
	return arg;
}

static void measure(enum kind k, int n)
{
	pthread_t thread;
	int last = -1, still = 0;

	kind = k;
	n_streams = n;
	counted = finished = 0;
	*flag = 0;
	for (int s = 0; s < n; s++) {
		void *args[] = { &flag_dev };

		MUST(cuLaunchKernel(flag_kernel, 1, 1, 1, 1, 1, 1, 0, streams[s], args, NULL));
	}
	pthread_create(&thread, NULL, issue, NULL);
	while (!finished && still < 20) {
		usleep(10000);
		still = counted == last ? still + 1 : 0;
		last = counted;
	}
	printf("%-30s %3d stream%s  %s %d, %.0f a stream\n", names[k], n, n > 1 ? "s," : ", ",
	       finished ? "not blocked at" : "blocked after", counted, (double)counted / n);
	fflush(stdout);
	*flag = 1;
	pthread_join(thread, NULL);
	MUST(cuCtxSynchronize());
}

int main(int argc, char **argv)
{
	static const int several[] = { 2, 4, 8, 9, 16, 24, 32, 64, 128 };
	CUmodule module;

	gpu_open(&gpu);
	MUST(cuModuleLoadData(&module, ptx));
	MUST(cuModuleGetFunction(&flag_kernel, module, "flag"));
	MUST(cuModuleGetFunction(&empties[0], module, "empty"));
	MUST(cuModuleGetFunction(&empties[1], module, "p64"));
	MUST(cuModuleGetFunction(&empties[2], module, "p512"));
	MUST(cuModuleGetFunction(&empties[3], module, "p4000"));
	MUST(cuMemAlloc(&mem, 1 << 20));
	MUST(cuMemHostAlloc((void **)&pinned, 1 << 20, CU_MEMHOSTALLOC_DEVICEMAP));
	flag = (volatile uint32_t *)(pinned + 65536);
	MUST(cuMemHostGetDevicePointer(&flag_dev, (void *)flag, 0));
	pageable = calloc(1, 1 << 20);
	MUST(cuEventCreate(&event[0], CU_EVENT_DISABLE_TIMING));
	MUST(cuEventCreate(&event[1], CU_EVENT_DEFAULT));
	MUST(cuEventCreate(&event[2], CU_EVENT_DISABLE_TIMING | CU_EVENT_BLOCKING_SYNC));
	MUST(cuEventCreate(&event[3], CU_EVENT_BLOCKING_SYNC));
	for (int s = 0; s < MAX_STREAMS; s++)
		MUST(cuStreamCreate(&streams[s], CU_STREAM_NON_BLOCKING));
	*flag = 1;
	for (int k = 0; k < 4; k++)
		launch(empties[k], k ? (size_t[]){ 0, 64, 512, 4000 }[k] : 0, streams[0]);
	MUST(cuCtxSynchronize());
	if (argc > 2) {
		for (int i = 1; i + 1 < argc; i += 2)
			measure((enum kind)atoi(argv[i]), atoi(argv[i + 1]));
		return 0;
	}
	for (int k = 0; k < KINDS; k++)
		measure((enum kind)k, 1);
	for (size_t i = 0; i < sizeof(several) / sizeof(several[0]); i++)
		measure(EMPTY, several[i]);
	measure(PARAMS_4000, 4);
	measure(PARAMS_4000, 32);
	measure(H2D_32K, 4);
	measure(H2D_32K, 32);
	measure(H2D_PINNED, 32);
	measure(MIXED, 32);
	return 0;
}
