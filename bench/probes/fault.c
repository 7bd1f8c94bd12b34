// SPDX-License-Identifier: MIT
/*
 * A kernel faults while a counter write stands behind it: is the counter ever written, which call
 * tells of the fault, and how soon?
 */
#define _GNU_SOURCE
#include "bench/probes/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum teller { T_STREAM_QUERY, T_EVENT_QUERY, T_STREAM_SYNC, T_MEMINFO, T_LAUNCH, T_OTHER_STREAM, T_N };
static const char *const teller_names[T_N] = { "cuStreamQuery",	     "cuEventQuery",
					       "cuStreamSynchronize", "cuMemGetInfo",
					       "cuLaunchKernel",      "cuStreamQuery, other stream" };

static CUresult ask(enum teller t, struct gpu *g, CUstream s, CUstream s2, CUevent e)
{
	size_t a, b;

	switch (t) {
	case T_STREAM_QUERY:
		return cuStreamQuery(s);
	case T_EVENT_QUERY:
		return cuEventQuery(e);
	case T_STREAM_SYNC:
		return cuStreamSynchronize(s);
	case T_MEMINFO:
		return cuMemGetInfo(&a, &b);
	case T_LAUNCH:
		usleep(100);
		return gpu_launch(g->nop, s, 1, NULL);
	default:
		return cuStreamQuery(s2);
	}
}

static void one(enum teller t, bool trap)
{
	struct gpu g;
	struct pair *p = shared_map(2 * MIB, NULL);
	CUdeviceptr c, c2;
	CUstream s, s2;
	CUevent e;
	CUresult rc = CUDA_SUCCESS;
	double t0, told = 0, longest = 0;
	long n = 0;

	alarm(20);
	gpu_open(&g);
	MUST(cuMemHostRegister(p, 2 * MIB, CU_MEMHOSTREGISTER_DEVICEMAP));
	MUST(cuMemHostGetDevicePointer(&c, (void *)&p->counter, 0));
	MUST(cuMemHostGetDevicePointer(&c2, (void *)p->data, 0));
	MUST(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	MUST(cuStreamCreate(&s2, CU_STREAM_NON_BLOCKING));
	MUST(cuEventCreate(&e, CU_EVENT_DISABLE_TIMING));
	MUST(gpu_launch(g.nop, s, 1, NULL));
	MUST(cuCtxSynchronize());
	t0 = now_us();
	MUST(gpu_launch(trap ? g.trap : g.bad, s, 1, NULL));
	cuStreamWriteValue64(s, c, 1, 0);
	cuEventRecord(e, s);
	cuStreamWriteValue64(s2, c2, 1, 0);
	while (now_us() < t0 + 2e6) {
		double q = now_us();

		rc = ask(t, &g, s, s2, e);
		n++;
		if (now_us() - q > longest)
			longest = now_us() - q;
		if (rc != CUDA_SUCCESS && rc != CUDA_ERROR_NOT_READY) {
			told = now_us() - t0;
			break;
		}
	}
	usleep(50000);
	printf("%s, asked by %-28s error %d after %8.0f us (%ld asked, longest %.0f us); "
	       "counter written: %s, other stream's: %s\n",
	       trap ? "trap        " : "bad address ", teller_names[t], rc, told, n, longest,
	       p->counter ? "YES" : "no", p->data[0] ? "yes" : "NO");
	fflush(stdout);
	_exit(0);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int trap = 0; trap < 2; trap++)
		for (enum teller t = 0; t < T_N; t++) {
			pid_t pid = fork();

			if (!pid)
				one(t, trap);
			waitpid(pid, NULL, 0);
		}
	return 0;
}
