/* SPDX-License-Identifier: MIT */
/* What a session may ask of its executor after lock-down, each step reported with its result. */
#ifndef BENCH_PROBES_WORK_H
#define BENCH_PROBES_WORK_H

#include "bench/probes/probe.h"

struct work {
	struct gpu *gpu;
	int memfd;	  /* 64 MiB, opened before lock-down */
	const char *cubin; /* image read before lock-down; NULL: none */
};

void work_steady(struct work *w);
void work_modules(struct work *w);
void work_rare(struct work *w);
void work_end(struct work *w);
int work_failures(void);

#endif
