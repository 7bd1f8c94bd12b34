/* SPDX-License-Identifier: MIT */
/*
 * Runs a kernel's blocks. The stream's own thread always takes part, so that every stream's kernel gets on whatever
 * the others do; threads of a pool, which all streams share, help where they are free.
 */
#include <stdlib.h>

#include "softgpu/internal.h"

struct run {
	struct ptx_grid grid;
	uint64_t blocks;
	atomic_uint_fast64_t next; /* the block that is taken next */
	atomic_int error;	   /* the first ptx_error */
	unsigned int helpers;	   /* pool lock */
	struct run *following;	   /* pool lock */
};

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t pool_work = PTHREAD_COND_INITIALIZER, pool_left = PTHREAD_COND_INITIALIZER;
static struct run *runs;
static int pool_wanted, pool_started;

static __thread struct ptx_runner *thread_runner;
static pthread_key_t runner_key;

static void free_runner(void *runner)
{
	ptx_runner_free(runner);
}

static struct ptx_runner *get_runner(void)
{
	if (!thread_runner) {
		thread_runner = ptx_runner_new();
		pthread_setspecific(runner_key, thread_runner);
	}
	return thread_runner;
}

static void run_blocks(struct run *run)
{
	struct ptx_runner *runner = get_runner();
	int error = runner ? 0 : PTX_ERROR_MEMORY, none = 0;

	while (!error && !atomic_load_explicit(&run->error, memory_order_relaxed)) {
		uint64_t block = atomic_fetch_add(&run->next, 1);

		if (block >= run->blocks)
			return;
		error = ptx_run_block(runner, &run->grid, block);
	}
	if (error)
		atomic_compare_exchange_strong(&run->error, &none, error);
}

/* pool_lock held. A run that still has blocks to give. */
static struct run *find_run(void)
{
	for (struct run *run = runs; run; run = run->following)
		if (atomic_load(&run->next) < run->blocks && !atomic_load(&run->error))
			return run;
	return NULL;
}

static void *helper(void *unused)
{
	pthread_mutex_lock(&pool_lock);
	for (;;) {
		struct run *run = find_run();

		if (!run) {
			pthread_cond_wait(&pool_work, &pool_lock);
			continue;
		}
		run->helpers++;
		pthread_mutex_unlock(&pool_lock);
		run_blocks(run);
		pthread_mutex_lock(&pool_lock);
		if (--run->helpers == 0)
			pthread_cond_broadcast(&pool_left);
	}
	return NULL;
}

bool softgpu_grid_init(int threads)
{
	pool_wanted = threads;
	return pthread_key_create(&runner_key, free_runner) == 0;
}

/* pool_lock held. Helpers are started when the first grid with work for them comes. */
static void start_helpers(uint64_t blocks)
{
	while (pool_started < pool_wanted && (uint64_t)pool_started + 1 < blocks) {
		pthread_attr_t attributes;
		pthread_t thread;
		int error;

		pthread_attr_init(&attributes);
		pthread_attr_setstacksize(&attributes, 512 << 10);
		pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
		error = pthread_create(&thread, &attributes, helper, NULL);
		pthread_attr_destroy(&attributes);
		if (error)
			break;
		pool_started++;
	}
}

static void run_with_pool(struct run *run)
{
	pthread_mutex_lock(&pool_lock);
	start_helpers(run->blocks);
	run->following = runs;
	runs = run;
	pthread_cond_broadcast(&pool_work);
	pthread_mutex_unlock(&pool_lock);
	run_blocks(run);
	pthread_mutex_lock(&pool_lock);
	for (struct run **at = &runs; *at; at = &(*at)->following) {
		if (*at == run) {
			*at = run->following;
			break;
		}
	}
	while (run->helpers)
		pthread_cond_wait(&pool_left, &pool_lock);
	pthread_mutex_unlock(&pool_lock);
}

static bool find_range(void *argument, uint64_t address, uint64_t *ret_start, uint64_t *ret_size)
{
	struct softgpu_range range;

	if (!softgpu_range_find(address, &range) ||
	    (!softgpu_memory_is_host(range.kind) && range.context != argument))
		return false;
	*ret_start = range.start;
	*ret_size = range.size;
	return true;
}

static CUresult result_of(int error)
{
	switch (error) {
	case 0:
	case PTX_ERROR_STOPPED:
		return CUDA_SUCCESS;
	case PTX_ERROR_ADDRESS:
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	case PTX_ERROR_MISALIGNED:
		return CUDA_ERROR_MISALIGNED_ADDRESS;
	case PTX_ERROR_ASSERT:
		return CUDA_ERROR_ASSERT;
	case PTX_ERROR_INSTRUCTION:
		return CUDA_ERROR_ILLEGAL_INSTRUCTION;
	case PTX_ERROR_MEMORY:
		return CUDA_ERROR_OUT_OF_MEMORY;
	default:
		return CUDA_ERROR_LAUNCH_FAILED;
	}
}

CUresult softgpu_run_grid(struct softgpu_context *context, const struct softgpu_launch *launch)
{
	struct run run = {
		.grid = {
			.kernel = launch->kernel,
			.grid = { launch->grid[0], launch->grid[1], launch->grid[2] },
			.block = { launch->block[0], launch->block[1], launch->block[2] },
			.dynamic_shared = launch->dynamic_shared,
			.params = launch->big_params ? launch->big_params : launch->params,
			.memory = { find_range, context },
			.stop = &context->stop,
			.multiprocessors = (uint32_t)softgpu.config.multiprocessors,
			.stack_bytes = context->limits[CU_LIMIT_STACK_SIZE],
		},
		.blocks = (uint64_t)launch->grid[0] * launch->grid[1] * launch->grid[2],
	};

	if (launch->fault == SOFTGPU_INJECT_FAULT)
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	while (launch->fault == SOFTGPU_INJECT_ENDLESS) {
		if (atomic_load(&context->stop))
			return CUDA_SUCCESS;
		for (int i = 0; i < 1000; i++)
			softgpu_relax();
	}
	if (run.blocks > 1 && pool_wanted)
		run_with_pool(&run);
	else
		run_blocks(&run);
	return result_of(atomic_load(&run.error));
}
