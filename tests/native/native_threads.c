// SPDX-License-Identifier: MIT
/*
 * 1 to 64 threads in one session: copies, launches and everything that waits, at once; then a
 * stream that stands still until another thread has used another one.
 */
#include "tests/native/native.h"

#include <pthread.h>
#include <stdatomic.h>

enum { ROUNDS = 12, BYTES = 200000 };

static struct vgpu_session *gpu;
static struct vgpu_function *add_one;

static void *work(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;
	uint8_t *from = malloc(BYTES), *to = malloc(BYTES);
	struct vgpu_stream *stream;
	struct vgpu_event *event;
	uint64_t device, counter;
	uint32_t count;
	void *pinned;

	CHECK(from && to);
	OK(vgpu_malloc(gpu, BYTES + 64, &device));
	OK(vgpu_malloc(gpu, 4, &counter));
	OK(vgpu_stream_create(gpu, seed & 1, 0, &stream));
	OK(vgpu_event_create(gpu, 0, &event));
	OK(vgpu_memset32_async(gpu, counter, 0, 1, stream));
	for (unsigned int i = 0; i < ROUNDS; i++) {
		size_t bytes = 1 + (size_t)rand_r(&seed) % (i % 3 ? 5000 : BYTES - 1), odd = (size_t)rand_r(&seed) % 64;

		native_fill(from, bytes, seed + i);
		OK(vgpu_copy_h2d_async(gpu, device + odd, from, bytes, stream));
		memset(from, 0, bytes); /* it was captured */
		for (int k = 0; k < 5; k++)
			native_launch(add_one, counter, stream);
		OK(vgpu_event_record(event, stream));
		OK(vgpu_copy_d2h_async(gpu, to, device + odd, bytes, stream));
		native_fill(from, bytes, seed + i);
		CHECK(!memcmp(from, to, bytes));
		OK(vgpu_event_synchronize(event));
		if (i % 4 == 1) {
			uint64_t more;

			OK(vgpu_malloc(gpu, 10000, &more));
			OK(vgpu_memset8(gpu, more, 1, 10000));
			OK(vgpu_free(gpu, more));
		}
		if (i % 4 == 2)
			OK(vgpu_synchronize(gpu));
		if (i % 6 == 3) {
			OK(vgpu_host_malloc(gpu, 50000, &pinned));
			OK(vgpu_copy_d2h_async(gpu, pinned, device, 50000, stream));
			OK(vgpu_host_free(gpu, pinned));
		}
		if (i % 6 == 5)
			OK(vgpu_module_unload(native_module(gpu)));
	}
	OK(vgpu_stream_synchronize(stream));
	OK(vgpu_copy_d2h(gpu, &count, counter, 4));
	if (count != ROUNDS * 5)
		FAIL("%u launches, %u counted", ROUNDS * 5, count);
	OK(vgpu_event_destroy(event));
	OK(vgpu_stream_destroy(stream));
	OK(vgpu_free(gpu, device));
	OK(vgpu_free(gpu, counter));
	free(from);
	free(to);
	return NULL;
}

static void run_threads(unsigned int n)
{
	pthread_t thread[64];

	for (unsigned int i = 0; i < n; i++)
		CHECK(!pthread_create(&thread[i], NULL, work, (void *)(uintptr_t)(i + 1)));
	for (unsigned int i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
}

struct flood {
	struct vgpu_stream *stream;
	uint64_t counter;
	atomic_uint posted;
};

enum { FLOOD = 20000 };

static void *flood(void *arg)
{
	struct flood *f = arg;

	for (unsigned int i = 0; i < FLOOD; i++) {
		native_launch(add_one, f->counter, f->stream);
		atomic_fetch_add(&f->posted, 1);
	}
	return NULL;
}

/* One stream waits for a flag and fills up behind it; the flag is set through another. */
static void full_stream(struct vgpu_module *module)
{
	struct vgpu_function *wait_flag = native_function(module, "wait_flag");
	struct vgpu_function *set_flag = native_function(module, "set_flag");
	struct flood f = { 0 };
	struct vgpu_stream *other;
	uint64_t flag, more;
	uint32_t zero = 0, count = 0;
	pthread_t thread;
	uint8_t *host = calloc(1, 3 * MIB);

	CHECK(host);
	OK(vgpu_malloc(gpu, 4, &flag));
	OK(vgpu_malloc(gpu, 4, &f.counter));
	OK(vgpu_malloc(gpu, 3 * MIB, &more));
	OK(vgpu_copy_h2d(gpu, flag, &zero, 4));
	OK(vgpu_copy_h2d(gpu, f.counter, &zero, 4));
	OK(vgpu_stream_create(gpu, VGPU_STREAM_NON_BLOCKING, 0, &f.stream));
	OK(vgpu_stream_create(gpu, VGPU_STREAM_NON_BLOCKING, 0, &other));
	/* both kernels are loaded before one of them keeps the GPU waiting: a driver may have to
	 * stop it for loading, natively too */
	native_launch(set_flag, f.counter, other);
	OK(vgpu_memset32_async(gpu, f.counter, 0, 1, other));
	native_launch(set_flag, flag, other);
	native_launch(wait_flag, flag, other);
	OK(vgpu_memset32_async(gpu, flag, 0, 1, other));
	OK(vgpu_stream_synchronize(other));

	native_launch(wait_flag, flag, f.stream);
	CHECK(!pthread_create(&thread, NULL, flood, &f));
	while (atomic_load(&f.posted) < 2000) /* the driver alone would have blocked at about 1,000 */
		;
	OK(vgpu_copy_h2d_async(gpu, more, host, 3 * MIB, other));
	OK(vgpu_stream_synchronize(other));
	CHECK(vgpu_stream_query(f.stream) == 600);
	native_launch(set_flag, flag, other);
	pthread_join(thread, NULL);
	OK(vgpu_stream_synchronize(f.stream));
	OK(vgpu_copy_d2h(gpu, &count, f.counter, 4));
	if (count != FLOOD)
		FAIL("%d launches, %u counted", FLOOD, count);
	OK(vgpu_stream_destroy(f.stream));
	OK(vgpu_stream_destroy(other));
	OK(vgpu_free(gpu, flag));
	OK(vgpu_free(gpu, f.counter));
	OK(vgpu_free(gpu, more));
	free(host);
}

int main(void)
{
	static const unsigned int threads[] = { 1, 2, 7, 64 };
	struct vgpu_module *module;

	gpu = native_open();
	module = native_module(gpu);
	add_one = native_function(module, "add_one");
	for (size_t i = 0; i < sizeof(threads) / sizeof(*threads); i++)
		run_threads(threads[i]);
	full_stream(module);
	OK(vgpu_module_unload(module));
	native_close(gpu);
	return 0;
}
