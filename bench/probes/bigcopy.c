// SPDX-License-Identifier: MIT
/*
 * 256 MiB copies from and to a memfd registered in one piece or in chunks: does one copy across
 * chunk borders work, and at what speed; what registering and unregistering cost.
 */
#define _GNU_SOURCE
#include "bench/probes/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TOTAL (256 * MIB)
#define REPS 4

static struct gpu gpu;
static CUdeviceptr dev;
static CUstream stream;

static double rate(size_t bytes, double us)
{
	return bytes / us * 1e-3;
}

/* One direction, in pieces of the given size; prints GB/s or the first error. */
static void copy(const char *what, char *host, size_t piece, bool to_dev)
{
	double best = 0;
	CUresult rc = CUDA_SUCCESS;

	for (int r = 0; r < REPS && !rc; r++) {
		double t = now_us(), issued;

		for (size_t at = 0; at < TOTAL && !rc; at += piece)
			rc = to_dev ? cuMemcpyHtoDAsync(dev + at, host + at, piece, stream) :
				      cuMemcpyDtoHAsync(host + at, dev + at, piece, stream);
		issued = now_us() - t;
		if (!rc)
			rc = cuStreamSynchronize(stream);
		t = now_us() - t;
		if (rate(TOTAL, t) > best)
			best = rate(TOTAL, t);
		if (r == REPS - 1 || rc)
			printf("  %-22s %s pieces of %3zu MiB: rc %d, best %.1f GB/s, issue %.0f of %.0f us\n",
			       what, to_dev ? "H2D" : "D2H", piece / MIB, rc, best, issued, t);
	}
	fflush(stdout);
}

static void chunked(char *host, size_t chunk)
{
	double t = now_us();
	unsigned int flags = CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP;
	char label[64];
	int n = 0;

	for (size_t at = 0; at < TOTAL; at += chunk, n++)
		MUST(cuMemHostRegister(host + at, chunk, flags));
	t = now_us() - t;
	printf("registered in %d chunks of %zu MiB: %.2f ms together, %.1f us each\n", n,
	       chunk / MIB, t * 1e-3, t / n);
	snprintf(label, sizeof(label), "chunks %zu MiB", chunk / MIB);
	for (int to_dev = 1; to_dev >= 0; to_dev--) {
		copy(label, host, TOTAL, to_dev);
		copy(label, host, 32 * MIB, to_dev);
		copy(label, host, 8 * MIB, to_dev);
		copy(label, host, 2 * MIB, to_dev);
	}
	if (n > 1) {
		CUresult rc = cuMemcpyHtoD(dev, host + chunk - 2, 4);

		printf("  4 bytes across a border: rc %d\n", rc);
	}
	t = now_us();
	for (size_t at = 0; at < TOTAL; at += chunk)
		MUST(cuMemHostUnregister(host + at));
	t = now_us() - t;
	printf("  unregistered: %.2f ms together, %.1f us each\n", t * 1e-3, t / n);
}

static void half_registered(char *host)
{
	CUresult rc;
	double t;

	MUST(cuMemHostRegister(host, TOTAL / 2, CU_MEMHOSTREGISTER_DEVICEMAP));
	t = now_us();
	rc = cuMemcpyHtoD(dev, host, TOTAL);
	printf("one copy, first half registered only: rc %d, %.1f GB/s\n", rc,
	       rate(TOTAL, now_us() - t));
	printf("registering a range that is registered already: rc %d\n",
	       cuMemHostRegister(host, TOTAL / 2, CU_MEMHOSTREGISTER_DEVICEMAP));
	printf("registering a range half of which is registered: rc %d\n",
	       cuMemHostRegister(host, TOTAL, CU_MEMHOSTREGISTER_DEVICEMAP));
	MUST(cuMemHostUnregister(host));
}

static void native(void)
{
	void *pin, *page = mmap(NULL, TOTAL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(page, 1, TOTAL);
	MUST(cuMemHostAlloc(&pin, TOTAL, 0));
	memset(pin, 1, TOTAL);
	for (int to_dev = 1; to_dev >= 0; to_dev--) {
		copy("native pinned", pin, TOTAL, to_dev);
		copy("native pageable", page, TOTAL, to_dev);
		for (int r = 0; r < 3; r++) {
			double t = now_us();

			MUST(to_dev ? cuMemcpyHtoD(dev, page, TOTAL) : cuMemcpyDtoH(page, dev, TOTAL));
			printf("  native pageable, synchronous %s: %.1f GB/s\n",
			       to_dev ? "H2D" : "D2H", rate(TOTAL, now_us() - t));
		}
	}
	MUST(cuMemFreeHost(pin));
	munmap(page, TOTAL);
}

int main(void)
{
	char *host = shared_map(TOTAL, NULL);

	gpu_open(&gpu);
	MUST(cuMemAlloc(&dev, TOTAL));
	MUST(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	native();
	chunked(host, 256 * MIB);
	chunked(host, 32 * MIB);
	chunked(host, 8 * MIB);
	chunked(host, 2 * MIB);
	half_registered(host);
	_exit(0);
}
