// SPDX-License-Identifier: MIT
/* Copies of four bytes: native, and the ways an executor can do one for a client process. */
#define _GNU_SOURCE
#include "bench/probes/probe.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 20000
#define WARM 500

enum op { OP_MODE = 100, OP_QUIT };
enum way {
	H_ASYNC_STAGED, /* from registered shared memory, then the counter */
	H_SYNC_PRIVATE, /* cuMemcpyHtoD from the executor's own memory, then the reply word */
	H_SYNC_STAGED,
	H_ASYNC_PRIVATE, /* cuMemcpyHtoDAsync from own memory: returns when the data are staged */
	H_WRITE_VALUE,	 /* the data as a stream write, then the counter */
	H_POSTED,	 /* data in the entry, nobody waits */
	D_ASYNC,	 /* into registered shared memory, then the counter */
	D_SYNC_PRIVATE,	 /* cuMemcpyDtoH into own memory, copied, then the reply word */
	D_SYNC_STAGED,	 /* cuMemcpyDtoH into registered shared memory, reply word */
	D_KERNEL,	 /* one kernel writes data and counter */
	D_ASYNC_QUERY,	 /* async copy, polled stream, reply word */
	N_WAYS
};
static const char *const way_names[N_WAYS] = {
	"H2D 4 B async from shared + WriteValue64",
	"H2D 4 B cuMemcpyHtoD from private + reply",
	"H2D 4 B cuMemcpyHtoD from shared + reply",
	"H2D 4 B HtoDAsync from private + reply",
	"H2D 4 B WriteValue32 to device + WriteValue64",
	"H2D 4 B posted (data in entry, no wait)",
	"D2H 4 B async into shared + WriteValue64",
	"D2H 4 B cuMemcpyDtoH into private + reply",
	"D2H 4 B cuMemcpyDtoH into shared + reply",
	"D2H 4 B one kernel: data + counter",
	"D2H 4 B async + polled cuStreamQuery + reply",
};

static struct gpu gpu;
static struct pair *pair;
static CUdeviceptr counter_dev, data_dev, mem;

static int client(void)
{
	double *us = malloc(ROUNDS * sizeof(*us));

	for (int w = 0; w < N_WAYS; w++) {
		bool by_gpu = w == H_ASYNC_STAGED || w == H_WRITE_VALUE || w == D_ASYNC ||
			      w == D_KERNEL;

		pair_post(pair, OP_MODE, w);
		while (pair->ack != (uint32_t)w + 1)
			cpu_relax();
		for (uint32_t i = 1; i <= ROUNDS + WARM; i++) {
			double t = now_us();

			pair->data[1] = i;
			pair_post(pair, w, i);
			if (by_gpu)
				while (pair->counter != i)
					cpu_relax();
			else if (w != H_POSTED || i % 512 == 0)
				while (pair->reply != i)
					cpu_relax();
			if (i > WARM)
				us[i - WARM - 1] = now_us() - t;
		}
		stats_print(way_names[w], us, ROUNDS);
	}
	pair_post(pair, OP_QUIT, 0);
	return 0;
}

static void serve(enum way w, uint32_t i)
{
	volatile uint32_t *staged = (volatile uint32_t *)&pair->data[1];
	uint32_t own = i;
	void *params[] = { &mem, &data_dev, &counter_dev, &i };

	switch (w) {
	case H_ASYNC_STAGED:
		MUST(cuMemcpyHtoDAsync(mem, (void *)staged, 4, NULL));
		MUST(cuStreamWriteValue64(NULL, counter_dev, i, 0));
		return;
	case H_SYNC_PRIVATE:
		MUST(cuMemcpyHtoD(mem, &own, 4));
		break;
	case H_SYNC_STAGED:
		MUST(cuMemcpyHtoD(mem, (void *)staged, 4));
		break;
	case H_ASYNC_PRIVATE:
	case H_POSTED:
		MUST(cuMemcpyHtoDAsync(mem, &own, 4, NULL));
		break;
	case H_WRITE_VALUE:
		MUST(cuStreamWriteValue32(NULL, mem, own, 0));
		MUST(cuStreamWriteValue64(NULL, counter_dev, i, 0));
		return;
	case D_ASYNC:
		MUST(cuMemcpyDtoHAsync((void *)pair->data, mem, 4, NULL));
		MUST(cuStreamWriteValue64(NULL, counter_dev, i, 0));
		return;
	case D_SYNC_PRIVATE:
		MUST(cuMemcpyDtoH(&own, mem, 4));
		pair->data[0] = own;
		break;
	case D_SYNC_STAGED:
		MUST(cuMemcpyDtoH((void *)pair->data, mem, 4));
		break;
	case D_KERNEL:
		MUST(gpu_launch(gpu.copyw, NULL, 1, params));
		return;
	default:
		MUST(cuMemcpyDtoHAsync((void *)pair->data, mem, 4, NULL));
		while (cuStreamQuery(NULL) == CUDA_ERROR_NOT_READY)
			cpu_relax();
	}
	__atomic_store_n(&pair->reply, i, __ATOMIC_RELEASE);
}

static void executor(void)
{
	uint32_t head = 0, op, arg;

	for (;;) {
		pair_take(pair, &head, &op, &arg);
		if (op == OP_QUIT)
			return;
		if (op == OP_MODE) {
			MUST(cuCtxSynchronize());
			pair->reply = 0;
			pair->counter = 0;
			pair->ack = arg + 1;
			continue;
		}
		serve(op, arg);
	}
}

static void native(void)
{
	static const char *const names[] = { "native cuMemcpyHtoD 4 B, pageable",
					     "native cuMemcpyHtoD 4 B, pinned",
					     "native cuMemcpyDtoH 4 B, pageable",
					     "native cuMemcpyDtoH 4 B, pinned" };
	double *us = malloc(ROUNDS * sizeof(*us));
	void *page = malloc(64), *pin;

	MUST(cuMemHostAlloc(&pin, 4096, 0));
	for (int k = 0; k < 4; k++) {
		void *host = k % 2 ? pin : page;

		for (int i = 0; i < ROUNDS + WARM; i++) {
			double t = now_us();

			MUST(k < 2 ? cuMemcpyHtoD(mem, host, 4) : cuMemcpyDtoH(host, mem, 4));
			if (i >= WARM)
				us[i - WARM] = now_us() - t;
		}
		stats_print(names[k], us, ROUNDS);
	}
	free(us);
}

int main(void)
{
	pid_t pid;

	pair = shared_map(2 * MIB, NULL);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (!pair->ack)
			usleep(1000);
		pair->ack = 0;
		return client();
	}
	gpu_open(&gpu);
	MUST(cuMemHostRegister(pair, 2 * MIB,
			       CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP));
	MUST(cuMemHostGetDevicePointer(&counter_dev, (void *)&pair->counter, 0));
	MUST(cuMemHostGetDevicePointer(&data_dev, (void *)pair->data, 0));
	MUST(cuMemAlloc(&mem, 4096));
	native();
	pair->ack = 1;
	executor();
	waitpid(pid, NULL, 0);
	native();
	_exit(0);
}
