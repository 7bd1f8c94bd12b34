// SPDX-License-Identifier: MIT
/*
 * Address arenas: ranges reserved before cuInit, memory files mapped there later and registered
 * with the GPU in chunks. Usage: arena none | arena BASE-HEX STEP-HEX SIZE-HEX COUNT
 */
#define _GNU_SOURCE
#include "bench/probes/probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

static struct gpu gpu;
static const unsigned int reg_flags = CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP;

static void print_maps(const char *when)
{
	char line[512];
	FILE *f = fopen("/proc/self/maps", "r");

	fprintf(stderr, "== maps %s\n", when);
	while (f && fgets(line, sizeof(line), f))
		fputs(line, stderr);
	if (f)
		fclose(f);
}

static int reserve(char *base, size_t step, size_t size, int count)
{
	int got = 0;

	for (int i = 0; i < count; i++) {
		void *want = base + i * step;
		void *p = mmap(want, size, PROT_NONE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

		if (p == want)
			got++;
		else if (p != MAP_FAILED)
			munmap(p, size);
		else
			printf("  reserve %p: errno %d\n", want, errno);
	}
	return got;
}

static void back_to_reserved(char *at, size_t size)
{
	if (mmap(at, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
		 0) == MAP_FAILED)
		printf("  putting the reservation back: errno %d\n", errno);
}

/* Kernel adds 5 to the first KiB of the chunk by the host's number; is it seen by the host? */
static bool kernel_sees(char *at)
{
	CUdeviceptr a = (CUdeviceptr)at;
	uint32_t five = 5, *w = (uint32_t *)at, before = w[100];
	void *params[] = { &a, &five };

	return gpu_launch(gpu.fill, NULL, 256, params) == CUDA_SUCCESS &&
	       cuCtxSynchronize() == CUDA_SUCCESS && w[100] == before + 5;
}

static void chunks(char *base, int fd, size_t total, size_t chunk)
{
	int n = total / chunk, same = 0, seen = 0;
	double t, u;
	CUresult rc = CUDA_SUCCESS;

	if (mmap(base, total, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
		printf("  map memfd at %p: errno %d\n", base, errno);
		return;
	}
	t = now_us();
	for (int i = 0; i < n && !rc; i++)
		rc = cuMemHostRegister(base + i * chunk, chunk, reg_flags);
	t = now_us() - t;
	for (int i = 0; i < n && !rc; i++) {
		CUdeviceptr d = 0;

		cuMemHostGetDevicePointer(&d, base + i * chunk + 4096, 0);
		same += d == (CUdeviceptr)(base + i * chunk + 4096);
		if (i < 4)
			seen += kernel_sees(base + i * chunk);
	}
	u = now_us();
	for (int i = 0; i < n && !rc; i++)
		rc = cuMemHostUnregister(base + i * chunk);
	u = now_us() - u;
	printf("  %p chunk %3zu MiB: rc %d register %.0f us each (%.2f ms/GiB), unregister %.0f us, "
	       "same address %d of %d, kernels ok %d of %d\n",
	       base, chunk / MIB, rc, t / n, t * 1e-3 * GIB / total, u / n, same, n, seen,
	       n < 4 ? n : 4);
	back_to_reserved(base, total);
}

/* Grows and shrinks at one address, as a heap does. */
static void again(char *base, int fd)
{
	CUresult rc = CUDA_SUCCESS;
	int i;

	for (i = 0; i < 50 && !rc; i++) {
		mmap(base, 2 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
		     (i % 64) * 2 * MIB);
		rc = cuMemHostRegister(base, 2 * MIB, reg_flags);
		if (!rc && !kernel_sees(base))
			rc = CUDA_ERROR_UNKNOWN;
		if (!rc)
			rc = cuMemHostUnregister(base);
		back_to_reserved(base, 2 * MIB);
	}
	printf("  map, register, use, unregister, unmap at one address: %d times, rc %d\n", i, rc);
}

static void odd_cases(char *base, int fd)
{
	CUdeviceptr d = 0;
	CUresult rc;

	printf("  registering reserved memory without access: rc %d\n",
	       cuMemHostRegister(base, 2 * MIB, reg_flags));
	mmap(base, 4 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	printf("  registering past the end of a mapping: rc %d\n",
	       cuMemHostRegister(base + 2 * MIB, 4 * MIB, reg_flags));
	printf("  registering 4 KiB: rc %d\n", cuMemHostRegister(base, 4096, reg_flags));
	cuMemHostUnregister(base);
	mmap(base, 4 * MIB, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
	printf("  registering a read-only mapping: rc %d, with READ_ONLY flag: rc %d\n",
	       cuMemHostRegister(base, 2 * MIB, reg_flags),
	       cuMemHostRegister(base + 2 * MIB, 2 * MIB,
				 reg_flags | CU_MEMHOSTREGISTER_READ_ONLY));
	cuMemHostUnregister(base);
	cuMemHostUnregister(base + 2 * MIB);
	back_to_reserved(base, 4 * MIB);
	rc = cuMemAddressReserve(&d, 64 * MIB, 2 * MIB, (CUdeviceptr)base, 0);
	printf("  cuMemAddressReserve at the arena while we hold it: rc %d, wanted %p got %llx\n", rc,
	       base, d);
	if (!rc)
		cuMemAddressFree(d, 64 * MIB);
	munmap(base, 64 * MIB);
	rc = cuMemAddressReserve(&d, 64 * MIB, 2 * MIB, (CUdeviceptr)base, 0);
	printf("  cuMemAddressReserve at the arena after munmap: rc %d, wanted %p got %llx\n", rc,
	       base, d);
	if (!rc)
		cuMemAddressFree(d, 64 * MIB);
}

static void where_things_lie(void)
{
	CUdeviceptr a = 0, b = 0, pool = 0, man = 0, vmm = 0;
	void *host = NULL;

	MUST(cuMemAlloc(&a, 4096));
	MUST(cuMemAlloc(&b, GIB));
	MUST(cuMemAllocAsync(&pool, MIB, NULL));
	MUST(cuMemAllocManaged(&man, MIB, CU_MEM_ATTACH_GLOBAL));
	MUST(cuMemHostAlloc(&host, 4 * MIB, 0));
	MUST(cuMemAddressReserve(&vmm, 64 * MIB, 0, 0, 0));
	printf("  cuMemAlloc %llx, 1 GiB %llx, pool %llx, managed %llx, pinned %p, "
	       "address reserve %llx\n",
	       a, b, pool, man, host, vmm);
}

int main(int argc, char **argv)
{
	char *base = NULL;
	size_t step = 0, size = 0;
	int count = 0, fd, got;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 4) {
		base = (char *)strtoull(argv[1], NULL, 16);
		step = strtoull(argv[2], NULL, 16);
		size = strtoull(argv[3], NULL, 16);
		count = atoi(argv[4]);
	}
	print_maps("before");
	got = reserve(base, step, size, count);
	gpu_open(&gpu);
	printf("reserved %d of %d x %zu GiB from %p step %zx: cuInit %.0f ms, context %.0f ms\n", got,
	       count, size / GIB, base, step, gpu.init_ms, gpu.ctx_ms);
	print_maps("with context");
	where_things_lie();
	if (!got)
		_exit(0);
	munmap(shared_map(256 * MIB, &fd), 256 * MIB);
	for (int i = 0; i < count; i += count > 1 ? count - 1 : 1) {
		chunks(base + i * step, fd, 256 * MIB, 2 * MIB);
		chunks(base + i * step, fd, 256 * MIB, 32 * MIB);
		chunks(base + i * step, fd, 256 * MIB, 256 * MIB);
	}
	again(base, fd);
	odd_cases(base, fd);
	printf("  context at the end: %d\n", cuCtxSynchronize());
	_exit(0);
}
