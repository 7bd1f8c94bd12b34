// SPDX-License-Identifier: MIT
/*
 * Copies from and to pageable memory through a registered memfd: one or two threads copy between
 * the program's memory and staging slots, the issuing thread queues the slots' copies with a
 * counter write behind each. Which slot size, copy instructions and threads reach the native rate?
 */
#define _GNU_SOURCE
#include "bench/probes/probe.h"

#include <immintrin.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TOTAL (256 * MIB)
#define STAGE (64 * MIB)
#define REPS 3
#define MAX_CHUNKS (TOTAL / (256 * 1024))

static void copy_libc(char *d, const char *s, size_t n)
{
	memcpy(d, s, n);
}

static void copy_movsb(char *d, const char *s, size_t n)
{
	__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
}

__attribute__((target("avx2"))) static void copy_nt32(char *d, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i += 128) {
		__m256i a = _mm256_loadu_si256((const __m256i *)(s + i));
		__m256i b = _mm256_loadu_si256((const __m256i *)(s + i + 32));
		__m256i c = _mm256_loadu_si256((const __m256i *)(s + i + 64));
		__m256i e = _mm256_loadu_si256((const __m256i *)(s + i + 96));

		_mm_prefetch(s + i + 1024, _MM_HINT_NTA);
		_mm_prefetch(s + i + 1088, _MM_HINT_NTA);
		_mm256_stream_si256((__m256i *)(d + i), a);
		_mm256_stream_si256((__m256i *)(d + i + 32), b);
		_mm256_stream_si256((__m256i *)(d + i + 64), c);
		_mm256_stream_si256((__m256i *)(d + i + 96), e);
	}
	_mm_sfence();
}

/* Four pages in turn keep more of the memory's channels and prefetchers busy than one. */
__attribute__((target("avx512f"))) static void copy_nt64x4(char *d, const char *s, size_t n)
{
	for (size_t p = 0; p + 16384 <= n; p += 16384)
		for (size_t i = 0; i < 4096; i += 128)
			for (size_t q = 0; q < 16384; q += 4096) {
				__m512i a = _mm512_loadu_si512(s + p + q + i);
				__m512i b = _mm512_loadu_si512(s + p + q + i + 64);

				_mm512_stream_si512((void *)(d + p + q + i), a);
				_mm512_stream_si512((void *)(d + p + q + i + 64), b);
			}
	_mm_sfence();
}

__attribute__((target("avx512f"))) static void copy_nt64(char *d, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i += 128) {
		__m512i a = _mm512_loadu_si512(s + i);
		__m512i b = _mm512_loadu_si512(s + i + 64);

		_mm_prefetch(s + i + 1024, _MM_HINT_T0);
		_mm_prefetch(s + i + 1088, _MM_HINT_T0);
		_mm512_stream_si512((void *)(d + i), a);
		_mm512_stream_si512((void *)(d + i + 64), b);
	}
	_mm_sfence();
}

static const struct kind {
	const char *name;
	void (*fn)(char *, const char *, size_t);
} kinds[] = { { "memcpy", copy_libc },
	      { "movsb", copy_movsb },
	      { "nt avx2", copy_nt32 },
	      { "nt avx512", copy_nt64 },
	      { "nt avx512 x4", copy_nt64x4 } };
#define N_KINDS 5

static struct gpu gpu;
static CUdeviceptr dev, counter_dev;
static CUstream stream;
static char *user, *stage;
static struct pair *pair;

static struct run {
	size_t chunk;
	uint32_t slots, chunks, threads;
	bool to_dev;
	void (*fn)(char *, const char *, size_t);
	/* set by the copying thread: filled (to device) or emptied (from device) */
	volatile uint8_t copied[MAX_CHUNKS];
} run;

static void *copier(void *arg)
{
	for (uint32_t i = (uintptr_t)arg; i < run.chunks; i += run.threads) {
		char *slot = stage + (i % run.slots) * run.chunk, *mem = user + i * run.chunk;

		if (run.to_dev) {
			while (pair->counter + run.slots < (uint64_t)i + 1)
				cpu_relax();
			run.fn(slot, mem, run.chunk);
		} else {
			while (pair->counter < (uint64_t)i + 1)
				cpu_relax();
			run.fn(mem, slot, run.chunk);
		}
		__atomic_store_n(&run.copied[i], 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static double one(void)
{
	pthread_t th[2];
	double t;

	memset((void *)run.copied, 0, sizeof(run.copied));
	pair->counter = 0;
	t = now_us();
	for (uintptr_t k = 0; k < run.threads; k++)
		pthread_create(&th[k], NULL, copier, (void *)k);
	for (uint32_t i = 0; i < run.chunks; i++) {
		char *slot = stage + (i % run.slots) * run.chunk;
		CUdeviceptr d = dev + i * run.chunk;

		if (run.to_dev) {
			while (!__atomic_load_n(&run.copied[i], __ATOMIC_ACQUIRE))
				cpu_relax();
			MUST(cuMemcpyHtoDAsync(d, slot, run.chunk, stream));
		} else {
			while (i >= run.slots &&
			       !__atomic_load_n(&run.copied[i - run.slots], __ATOMIC_ACQUIRE))
				cpu_relax();
			MUST(cuMemcpyDtoHAsync(slot, d, run.chunk, stream));
		}
		MUST(cuStreamWriteValue64(stream, counter_dev, i + 1, 0));
	}
	for (uint32_t k = 0; k < run.threads; k++)
		pthread_join(th[k], NULL);
	while (pair->counter < run.chunks)
		cpu_relax();
	return TOTAL / (now_us() - t) * 1e-3;
}

/* The user's memory holds its own offsets; a copy out of and into the device must keep them. */
static int check(void)
{
	int bad = 0;

	for (size_t at = 0; at < TOTAL; at += 4096)
		bad += *(size_t *)(user + at) != at || *(size_t *)(user + at + 2048) != at + 2048;
	return bad;
}

static void raw_rates(void)
{
	for (int k = 0; k < N_KINDS; k++) {
		double in = 0, out = 0;

		for (int r = 0; r < 2; r++) {
			double t = now_us();

			for (size_t at = 0; at < TOTAL; at += STAGE)
				kinds[k].fn(stage, user + at, STAGE);
			in = TOTAL / (now_us() - t) * 1e-3;
			kinds[k].fn(stage, user, STAGE);
			t = now_us();
			for (int q = 0; q < 4; q++)
				kinds[k].fn(user, stage, STAGE);
			out = TOTAL / (now_us() - t) * 1e-3;
		}
		printf("one thread alone, %-13s: to staging %.1f GB/s, from staging %.1f GB/s\n",
		       kinds[k].name, in, out);
	}
	for (size_t at = 0; at < TOTAL; at += 8)
		*(size_t *)(user + at) = at;
}

static void sweep(void)
{
	static const size_t kib[] = { 256, 512, 1024, 2048, 4096, 8192 };

	for (int dir = 1; dir >= 0; dir--)
		for (uint32_t threads = 1; threads <= 2; threads++)
			for (int k = 0; k < N_KINDS; k++) {
				printf("%s %u thr %-13s", dir ? "H2D" : "D2H", threads, kinds[k].name);
				for (int c = 0; c < 6; c++) {
					double best = 0;

					run.chunk = kib[c] * 1024;
					run.slots = kib[c] > 4096 ? 4 : 8;
					run.chunks = TOTAL / run.chunk;
					run.threads = threads;
					run.to_dev = dir;
					run.fn = kinds[k].fn;
					for (int r = 0; r < REPS; r++) {
						double g = one();

						best = g > best ? g : best;
					}
					printf(" | %4zuK %5.1f", kib[c], best);
					if (!dir && check())
						printf(" WRONG DATA");
					fflush(stdout);
				}
				printf(" GB/s\n");
			}
}

static void native(void)
{
	for (int r = 0; r < 3; r++) {
		double t = now_us(), m;

		MUST(cuMemcpyHtoD(dev, user, TOTAL));
		m = now_us();
		MUST(cuMemcpyDtoH(user, dev, TOTAL));
		printf("native pageable: H2D %.1f D2H %.1f GB/s\n", TOTAL / (m - t) * 1e-3,
		       TOTAL / (now_us() - m) * 1e-3);
	}
}

int main(void)
{
	if (!__builtin_cpu_supports("avx512f")) {
		printf("no AVX-512 here\n");
		return 1;
	}
	pair = shared_map(2 * MIB, NULL);
	stage = shared_map(STAGE, NULL);
	user = mmap(NULL, TOTAL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t at = 0; at < TOTAL; at += 8)
		*(size_t *)(user + at) = at;
	gpu_open(&gpu);
	MUST(cuMemAlloc(&dev, TOTAL));
	MUST(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	MUST(cuMemHostRegister(pair, 2 * MIB, CU_MEMHOSTREGISTER_DEVICEMAP));
	MUST(cuMemHostGetDevicePointer(&counter_dev, (void *)&pair->counter, 0));
	for (size_t at = 0; at < STAGE; at += 32 * MIB)
		MUST(cuMemHostRegister(stage + at, 32 * MIB, CU_MEMHOSTREGISTER_DEVICEMAP));
	native();
	raw_rates();
	sweep();
	native();
	_exit(0);
}
