/* SPDX-License-Identifier: MIT */
/* bench/calls: what single calls cost, native and through the local transport, in one run. */
#ifndef BENCH_CALLS_H
#define BENCH_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { BENCH_SAMPLES_MAX = 101, BENCH_ROWS_MAX = 16 };

/* One row: samples of the native (or raw) way and of ours, taken in turn. */
struct bench_row {
	const char *name;
	const char *unit;
	bool more_is_better;
	const char *native_is; /* what stands in the native column, for a person */
	unsigned int natives, ours;
	double native[BENCH_SAMPLES_MAX];
	double our[BENCH_SAMPLES_MAX];
};

struct bench_about {
	char machine[256];
	char gpu[128];
	char driver[64];
	char date[32];
	char commit[64];
	char binary[80]; /* sha256 of the benchmark with the library in it */
};

/* ---- report.c ---- */

double bench_median(const double *sample, unsigned int n);
void bench_about_fill(struct bench_about *a, const char *commit);
void bench_print(const struct bench_about *a, const struct bench_row *row, unsigned int rows);
/* 0 or -errno */
int bench_write_json(const char *path, const struct bench_about *a, const struct bench_row *row,
		     unsigned int rows);

/* ---- raw.c: what two processes with shared memory can do at best ---- */

struct bench_raw;
struct bench_raw *bench_raw_start(void);
void bench_raw_stop(struct bench_raw *r);
/* One round trip of a cache line. */
void bench_raw_ping(struct bench_raw *r);
/* One 64-byte cell into a ring that the other process reads; waits while it is full. */
void bench_raw_post(struct bench_raw *r);

/* ---- native.c: the CUDA driver itself ---- */

struct bench_native;
/* NULL: there is no NVIDIA GPU, *why says more. */
struct bench_native *bench_native_open(const char **why);
void bench_native_about(struct bench_native *n, struct bench_about *a);
void bench_native_launch(struct bench_native *n);
void bench_native_sync(struct bench_native *n);
/* host: pinned, pageable */
void bench_native_h2d(struct bench_native *n, bool pinned, size_t bytes);
void bench_native_d2h(struct bench_native *n, bool pinned, size_t bytes);
/* cuInit and a context, milliseconds; for a fresh process. Negative: failed. */
double bench_native_init(void);

extern const char bench_ptx[];
enum { BENCH_COPY_BYTES = 256 << 20 };

double bench_now(void); /* microseconds */

#endif
