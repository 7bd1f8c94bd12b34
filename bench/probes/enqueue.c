// SPDX-License-Identifier: MIT
/*
 * What single calls cost the thread that issues them: launches with parameters given in two ways,
 * counter writes, queries, small copies; the sustained launch rate with counter writes between;
 * and what another thread in the driver does to a thread that launches.
 */
#define _GNU_SOURCE
#include "bench/probes/probe.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 256
#define BLOCKS 64
#define CALLS (BLOCK * BLOCKS)

static struct gpu gpu;
static struct pair *pair;
static CUdeviceptr counter_dev, mem_dev;
static CUstream stream, other;
static CUevent event;
static char *pinned, *pageable;
static uint64_t args8[8];
static unsigned char args4k[4000];

enum call {
	NOP,
	P8_PARAMS,
	P8_EXTRA,
	P4K_PARAMS,
	P4K_EXTRA,
	WV32,
	WV64,
	WV64_DEV,
	RECORD,
	QUERY,
	EQUERY,
	MEMSET4,
	H2D_4_PAGE,
	H2D_4_PIN,
	H2D_4K_PAGE,
	H2D_64K_PAGE,
	D2H_4_PIN,
	N_CALLS
};
static const char *const call_names[N_CALLS] = {
	"cuLaunchKernel, no parameters",
	"cuLaunchKernel, 8 x u64, kernelParams",
	"cuLaunchKernel, 8 x u64, extra buffer",
	"cuLaunchKernel, 4000 bytes, kernelParams",
	"cuLaunchKernel, 4000 bytes, extra buffer",
	"cuStreamWriteValue32, host counter",
	"cuStreamWriteValue64, host counter",
	"cuStreamWriteValue64, device word",
	"cuEventRecord",
	"cuStreamQuery (idle stream)",
	"cuEventQuery (recorded, done)",
	"cuMemsetD32Async, 1 word",
	"cuMemcpyHtoDAsync 4 B pageable",
	"cuMemcpyHtoDAsync 4 B pinned",
	"cuMemcpyHtoDAsync 4 KiB pageable",
	"cuMemcpyHtoDAsync 64 KiB pageable",
	"cuMemcpyDtoHAsync 4 B pinned",
};

static CUresult launch_extra(CUfunction f, void *buf, size_t size)
{
	void *extra[] = { CU_LAUNCH_PARAM_BUFFER_POINTER, buf, CU_LAUNCH_PARAM_BUFFER_SIZE, &size,
			  CU_LAUNCH_PARAM_END };

	return cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, stream, NULL, extra);
}

static CUresult call(enum call c, uint32_t i)
{
	void *p8[8], *p4k[] = { args4k };

	for (int k = 0; k < 8; k++)
		p8[k] = &args8[k];
	switch (c) {
	case NOP:
		return gpu_launch(gpu.nop, stream, 1, NULL);
	case P8_PARAMS:
		return gpu_launch(gpu.p8, stream, 1, p8);
	case P8_EXTRA:
		return launch_extra(gpu.p8, args8, sizeof(args8));
	case P4K_PARAMS:
		return gpu_launch(gpu.p4k, stream, 1, p4k);
	case P4K_EXTRA:
		return launch_extra(gpu.p4k, args4k, sizeof(args4k));
	case WV32:
		return cuStreamWriteValue32(stream, counter_dev, i, 0);
	case WV64:
		return cuStreamWriteValue64(stream, counter_dev, i, 0);
	case WV64_DEV:
		return cuStreamWriteValue64(stream, mem_dev, i, 0);
	case RECORD:
		return cuEventRecord(event, stream);
	case QUERY:
		return cuStreamQuery(stream);
	case EQUERY:
		return cuEventQuery(event);
	case MEMSET4:
		return cuMemsetD32Async(counter_dev, i, 1, stream);
	case H2D_4_PAGE:
		return cuMemcpyHtoDAsync(mem_dev, pageable, 4, stream);
	case H2D_4_PIN:
		return cuMemcpyHtoDAsync(mem_dev, pinned, 4, stream);
	case H2D_4K_PAGE:
		return cuMemcpyHtoDAsync(mem_dev, pageable, 4096, stream);
	case H2D_64K_PAGE:
		return cuMemcpyHtoDAsync(mem_dev, pageable, 65536, stream);
	default:
		return cuMemcpyDtoHAsync(pinned, mem_dev, 4, stream);
	}
}

static void one_call(void)
{
	double *us = malloc(CALLS * sizeof(*us));

	for (int c = 0; c < N_CALLS; c++) {
		double t0, t1, t2;

		for (int b = 0; b < BLOCKS; b++) {
			MUST(cuStreamSynchronize(stream));
			for (int i = 0; i < BLOCK; i++) {
				double t = now_us();

				MUST(call(c, i));
				us[b * BLOCK + i] = now_us() - t;
			}
		}
		stats_print(call_names[c], us, CALLS);
		MUST(cuStreamSynchronize(stream));
		t0 = now_us();
		for (int i = 0; i < CALLS; i++)
			MUST(call(c, i));
		t1 = now_us();
		MUST(cuStreamSynchronize(stream));
		t2 = now_us();
		printf("%-52s sustained: issue %.3f, done %.3f us each\n", "", (t1 - t0) / CALLS,
		       (t2 - t0) / CALLS);
	}
	free(us);
}

static void sustained(void)
{
	static const int every[] = { 0, 64, 8, 1 };

	for (int rep = 0; rep < 2; rep++)
		for (int k = 0; k < 4; k++) {
			double t0;
			int n = 40000;

			MUST(cuStreamSynchronize(stream));
			t0 = now_us();
			for (int i = 1; i <= n; i++) {
				MUST(gpu_launch(gpu.nop, stream, 1, NULL));
				if (every[k] && i % every[k] == 0)
					MUST(cuStreamWriteValue64(stream, counter_dev, i, 0));
			}
			MUST(cuStreamSynchronize(stream));
			printf("sustained launches, WriteValue64 after every %2d (0 = none): %.3f us each\n",
			       every[k], (now_us() - t0) / n);
		}
	fflush(stdout);
}

enum company { ALONE, SYNC, ESYNC, EBLOCK, SQUERY, ALLOC, MODULE, FIRST_LAUNCH, CTXSYNC, N_COMPANY };
static const char *const company_names[N_COMPANY] = {
	"launch, alone",
	"launch, other thread in cuStreamSynchronize",
	"launch, other thread in cuEventSynchronize",
	"launch, other in cuEventSynchronize (blocking)",
	"launch, other thread polls cuStreamQuery",
	"launch, other thread cuMemAlloc/cuMemFree",
	"launch, other thread cuModuleLoadData/Unload",
	"launch, other thread loads and launches anew",
	"launch, other thread in cuCtxSynchronize",
};
static volatile int company_stop;
static volatile long company_rounds;

static void company_round(enum company c, CUevent blocking)
{
	uint64_t ns = 5000000;
	void *params[] = { &ns };
	CUdeviceptr p;
	CUmodule m;
	CUfunction f;

	if (c == ALLOC) {
		MUST(cuMemAlloc(&p, 4 * MIB));
		MUST(cuMemFree(p));
		return;
	}
	if (c == MODULE || c == FIRST_LAUNCH) {
		MUST(cuModuleLoadData(&m, probe_ptx));
		if (c == FIRST_LAUNCH) {
			MUST(cuModuleGetFunction(&f, m, "nop"));
			MUST(gpu_launch(f, other, 1, NULL));
		}
		MUST(cuModuleUnload(m));
		return;
	}
	MUST(gpu_launch(gpu.spin, other, 1, params));
	if (c == ESYNC || c == EBLOCK) {
		CUevent e = c == ESYNC ? event : blocking;

		MUST(cuEventRecord(e, other));
		MUST(cuEventSynchronize(e));
	} else if (c == SQUERY) {
		while (cuStreamQuery(other) == CUDA_ERROR_NOT_READY)
			cpu_relax();
	} else if (c == CTXSYNC) {
		MUST(cuCtxSynchronize());
	} else {
		MUST(cuStreamSynchronize(other));
	}
}

static void *company(void *arg)
{
	enum company c = *(enum company *)arg;
	CUevent blocking;

	MUST(cuCtxSetCurrent(gpu.ctx));
	MUST(cuEventCreate(&blocking, CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING));
	while (!company_stop) {
		company_round(c, blocking);
		company_rounds++;
	}
	return NULL;
}

/* Blocks of launches for at most two seconds. Returns how many launches. */
static int launch_blocks(double *us)
{
	double t0 = now_us();
	int n = 0;

	pair->counter = 0;
	for (int b = 0; b < BLOCKS && now_us() < t0 + 2e6; b++) {
		for (int i = 0; i < BLOCK && now_us() < t0 + 2e6; i++) {
			double t = now_us();

			MUST(gpu_launch(gpu.nop, stream, 1, NULL));
			us[n++] = now_us() - t;
		}
		MUST(cuStreamWriteValue64(stream, counter_dev, b + 1, 0));
		while (pair->counter != (uint64_t)b + 1)
			cpu_relax();
	}
	return n;
}

static void two_threads(void)
{
	double *us = malloc(CALLS * sizeof(*us));
	int n;

	for (enum company c = ALONE; c < N_COMPANY; c++) {
		pthread_t th;
		double t0;

		company_stop = 0;
		company_rounds = 0;
		if (c != ALONE)
			pthread_create(&th, NULL, company, &c);
		usleep(20000);
		t0 = now_us();
		n = launch_blocks(us);
		t0 = now_us() - t0;
		company_stop = 1;
		if (c != ALONE)
			pthread_join(th, NULL);
		stats_print(company_names[c], us, n);
		printf("%-52s other thread did %ld rounds, %.3f us a launch, %d launches\n", "",
		       company_rounds, t0 / n, n);
	}
	free(us);
}

int main(void)
{
	pair = shared_map(2 * MIB, NULL);
	gpu_open(&gpu);
	MUST(cuMemHostRegister(pair, 2 * MIB, CU_MEMHOSTREGISTER_DEVICEMAP));
	MUST(cuMemHostGetDevicePointer(&counter_dev, (void *)&pair->counter, 0));
	MUST(cuMemAlloc(&mem_dev, MIB));
	MUST(cuMemHostAlloc((void **)&pinned, MIB, 0));
	pageable = malloc(MIB);
	memset(pageable, 1, MIB);
	MUST(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	MUST(cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
	MUST(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
	MUST(cuEventRecord(event, stream));
	printf("cuStreamWriteValue32 with NO_MEMORY_BARRIER: rc %d\n",
	       cuStreamWriteValue32(stream, counter_dev, 1,
				    CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER));
	one_call();
	sustained();
	MUST(cuStreamSynchronize(stream));
	two_threads();
	_exit(0);
}
