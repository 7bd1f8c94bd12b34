// SPDX-License-Identifier: MIT
/*
 * The limit that the transport works against: two processes that do nothing but hand cache lines
 * to each other. A ping and its answer; or 64-byte cells into a ring with one word that says how
 * far the reader is.
 */
#include "bench/calls.h"

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CELLS = 16384 };

struct shared {
	_Alignas(64) uint64_t ping;
	_Alignas(64) uint64_t pong;
	_Alignas(64) uint64_t head;
	_Alignas(64) uint64_t cell[CELLS][8]; /* the last word is the lap */
};

struct bench_raw {
	struct shared *shared;
	pid_t child;
	uint64_t pings, tail, head;
};

static void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

static void answer(struct shared *s)
{
	uint64_t pings = 0, head = 0, sum = 0;

	for (;;) {
		uint64_t now = __atomic_load_n(&s->ping, __ATOMIC_ACQUIRE);
		bool any = false;

		if (now != pings) {
			pings = now;
			__atomic_store_n(&s->pong, now, __ATOMIC_RELEASE);
			any = true;
		}
		for (int i = 0; i < 64; i++) {
			const uint64_t *cell = s->cell[head % CELLS];

			if (__atomic_load_n(&cell[7], __ATOMIC_ACQUIRE) != head / CELLS + 1)
				break;
			sum += cell[0] + cell[3];
			head++;
			any = true;
		}
		if (any)
			__atomic_store_n(&s->head, head, __ATOMIC_RELEASE);
		else
			relax();
		__asm__ volatile("" : : "r"(sum));
	}
}

struct bench_raw *bench_raw_start(void)
{
	struct bench_raw *r = calloc(1, sizeof(*r));

	if (!r)
		abort();
	r->shared = mmap(NULL, sizeof(*r->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (r->shared == MAP_FAILED)
		abort();
	r->child = fork();
	if (r->child < 0)
		abort();
	if (!r->child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		answer(r->shared);
	}
	return r;
}

void bench_raw_stop(struct bench_raw *r)
{
	kill(r->child, SIGKILL);
	waitpid(r->child, NULL, 0);
	munmap(r->shared, sizeof(*r->shared));
	free(r);
}

void bench_raw_ping(struct bench_raw *r)
{
	__atomic_store_n(&r->shared->ping, ++r->pings, __ATOMIC_RELEASE);
	while (__atomic_load_n(&r->shared->pong, __ATOMIC_ACQUIRE) != r->pings)
		relax();
}

void bench_raw_post(struct bench_raw *r)
{
	uint64_t *cell = r->shared->cell[r->tail % CELLS];

	while (r->tail - r->head >= CELLS) {
		r->head = __atomic_load_n(&r->shared->head, __ATOMIC_ACQUIRE);
		if (r->tail - r->head >= CELLS)
			relax();
	}
	for (int i = 0; i < 7; i++)
		cell[i] = r->tail;
	__atomic_store_n(&cell[7], r->tail / CELLS + 1, __ATOMIC_RELEASE);
	r->tail++;
}
