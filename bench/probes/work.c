// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "bench/probes/work.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int failures;

/* Reports one step: name, result, milliseconds. */
static CUresult report(const char *name, CUresult rc, double t0)
{
	printf(" %s%s=%d(%.1fms)", rc ? "FAIL:" : "", name, rc, (now_us() - t0) * 1e-3);
	fflush(stdout);
	failures += rc != CUDA_SUCCESS;
	return rc;
}
#define STEP(name, call)                         \
	({                                       \
		double t0_ = now_us();           \
		report(name, (call), t0_);       \
	})

int work_failures(void)
{
	return failures;
}

static void *thread_body(void *arg)
{
	struct work *w = arg;
	CUevent e;

	STEP("thread.setctx", cuCtxSetCurrent(w->gpu->ctx));
	STEP("thread.launch", gpu_launch(w->gpu->nop, NULL, 1, NULL));
	STEP("thread.event", cuEventCreate(&e, CU_EVENT_BLOCKING_SYNC));
	STEP("thread.record", cuEventRecord(e, NULL));
	STEP("thread.eventsync-blocking", cuEventSynchronize(e));
	STEP("thread.eventdestroy", cuEventDestroy(e));
	return NULL;
}

static void memory(struct work *w, CUstream s)
{
	CUdeviceptr a = 0, b = 0;
	size_t free_b, total_b;
	char *page = malloc(64 * MIB), *heap;
	void *pin = NULL;

	memset(page, 1, 64 * MIB);
	STEP("alloc2M", cuMemAlloc(&a, 2 * MIB));
	STEP("alloc1G", cuMemAlloc(&b, GIB));
	STEP("htod4", cuMemcpyHtoD(a, page, 4));
	STEP("dtoh4", cuMemcpyDtoH(page, a, 4));
	STEP("htod64M", cuMemcpyHtoD(b, page, 64 * MIB));
	STEP("dtoh64M", cuMemcpyDtoH(page, b, 64 * MIB));
	STEP("dtod", cuMemcpyDtoD(a, b, 2 * MIB));
	STEP("memset", cuMemsetD8(a, 1, 2 * MIB));
	STEP("meminfo", cuMemGetInfo(&free_b, &total_b));
	heap = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, w->memfd, 0);
	if (heap == MAP_FAILED) {
		printf(" FAIL:mmap-memfd");
		failures++;
	} else {
		STEP("register64M", cuMemHostRegister(heap, 64 * MIB, CU_MEMHOSTREGISTER_DEVICEMAP));
		STEP("htod-registered", cuMemcpyHtoDAsync(b, heap, 64 * MIB, s));
		STEP("dtoh-registered", cuMemcpyDtoHAsync(heap, b, 64 * MIB, s));
		STEP("write-value", cuStreamWriteValue64(s, (CUdeviceptr)heap, 1, 0));
		STEP("streamsync", cuStreamSynchronize(s));
		STEP("unregister", cuMemHostUnregister(heap));
		munmap(heap, 64 * MIB);
	}
	STEP("hostalloc", cuMemHostAlloc(&pin, 4 * MIB, 0));
	STEP("hostfree", cuMemFreeHost(pin));
	STEP("free", cuMemFree(a));
	STEP("free1G", cuMemFree(b));
	STEP("allocasync", cuMemAllocAsync(&a, MIB, s));
	STEP("freeasync", cuMemFreeAsync(a, s));
	free(page);
}

void work_steady(struct work *w)
{
	CUstream s = NULL;
	CUevent e = NULL, e2 = NULL;
	pthread_t th;
	float ms;

	printf("  steady:");
	STEP("launch", gpu_launch(w->gpu->nop, NULL, 1, NULL));
	STEP("ctxsync", cuCtxSynchronize());
	STEP("streamcreate", cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	memory(w, s);
	STEP("eventcreate", cuEventCreate(&e, 0));
	STEP("eventcreate", cuEventCreate(&e2, 0));
	STEP("record", cuEventRecord(e, s));
	STEP("record", cuEventRecord(e2, s));
	STEP("eventsync", cuEventSynchronize(e2));
	STEP("elapsed", cuEventElapsedTime(&ms, e, e2));
	STEP("waitevent", cuStreamWaitEvent(NULL, e, 0));
	STEP("eventdestroy", cuEventDestroy(e));
	STEP("eventdestroy", cuEventDestroy(e2));
	if (pthread_create(&th, NULL, thread_body, w) == 0)
		pthread_join(th, NULL);
	else
		printf(" FAIL:thread"), failures++;
	STEP("streamdestroy", cuStreamDestroy(s));
	STEP("ctxsync", cuCtxSynchronize());
	printf("\n");
}

static void use_module(CUmodule m)
{
	CUfunction f = NULL;
	int regs;

	STEP("getfunction", cuModuleGetFunction(&f, m, "nop"));
	STEP("funcattr", cuFuncGetAttribute(&regs, CU_FUNC_ATTRIBUTE_NUM_REGS, f));
	STEP("firstlaunch", gpu_launch(f, NULL, 1, NULL));
	STEP("sync", cuCtxSynchronize());
	STEP("unload", cuModuleUnload(m));
}

void work_modules(struct work *w)
{
	CUmodule m;
	CUlibrary lib;
	CUkernel k;
	CUlinkState link;
	void *image;
	size_t size;

	printf("  modules:");
	if (w->cubin && !STEP("load-cubin", cuModuleLoadData(&m, w->cubin)))
		use_module(m);
	if (!STEP("load-ptx", cuModuleLoadData(&m, probe_ptx)))
		use_module(m);
	if (!STEP("library-ptx", cuLibraryLoadData(&lib, probe_ptx, NULL, NULL, 0, NULL, NULL, 0))) {
		STEP("getkernel", cuLibraryGetKernel(&k, lib, "spin"));
		STEP("libunload", cuLibraryUnload(lib));
	}
	if (!STEP("linkcreate", cuLinkCreate(0, NULL, NULL, &link))) {
		STEP("linkadd", cuLinkAddData(link, CU_JIT_INPUT_PTX, (void *)probe_ptx,
					      strlen(probe_ptx) + 1, "p", 0, NULL, NULL));
		STEP("linkcomplete", cuLinkComplete(link, &image, &size));
		STEP("linkdestroy", cuLinkDestroy(link));
	}
	printf("\n");
}

static void graph(struct work *w)
{
	CUstream s;
	CUgraph g = NULL;
	CUgraphExec x = NULL;

	if (STEP("stream", cuStreamCreate(&s, CU_STREAM_NON_BLOCKING)))
		return;
	STEP("begincapture", cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_RELAXED));
	STEP("captured", gpu_launch(w->gpu->nop, s, 1, NULL));
	STEP("endcapture", cuStreamEndCapture(s, &g));
	STEP("instantiate", cuGraphInstantiate(&x, g, 0));
	STEP("graphlaunch", cuGraphLaunch(x, s));
	STEP("sync", cuStreamSynchronize(s));
	STEP("graphexecdestroy", cuGraphExecDestroy(x));
	STEP("graphdestroy", cuGraphDestroy(g));
}

static void vmm(struct work *w)
{
	CUmemAllocationProp prop = { .type = CU_MEM_ALLOCATION_TYPE_PINNED,
				     .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
				     .location = { .type = CU_MEM_LOCATION_TYPE_DEVICE,
					       .id = w->gpu->dev } };
	CUmemAccessDesc access = { .location = prop.location,
				   .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE };
	CUmemGenericAllocationHandle h;
	CUdeviceptr va = 0;
	int fd = -1;

	if (STEP("memcreate", cuMemCreate(&h, 2 * MIB, &prop, 0)))
		return;
	STEP("reserve", cuMemAddressReserve(&va, 2 * MIB, 0, 0, 0));
	STEP("map", cuMemMap(va, 2 * MIB, 0, h, 0));
	STEP("access", cuMemSetAccess(va, 2 * MIB, &access, 1));
	STEP("export", cuMemExportToShareableHandle(&fd, h, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
	STEP("unmap", cuMemUnmap(va, 2 * MIB));
	STEP("memrelease", cuMemRelease(h));
	close(fd);
}

void work_rare(struct work *w)
{
	CUcontext c = NULL;
	CUdeviceptr p = 0;
	CUipcMemHandle ipc;
	CUmemoryPool pool = NULL;
	CUmemPoolProps props = { .allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
				 .location = { .type = CU_MEM_LOCATION_TYPE_DEVICE,
					       .id = w->gpu->dev } };

	printf("  rare:");
	graph(w);
	vmm(w);
	STEP("alloc", cuMemAlloc(&p, 2 * MIB));
	STEP("ipcget", cuIpcGetMemHandle(&ipc, p));
	STEP("free", cuMemFree(p));
	STEP("managed", cuMemAllocManaged(&p, MIB, CU_MEM_ATTACH_GLOBAL));
	STEP("managed-free", cuMemFree(p));
	if (!STEP("poolcreate", cuMemPoolCreate(&pool, &props)))
		STEP("pooldestroy", cuMemPoolDestroy(pool));
	STEP("limit-stack", cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 16384));
	STEP("limit-heap", cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, 64 * MIB));
	STEP("launch", gpu_launch(w->gpu->nop, NULL, 1, NULL));
	STEP("sync", cuCtxSynchronize());
	if (!STEP("ctxcreate", cuCtxCreate(&c, NULL, 0, w->gpu->dev))) {
		STEP("alloc", cuMemAlloc(&p, 2 * MIB));
		STEP("ctxsync", cuCtxSynchronize());
		STEP("ctxdestroy", cuCtxDestroy(c));
		cuCtxSetCurrent(w->gpu->ctx);
	}
	printf("\n");
}

void work_end(struct work *w)
{
	printf("  end:");
	STEP("unload", cuModuleUnload(w->gpu->mod));
	STEP("primary-release", cuDevicePrimaryCtxRelease(w->gpu->dev));
	printf("\n");
}
