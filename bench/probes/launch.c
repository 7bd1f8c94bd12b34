// SPDX-License-Identifier: MIT
/*
 * Launch + synchronise between a client process and an executor process: real synchronise on a
 * helper thread, polled event or stream, and a completion counter that the GPU writes. The native
 * call sequence runs in the same process first.
 */
#define _GNU_SOURCE
#include "bench/probes/probe.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 20000
#define WARM 500

enum way {
	RAW,	   /* nothing: the ring's own round trip */
	HELPER,	   /* cuStreamSynchronize on a helper thread that spins for work */
	HELPER_FX, /* the same, helper sleeps on a futex */
	INLINE,	   /* cuStreamSynchronize on the issue thread */
	EVENT,	   /* issue thread polls cuEventQuery */
	QUERY,	   /* issue thread polls cuStreamQuery */
	WRITE32,   /* GPU counter */
	WRITE64,
	MEMSET,
	KERNEL,
	DTOH,
	ORDER, /* WRITE32 after a kernel that fills host memory which the client checks */
};

enum op { OP_MODE, OP_LAUNCH, OP_SYNC, OP_BOTH, OP_QUIT };

static const struct mode {
	const char *name;
	enum way way;
	bool one_entry, null_stream;
} modes[] = {
	{ "ring round trip, no GPU", RAW, true, false },
	{ "a  cuStreamSynchronize on spinning helper", HELPER, false, false },
	{ "a  cuStreamSynchronize on futex helper", HELPER_FX, false, false },
	{ "a' cuStreamSynchronize on issue thread", INLINE, false, false },
	{ "b  poll cuEventQuery", EVENT, false, false },
	{ "b' poll cuStreamQuery", QUERY, false, false },
	{ "c  cuStreamWriteValue32, two entries", WRITE32, false, false },
	{ "c  cuStreamWriteValue64, two entries", WRITE64, false, false },
	{ "d  cuStreamWriteValue32, one entry", WRITE32, true, false },
	{ "d  cuStreamWriteValue64, one entry", WRITE64, true, false },
	{ "d  cuStreamWriteValue64, one entry, NULL stream", WRITE64, true, true },
	{ "d  cuStreamWriteValue64, two entries, NULL stream", WRITE64, false, true },
	{ "e  cuMemsetD32Async, one entry", MEMSET, true, false },
	{ "e  kernel writes counter, one entry", KERNEL, true, false },
	{ "e  cuMemcpyDtoHAsync, one entry", DTOH, true, false },
	{ "d  ordered after host data (checked)", ORDER, true, false },
};
#define N_MODES ((int)(sizeof(modes) / sizeof(modes[0])))

static struct gpu gpu;
static struct pair *pair;
static CUdeviceptr counter_dev, data_dev, words_dev;
static CUevent event;
static CUstream stream;
static volatile uint32_t helper_want;

static int client(void)
{
	double *us = malloc(ROUNDS * sizeof(*us));
	int wrong = 0;

	for (int m = 0; m < N_MODES; m++) {
		const struct mode *md = &modes[m];
		bool by_gpu = md->way >= WRITE32;

		pair_post(pair, OP_MODE, m);
		while (pair->ack != (uint32_t)m + 1)
			cpu_relax();
		for (uint32_t i = 1; i <= ROUNDS + WARM; i++) {
			double t = now_us();

			if (md->one_entry) {
				pair_post(pair, OP_BOTH, i);
			} else {
				pair_post(pair, OP_LAUNCH, i);
				pair_post(pair, OP_SYNC, i);
			}
			if (by_gpu)
				while ((uint32_t)pair->counter != i)
					cpu_relax();
			else
				while (pair->reply != i)
					cpu_relax();
			if (i > WARM)
				us[i - WARM - 1] = now_us() - t;
			if (md->way == ORDER)
				for (int k = 0; k < 512; k++)
					wrong += ((volatile uint32_t *)pair->data)[k] != i;
		}
		stats_print(md->name, us, ROUNDS);
	}
	printf("words of host data seen late behind the counter: %d of %d\n", wrong,
	       512 * (ROUNDS + WARM));
	fflush(stdout);
	pair_post(pair, OP_QUIT, 0);
	return 0;
}

static void *helper(void *arg)
{
	uint32_t done = 0;

	(void)arg;
	cuCtxSetCurrent(gpu.ctx);
	for (;;) {
		uint32_t want = __atomic_load_n(&helper_want, __ATOMIC_ACQUIRE);
		bool sleepy = want >> 31;

		if ((want & 0x7fffffff) == done) {
			if (sleepy)
				syscall(SYS_futex, &helper_want, FUTEX_WAIT_PRIVATE, want, NULL);
			else
				cpu_relax();
			continue;
		}
		done = want & 0x7fffffff;
		if (!done)
			continue;
		MUST(cuStreamSynchronize(stream));
		__atomic_store_n(&pair->reply, done, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void do_launch(const struct mode *md, CUstream s, uint32_t seq)
{
	void *params[] = { &data_dev, &seq };

	if (md->way == RAW)
		return;
	if (md->way == ORDER)
		MUST(gpu_launch(gpu.stamp, s, 512, params));
	else
		MUST(gpu_launch(gpu.nop, s, 1, NULL));
}

static void write_counter(const struct mode *md, CUstream s, uint32_t seq)
{
	void *params[] = { &counter_dev, &seq };

	switch (md->way) {
	case WRITE64:
		MUST(cuStreamWriteValue64(s, counter_dev, seq, 0));
		break;
	case MEMSET:
		MUST(cuMemsetD32Async(counter_dev, seq, 1, s));
		break;
	case KERNEL:
		MUST(gpu_launch(gpu.setw, s, 1, params));
		break;
	case DTOH:
		MUST(cuMemcpyDtoHAsync((void *)&pair->counter, words_dev + 4ull * seq, 4, s));
		break;
	default:
		MUST(cuStreamWriteValue32(s, counter_dev, seq, 0));
	}
}

static void do_sync(const struct mode *md, CUstream s, uint32_t seq)
{
	switch (md->way) {
	case RAW:
		break;
	case HELPER:
	case HELPER_FX:
		helper_want = seq | (md->way == HELPER_FX ? 0x80000000u : 0);
		if (md->way == HELPER_FX)
			syscall(SYS_futex, &helper_want, FUTEX_WAKE_PRIVATE, 1);
		return;
	case INLINE:
		MUST(cuStreamSynchronize(s));
		break;
	case EVENT:
		MUST(cuEventRecord(event, s));
		while (cuEventQuery(event) == CUDA_ERROR_NOT_READY)
			cpu_relax();
		break;
	case QUERY:
		while (cuStreamQuery(s) == CUDA_ERROR_NOT_READY)
			cpu_relax();
		break;
	default:
		write_counter(md, s, seq);
		return;
	}
	__atomic_store_n(&pair->reply, seq, __ATOMIC_RELEASE);
}

static void executor(void)
{
	const struct mode *md = &modes[0];
	uint32_t head = 0, op, arg;

	for (;;) {
		CUstream s = md->null_stream ? NULL : stream;

		pair_take(pair, &head, &op, &arg);
		switch (op) {
		case OP_MODE:
			MUST(cuCtxSynchronize());
			md = &modes[arg];
			/* asleep unless this mode wants it spinning */
			helper_want = md->way == HELPER ? 0 : 0x80000000u;
			syscall(SYS_futex, &helper_want, FUTEX_WAKE_PRIVATE, 1);
			usleep(1000);
			pair->reply = 0;
			pair->counter = 0;
			pair->ack = arg + 1;
			break;
		case OP_LAUNCH:
			do_launch(md, s, arg);
			break;
		case OP_SYNC:
			do_sync(md, s, arg);
			break;
		case OP_BOTH:
			do_launch(md, s, arg);
			do_sync(md, s, arg);
			break;
		default:
			MUST(cuCtxSynchronize());
			return;
		}
	}
}

static void native(void)
{
	static const char *const names[] = { "native launch + cuStreamSynchronize",
					     "native launch + cuStreamSynchronize, NULL stream",
					     "native launch + cuCtxSynchronize, NULL stream",
					     "native launch + poll cuStreamQuery",
					     "native launch + WriteValue64 + spin" };
	double *us = malloc(ROUNDS * sizeof(*us));

	pair->counter = 0;
	for (int k = 0; k < 5; k++) {
		CUstream s = k == 1 || k == 2 ? NULL : stream;

		for (uint32_t i = 1; i <= ROUNDS + WARM; i++) {
			double t = now_us();

			MUST(gpu_launch(gpu.nop, s, 1, NULL));
			if (k < 2)
				MUST(cuStreamSynchronize(s));
			else if (k == 2)
				MUST(cuCtxSynchronize());
			else if (k == 3)
				while (cuStreamQuery(s) == CUDA_ERROR_NOT_READY)
					cpu_relax();
			else {
				MUST(cuStreamWriteValue64(s, counter_dev, i, 0));
				while (pair->counter != i)
					cpu_relax();
			}
			if (i > WARM)
				us[i - WARM - 1] = now_us() - t;
		}
		stats_print(names[k], us, ROUNDS);
	}
	free(us);
}

int main(void)
{
	uint32_t *ramp = malloc(4 * (ROUNDS + WARM + 1));
	pthread_t th;
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
	MUST(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	MUST(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
	MUST(cuMemAlloc(&words_dev, 4 * (ROUNDS + WARM + 1)));
	for (uint32_t i = 0; i <= ROUNDS + WARM; i++)
		ramp[i] = i;
	MUST(cuMemcpyHtoD(words_dev, ramp, 4 * (ROUNDS + WARM + 1)));
	native();
	pthread_create(&th, NULL, helper, NULL);
	pair->ack = 1;
	executor();
	waitpid(pid, NULL, 0);
	native();
	fflush(stdout);
	_exit(0);
}
