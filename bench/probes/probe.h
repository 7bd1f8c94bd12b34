/* SPDX-License-Identifier: MIT */
/*
 * Small tools that the probes share: time, statistics, the test kernels, and a pair of processes
 * that talk through one shared memory file. The probes settle questions of the design on a real
 * GPU (docs/decisions/0001 to 0003); run.sh builds and runs them. They are not part of the product.
 */
#ifndef BENCH_PROBES_PROBE_H
#define BENCH_PROBES_PROBE_H

#include <cuda.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

/* Ends the probe with a message when a call that everything else needs fails. */
#define MUST(call) probe_must((call), #call, __LINE__)
void probe_must(CUresult rc, const char *what, int line);

double now_us(void);
static inline void cpu_relax(void)
{
	__builtin_ia32_pause();
}

/* Sorts us[] and prints median, 90%, 99% and maximum. Returns the median. */
double stats_print(const char *label, double *us, int n);

/* Device 0, its primary context made current, and the test kernels loaded. */
struct gpu {
	CUdevice dev;
	CUcontext ctx;
	CUmodule mod;
	CUfunction nop, p8, p4k, spin, setw, copyw, bad, trap, rd, stamp, fill;
	double init_ms, ctx_ms, module_ms;
};
extern const char probe_ptx[];
extern const char *probe_image; /* what gpu_open loads; the PTX unless changed before */
void gpu_open(struct gpu *g);
CUresult gpu_launch(CUfunction f, CUstream s, unsigned int threads, void **params);

/* A shared memory file, mapped; fd stays open. Pages are touched. */
void *shared_map(size_t bytes, int *ret_fd);

/* Requests from a client process to an executor process: one spin ring, 8 bytes an entry. */
#define PAIR_SLOTS 1024
struct pair {
	_Alignas(128) volatile uint32_t posted;
	_Alignas(128) volatile uint64_t slot[PAIR_SLOTS];
	_Alignas(128) volatile uint32_t reply;	 /* written by the executor's CPU */
	_Alignas(128) volatile uint64_t counter; /* written by the GPU */
	_Alignas(128) volatile uint32_t ack;
	_Alignas(128) volatile uint64_t data[512];
};

static inline void pair_post(struct pair *p, uint32_t op, uint32_t arg)
{
	uint32_t at = p->posted;

	p->slot[at % PAIR_SLOTS] = (uint64_t)arg << 32 | op;
	__atomic_store_n(&p->posted, at + 1, __ATOMIC_RELEASE);
}

static inline void pair_take(struct pair *p, uint32_t *head, uint32_t *ret_op, uint32_t *ret_arg)
{
	uint64_t e;

	while (__atomic_load_n(&p->posted, __ATOMIC_ACQUIRE) == *head)
		cpu_relax();
	e = p->slot[(*head)++ % PAIR_SLOTS];
	*ret_op = (uint32_t)e;
	*ret_arg = e >> 32;
}

#endif
