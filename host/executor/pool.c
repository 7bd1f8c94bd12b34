/* SPDX-License-Identifier: MIT */
/*
 * Threads that may block in the driver. One is made whenever work comes and none is free, so no
 * call waits for another's; jobs are limited, hence threads are. They are kept.
 */
#include "host/executor/internal.h"

#include <errno.h>
#include <sys/prctl.h>

enum { POOL_STACK = 8 << 20 }; /* compilers recurse; only touched pages count */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t work;
	/* under lock */
	struct vx_job *first, *last;
	uint32_t queued;
	uint32_t threads, idle;
	const struct vx_gpu *gpu;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER };

static void *pool_thread(void *unused)
{
	prctl(PR_SET_TIMERSLACK, 1000); /* vx_doze() sleeps shortly */
	pool.gpu->cu.cuCtxSetCurrent(pool.gpu->context);
	pthread_mutex_lock(&pool.lock);
	for (;;) {
		struct vx_job *job;

		while (!pool.first) {
			pool.idle++;
			pthread_cond_wait(&pool.work, &pool.lock);
			pool.idle--;
		}
		job = pool.first;
		pool.first = job->next;
		pool.queued--;
		pthread_mutex_unlock(&pool.lock);
		vx_job_perform(job);
		pthread_mutex_lock(&pool.lock);
	}
	return NULL;
}

static int pool_thread_start(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, POOL_STACK);
	err = pthread_create(&thread, &attr, pool_thread, NULL);
	pthread_attr_destroy(&attr);
	pool.threads += !err;
	return -err;
}

int vx_pool_init(const struct vx_gpu *gpu)
{
	pool.gpu = gpu;
	return pool_thread_start();
}

int vx_pool_run(struct vx_job *job)
{
	int err = 0;

	pthread_mutex_lock(&pool.lock);
	if (pool.queued >= pool.idle)
		err = pool_thread_start();
	/* at the limit of threads the job waits for one of them */
	if (pool.threads)
		err = 0;
	if (!err) {
		job->next = NULL;
		if (pool.first)
			pool.last->next = job;
		else
			pool.first = job;
		pool.last = job;
		pool.queued++;
		pthread_cond_signal(&pool.work);
	}
	pthread_mutex_unlock(&pool.lock);
	return err;
}
