// SPDX-License-Identifier: MIT
/* Threads that wait: full ring, full backlog, more threads than slots; and what ends waiting. */
#include "client/libvgpu/bench_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>

static int setup(void **state)
{
	return bench_setup(64 * MIB);
}

static void *run_nops(void *arg)
{
	for (int i = 0; i < 20; i++) {
		vgpu_status status = i % 2 ? vgpu_nop(gpu) : vgpu_nop_post(gpu);

		if (status)
			return (void *)(uintptr_t)status;
	}
	return NULL;
}

static void more_threads_than_slots(void **state)
{
	enum { THREADS = 400 };
	static pthread_t thread[THREADS];
	pthread_attr_t small;
	void *result;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 128 << 10);
	fake_host_stall(host, true); /* so that all slots are taken */
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], &small, run_nops, NULL), 0);
	usleep(50000);
	fake_host_stall(host, false);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], &result);
		assert_null(result);
	}
	pthread_attr_destroy(&small);
}

static atomic_int posted;

static void *post_many(void *arg)
{
	for (int i = 0; i < 40000; i++) {
		if (vgpu_nop_post(gpu))
			return (void *)1;
		atomic_fetch_add(&posted, 1);
	}
	return NULL;
}

static void a_full_ring_makes_producers_wait(void **state)
{
	pthread_t thread[4];
	void *result;
	int before;

	atomic_store(&posted, 0);
	fake_host_stall(host, true);
	for (int i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, post_many, NULL);
	do {
		before = atomic_load(&posted);
		usleep(100000);
	} while (before != atomic_load(&posted) || !before);
	assert_int_equal(before, 16384); /* one cell each: the whole ring, and not one more */
	fake_host_stall(host, false);
	for (int i = 0; i < 4; i++) {
		pthread_join(thread[i], &result);
		assert_null(result);
	}
	OK(vgpu_nop(gpu));
	assert_int_equal(fake_host_counters(host).entries, 160001);
}

/* vgpu_host_free asks for a mark, but does not wait for a place to put it. */
static void a_full_ring_does_not_hold_up_a_free(void **state)
{
	pthread_t thread;
	uint64_t device;
	void *pinned, *result;
	int before;

	OK(vgpu_malloc(gpu, 4096, &device));
	OK(vgpu_host_malloc(gpu, 4096, &pinned));
	atomic_store(&posted, 0);
	fake_host_stall(host, true);
	OK(vgpu_copy_h2d_async(gpu, device, pinned, 4096, NULL));
	pthread_create(&thread, NULL, post_many, NULL);
	do {
		before = atomic_load(&posted);
		usleep(100000);
	} while (before != atomic_load(&posted) || !before);
	OK(vgpu_host_free(gpu, pinned));
	fake_host_stall(host, false);
	pthread_join(thread, &result);
	assert_null(result);
	OK(vgpu_synchronize(gpu));
}

struct flood {
	struct vgpu_stream *stream;
	uint64_t device;
	atomic_int done;
	vgpu_status status;
};

static void *flood(void *arg)
{
	struct flood *f = arg;

	for (int i = 0; i < 10000 && !f->status; i++) {
		f->status = vgpu_memset8_async(gpu, f->device, (uint8_t)i, 16, f->stream);
		atomic_fetch_add(&f->done, 1);
	}
	return NULL;
}

/* One stream is full and stands still until another thread has used another stream. */
static void a_full_stream_leaves_the_others_alone(void **state)
{
	struct flood f = { 0 };
	struct vgpu_stream *other;
	uint8_t *from = malloc(10 * MIB), *to = malloc(10 * MIB), *pinned;
	uint64_t device;
	pthread_t thread;
	int before;

	OK(vgpu_malloc(gpu, 16, &f.device));
	OK(vgpu_malloc(gpu, 10 * MIB, &device));
	OK(vgpu_stream_create(gpu, VGPU_STREAM_NON_BLOCKING, 0, &f.stream)); /* handle 1 */
	OK(vgpu_stream_create(gpu, VGPU_STREAM_NON_BLOCKING, 0, &other));
	OK(vgpu_host_malloc(gpu, 4096, (void **)&pinned));
	fake_host_hold(host, 1, true);
	/* pageable copies into the held stream fill buffers that never come free */
	for (int i = 0; i < 3; i++)
		OK(vgpu_copy_h2d_async(gpu, device, from, 100000, f.stream));
	pthread_create(&thread, NULL, flood, &f);
	do {
		before = atomic_load(&f.done);
		usleep(50000);
	} while (before != atomic_load(&f.done) || !before);
	assert_in_range(before, 2000, 4096); /* 256 KiB of backlog, 64 bytes each */
	memset(from, 5, 10 * MIB);
	OK(vgpu_copy_h2d_async(gpu, device, from, 10 * MIB, other));
	OK(vgpu_copy_d2h_async(gpu, to, device, 10 * MIB, other));
	OK(vgpu_stream_synchronize(other));
	assert_memory_equal(from, to, 10 * MIB);
	assert_int_equal(vgpu_stream_query(f.stream), 600);
	OK(vgpu_host_free(gpu, pinned)); /* does not wait for the full stream either */
	fake_host_hold(host, 1, false);
	pthread_join(thread, NULL);
	OK(f.status);
	OK(vgpu_stream_synchronize(f.stream));
	OK(vgpu_synchronize(gpu));
	free(from);
	free(to);
}

static void *sync_stream(void *arg)
{
	return (void *)(uintptr_t)vgpu_stream_synchronize(arg);
}

static void many_wait_for_one_stream(void **state)
{
	struct vgpu_session_counters c;
	struct vgpu_stream *stream;
	pthread_t thread[16];
	uint64_t device;
	void *result;

	OK(vgpu_malloc(gpu, 4096, &device));
	OK(vgpu_stream_create(gpu, 0, 0, &stream));
	fake_host_hold(host, 1, true);
	OK(vgpu_memset8_async(gpu, device, 1, 4096, stream));
	for (int i = 0; i < 16; i++)
		pthread_create(&thread[i], NULL, sync_stream, stream);
	usleep(50000);
	OK(vgpu_session_counters(gpu, &c));
	assert_true(c.sleeps > 0);
	fake_host_hold(host, 1, false);
	for (int i = 0; i < 16; i++) {
		pthread_join(thread[i], &result);
		assert_null(result);
	}
}

struct waiter {
	struct vgpu_stream *stream; /* NULL: the whole session */
	uint64_t device;
	void *from;
	size_t bytes;
	atomic_bool over;
	vgpu_status status;
};

static void *synchronize_all(void *arg)
{
	struct waiter *w = arg;

	w->status = vgpu_synchronize(gpu);
	atomic_store(&w->over, true);
	return NULL;
}

static void work_of_a_destroyed_stream_is_waited_for(void **state)
{
	struct waiter w = { 0 };
	struct vgpu_stream *stream;
	pthread_t thread;
	uint64_t device;

	OK(vgpu_malloc(gpu, 4096, &device));
	OK(vgpu_stream_create(gpu, VGPU_STREAM_NON_BLOCKING, 0, &stream));
	fake_host_hold(host, 1, true);
	OK(vgpu_memset8_async(gpu, device, 1, 4096, stream));
	OK(vgpu_stream_destroy(stream));
	pthread_create(&thread, NULL, synchronize_all, &w);
	usleep(50000);
	assert_false(atomic_load(&w.over));
	fake_host_hold(host, 1, false);
	pthread_join(thread, NULL);
	OK(w.status);
}

static void *copy_in(void *arg)
{
	struct waiter *w = arg;

	w->status = vgpu_copy_h2d_async(gpu, w->device, w->from, w->bytes, w->stream);
	atomic_store(&w->over, true);
	return NULL;
}

/* All buffers belong to a stream that was destroyed with its work undone. */
static void buffers_of_a_destroyed_stream_come_back(void **state)
{
	struct waiter w = { .bytes = MIB, .from = malloc(MIB) };
	struct vgpu_stream *stream;
	uint8_t *to = malloc(MIB);
	pthread_t thread;
	void *pinned;

	OK(vgpu_malloc(gpu, MIB, &w.device));
	OK(vgpu_stream_create(gpu, VGPU_STREAM_NON_BLOCKING, 0, &stream));
	OK(vgpu_stream_create(gpu, VGPU_STREAM_NON_BLOCKING, 0, &w.stream));
	fake_host_hold(host, 1, true);
	memset(w.from, 1, MIB);
	OK(vgpu_copy_h2d_async(gpu, w.device, w.from, 200000, stream));
	for (size_t bytes = 32 * MIB; bytes >= 4096; bytes /= 2)
		while (!vgpu_host_malloc(gpu, bytes, &pinned))
			;
	OK(vgpu_stream_destroy(stream));
	memset(w.from, 2, MIB);
	pthread_create(&thread, NULL, copy_in, &w);
	usleep(50000);
	assert_false(atomic_load(&w.over));
	fake_host_hold(host, 1, false);
	pthread_join(thread, NULL);
	OK(w.status);
	OK(vgpu_copy_d2h_async(gpu, to, w.device, MIB, w.stream));
	assert_memory_equal(w.from, to, MIB);
	free(w.from);
	free(to);
}

static struct vgpu_module *module;
static pthread_barrier_t together;

static void *get_variable(void *arg)
{
	uint64_t address;

	pthread_barrier_wait(&together);
	return (void *)(uintptr_t)vgpu_global_get(module, "v", &address, NULL);
}

/* All threads are given the same variable, and one of them enters it into the tables. */
static void a_variable_for_many_threads(void **state)
{
	pthread_t thread[8];
	void *result;

	pthread_barrier_init(&together, NULL, 8);
	for (int round = 0; round < 300; round++) {
		OK(vgpu_module_load(gpu, "x", 1, NULL, 0, &module));
		fake_host_stall(host, true); /* so that they are answered together */
		for (int i = 0; i < 8; i++)
			pthread_create(&thread[i], NULL, get_variable, NULL);
		usleep(1000);
		fake_host_stall(host, false);
		for (int i = 0; i < 8; i++) {
			pthread_join(thread[i], &result);
			OK((uintptr_t)result);
		}
		OK(vgpu_module_unload(module));
	}
	pthread_barrier_destroy(&together);
}

static void *wait_nop(void *arg)
{
	return (void *)(uintptr_t)vgpu_nop(gpu);
}

static void the_end_of_a_session_wakes_all(void **state)
{
	pthread_t thread[20], producer;
	struct flood f = { 0 };
	uint64_t device;
	void *result;

	OK(vgpu_malloc(gpu, 4096, &f.device));
	fake_host_stall(host, true);
	for (int i = 0; i < 20; i++)
		pthread_create(&thread[i], NULL, wait_nop, NULL);
	pthread_create(&producer, NULL, flood, &f);
	usleep(100000); /* asleep by now, whatever they were doing */
	fake_host_end(host, VGPU_ERROR_SESSION_EXECUTOR_DIED);
	for (int i = 0; i < 20; i++) {
		pthread_join(thread[i], &result);
		assert_int_equal((uintptr_t)result, VGPU_ERROR_SESSION_EXECUTOR_DIED);
	}
	pthread_join(producer, NULL);
	assert_int_equal(f.status, VGPU_ERROR_SESSION_EXECUTOR_DIED);
	assert_int_equal(vgpu_malloc(gpu, 1, &device), VGPU_ERROR_SESSION_EXECUTOR_DIED);
	assert_int_equal(vgpu_synchronize(gpu), VGPU_ERROR_SESSION_EXECUTOR_DIED);
	assert_non_null(strstr(vgpu_session_error_text(), "died"));
	fake_host_stall(host, false);
}

static void a_sticky_error_stands_before_every_call(void **state)
{
	uint64_t device;

	OK(vgpu_malloc(gpu, 4096, &device));
	fake_host_sticky(host, 700);
	while (!vgpu_nop(gpu))
		;
	assert_int_equal(vgpu_memset8(gpu, device, 0, 1), 700);
	assert_int_equal(vgpu_synchronize(gpu), 700);
	assert_int_equal(vgpu_copy_h2d(gpu, device, &device, 8), 700);
	assert_non_null(strstr(vgpu_session_error_text(), "ILLEGAL_ADDRESS"));
	fake_host_sticky(host, 0);
}

static void a_mediator_restart_loses_nothing(void **state)
{
	uint8_t *from = malloc(8 * MIB), *to = malloc(8 * MIB);
	uint64_t device;
	void *pinned;

	OK(vgpu_malloc(gpu, 8 * MIB, &device));
	memset(from, 0x5a, 8 * MIB);
	OK(vgpu_copy_h2d(gpu, device, from, 8 * MIB));
	fake_host_mediator(host, false);
	OK(vgpu_copy_d2h(gpu, to, device, 8 * MIB)); /* the heap is there already */
	assert_memory_equal(from, to, 8 * MIB);
	fake_host_mediator(host, true);
	OK(vgpu_host_malloc(gpu, 32 * MIB, &pinned)); /* waits for the new mediator */
	assert_int_equal(fake_host_counters(host).resumed, 1);
	assert_int_equal(fake_host_counters(host).sessions, 1);
	OK(vgpu_copy_h2d(gpu, device, from, 8 * MIB));
	OK(vgpu_host_free(gpu, pinned));
	free(from);
	free(to);
}

static void an_executor_lost_meanwhile_is_told(void **state)
{
	struct vgpu_open_options o = { .size = sizeof(o), .transport = transport };
	struct fake_host *first = host;

	fake_host_mediator(first, false);
	host = fake_host_start(path, 64 * MIB); /* a new one that knows nothing */
	while (!vgpu_nop(gpu))
		usleep(1000);
	assert_int_equal(vgpu_nop(gpu), VGPU_ERROR_SESSION_EXECUTOR_DIED);
	fake_host_stop(first); /* takes the socket's name away */
	OK(vgpu_session_close(gpu));
	fake_host_stop(host);
	host = fake_host_start(path, 64 * MIB);
	OK(vgpu_session_open(&o, &gpu)); /* a new session works at once */
	OK(vgpu_nop(gpu));
}

static int in_child(void)
{
	struct vgpu_open_options o = { .size = sizeof(o), .transport = transport };
	struct vgpu_session *own;
	uint64_t address;

	if (vgpu_nop(gpu) != VGPU_ERROR_CALL_FORKED || vgpu_malloc(gpu, 1, &address) != VGPU_ERROR_CALL_FORKED ||
	    vgpu_synchronize(gpu) != VGPU_ERROR_CALL_FORKED)
		return 1;
	if (!strstr(vgpu_session_error_text(), "forked"))
		return 2;
	if (__tsan_init) /* it allows no threads in a forked child */
		return vgpu_session_close(gpu) ? 6 : 0;
	if (vgpu_session_open(&o, &own) || vgpu_nop(own))
		return 3;
	if (vgpu_nop(gpu) != VGPU_ERROR_CALL_FORKED) /* not the new one either */
		return 4;
	if (vgpu_session_close(gpu) || vgpu_nop(own) || vgpu_session_close(own))
		return 5;
	return 0;
}

static void a_forked_child_has_no_session(void **state)
{
	uint64_t device;
	int status;
	pid_t child;

	OK(vgpu_malloc(gpu, 4096, &device));
	OK(vgpu_copy_h2d(gpu, device, path, sizeof(path)));
	child = fork();
	if (!child)
		_exit(in_child());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	OK(vgpu_copy_h2d(gpu, device, path, sizeof(path)));
	OK(vgpu_synchronize(gpu));
}

struct worker {
	unsigned int seed;
	vgpu_status status;
	bool wrong;
};

static void work(struct worker *w)
{
	struct vgpu_stream *stream;
	uint64_t device;
	uint8_t *from = malloc(300000), *to = malloc(300000), *pinned;

	w->status = vgpu_malloc(gpu, 300000, &device);
	if (!w->status)
		w->status = vgpu_stream_create(gpu, w->seed & 1, 0, &stream);
	if (!w->status)
		w->status = vgpu_host_malloc(gpu, 5000, (void **)&pinned);
	for (int i = 0; i < 30 && !w->status && !w->wrong; i++) {
		size_t bytes = 1 + (size_t)rand_r(&w->seed) % (i % 4 ? 40000 : 299000);
		size_t odd = (size_t)rand_r(&w->seed) % 64;

		memset(from, (int)(w->seed + (unsigned int)i), 300000);
		w->status = vgpu_copy_h2d_async(gpu, device + odd, from, bytes, stream);
		if (!w->status)
			w->status = vgpu_copy_d2h_async(gpu, to, device + odd, bytes, stream);
		w->wrong = !w->status && memcmp(from, to, bytes);
		if (!w->status && i % 5 == 0)
			w->status = vgpu_synchronize(gpu);
		if (!w->status && i % 7 == 0) {
			w->status = vgpu_copy_d2h_async(gpu, pinned, device + odd, 1, stream);
			if (!w->status)
				w->status = vgpu_host_free(gpu, pinned);
			if (!w->status)
				w->status = vgpu_host_malloc(gpu, 5000, (void **)&pinned);
		}
	}
	if (!w->status)
		w->status = vgpu_stream_destroy(stream);
	if (!w->status)
		w->status = vgpu_free(gpu, device);
	free(from);
	free(to);
}

static void *worker_main(void *arg)
{
	work(arg);
	return NULL;
}

static void sixty_four_threads(void **state)
{
	struct vgpu_session_counters c;
	struct worker w[64];
	pthread_t thread[64];

	for (unsigned int i = 0; i < 64; i++) {
		w[i] = (struct worker){ .seed = i };
		pthread_create(&thread[i], NULL, worker_main, &w[i]);
	}
	for (unsigned int i = 0; i < 64; i++) {
		pthread_join(thread[i], NULL);
		OK(w[i].status);
		assert_false(w[i].wrong);
	}
	OK(vgpu_session_counters(gpu, &c));
	assert_int_equal(c.posted_errors, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, bench_teardown)
	const struct CMUnitTest tests[] = {
		T(more_threads_than_slots), T(a_full_ring_makes_producers_wait),
		T(a_full_ring_does_not_hold_up_a_free),
		T(a_full_stream_leaves_the_others_alone), T(many_wait_for_one_stream),
		T(work_of_a_destroyed_stream_is_waited_for), T(buffers_of_a_destroyed_stream_come_back),
		T(a_variable_for_many_threads),
		T(the_end_of_a_session_wakes_all), T(a_sticky_error_stands_before_every_call),
		T(a_mediator_restart_loses_nothing), T(an_executor_lost_meanwhile_is_told),
		T(a_forked_child_has_no_session), T(sixty_four_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
