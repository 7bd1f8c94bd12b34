// SPDX-License-Identifier: MIT
/* Every call of the library against a host in this process, over the real local transport. */
#include "client/libvgpu/bench_test.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

static int setup(void **state)
{
	return bench_setup(24 * MIB);
}

static int teardown(void **state)
{
	struct vgpu_session_counters c;

	OK(vgpu_session_counters(gpu, &c));
	assert_int_equal(c.posted_errors, 0);
	return bench_teardown(state);
}

static void fill(uint8_t *p, size_t n, unsigned int seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 7 + (i >> 8) * 13 + seed);
}

static void properties_and_names(void **state)
{
	struct vgpu_device_properties p;
	uint64_t free_bytes, total;
	int value;

	OK(vgpu_device_properties(gpu, &p));
	assert_string_equal(p.name, "fake");
	assert_int_equal(p.max_block[2], 64);
	assert_int_equal(p.max_grid[1], 65535);
	OK(vgpu_device_attribute(gpu, 1, &value));
	assert_int_equal(value, 1024);
	assert_int_equal(vgpu_device_attribute(gpu, 200, &value), VGPU_ERROR_CALL_INVALID);
	OK(vgpu_memory_info(gpu, &free_bytes, &total));
	assert_int_equal(total, FAKE_DEVICE_BYTES);
	assert_string_equal(vgpu_status_name(700), "CUDA_ERROR_ILLEGAL_ADDRESS");
	assert_string_equal(vgpu_status_name(VGPU_ERROR_CALL_QUOTA), "CALL_QUOTA");
	assert_non_null(vgpu_status_text(12345));
	assert_int_equal(vgpu_malloc(NULL, 1, &total), VGPU_ERROR_CALL_INVALID);
}

static void copies_of_all_sizes(void **state)
{
	/* up to more than the heap, which has 22 MiB */
	static const size_t sizes[] = { 0, 1, 4, 63, 4095, 32767, 32768, 32769, 65536, 65537, 200000,
					MIB, MIB + 1, 3 * MIB + 17, 24 * MIB + 3 };
	uint8_t *from = malloc(25 * MIB), *to = malloc(25 * MIB);
	uint64_t device;

	OK(vgpu_malloc(gpu, 25 * MIB, &device));
	fill(from, 25 * MIB, 3);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (size_t odd = 0; odd < (sizes[i] > MIB ? 2 : 4); odd++) {
			memset(to, 0xee, sizes[i] + 16);
			OK(vgpu_copy_h2d(gpu, device + odd, from + odd * 3, sizes[i]));
			OK(vgpu_copy_d2h(gpu, to + odd, device + odd, sizes[i]));
			assert_memory_equal(to + odd, from + odd * 3, sizes[i]);
			assert_int_equal(to[odd + sizes[i]], 0xee); /* and not a byte more */
		}
	assert_int_equal(vgpu_copy_h2d(gpu, device + 1, from, 25 * MIB), VGPU_ERROR_CALL_ADDRESS);
	assert_non_null(strstr(vgpu_session_error_text(), "not inside"));
	assert_int_equal(vgpu_copy_d2h(gpu, to, (uintptr_t)from, 4), VGPU_ERROR_CALL_ADDRESS);
	assert_int_equal(vgpu_copy_h2d(gpu, device, NULL, 4), VGPU_ERROR_CALL_INVALID);
	OK(vgpu_free(gpu, device));
	assert_int_equal(vgpu_copy_h2d(gpu, device, from, 4), VGPU_ERROR_CALL_ADDRESS);
	assert_int_equal(vgpu_free(gpu, device), VGPU_ERROR_CALL_ADDRESS);
	OK(vgpu_free(gpu, 0));
	free(from);
	free(to);
}

static void pinned_memory(void **state)
{
	struct vgpu_stream *stream;
	uint64_t device;
	uint8_t *a, *b;
	void *big;

	OK(vgpu_malloc(gpu, 4 * MIB, &device));
	OK(vgpu_stream_create(gpu, VGPU_STREAM_NON_BLOCKING, 0, &stream));
	OK(vgpu_host_malloc(gpu, 4 * MIB, (void **)&a));
	OK(vgpu_host_malloc(gpu, 4 * MIB, (void **)&b));
	assert_int_equal((uintptr_t)a % 4096, 0);
	fill(a, 4 * MIB, 9);
	OK(vgpu_copy_h2d(gpu, device, a, 4 * MIB));
	OK(vgpu_copy_d2h(gpu, b, device, 4 * MIB));
	assert_memory_equal(a, b, 4 * MIB);
	memset(b, 0, 4 * MIB);
	OK(vgpu_copy_h2d_async(gpu, device + 1, a + 5, MIB, stream));
	OK(vgpu_copy_d2h_async(gpu, b + 7, device + 1, MIB, stream));
	OK(vgpu_stream_synchronize(stream));
	assert_memory_equal(b + 7, a + 5, MIB);
	/* partly in a block, partly behind it: as any other memory */
	OK(vgpu_copy_h2d(gpu, device, a + 100, 1000));
	assert_int_equal(vgpu_host_malloc(gpu, 100 * MIB, &big), VGPU_ERROR_CALL_HEAP_FULL);
	assert_non_null(strstr(vgpu_session_error_text(), "MiB"));
	OK(vgpu_host_malloc(gpu, 10 * MIB, &big)); /* the library's own buffers make room */
	OK(vgpu_host_free(gpu, big));
	assert_int_equal(vgpu_host_free(gpu, a + 1), VGPU_ERROR_CALL_ADDRESS);
	OK(vgpu_host_free(gpu, a));
	OK(vgpu_host_free(gpu, b));
	assert_int_equal(vgpu_host_free(gpu, b), VGPU_ERROR_CALL_ADDRESS);
	OK(vgpu_host_free(gpu, NULL));
	OK(vgpu_stream_destroy(stream));
	OK(vgpu_free(gpu, device));
}

static void a_full_heap_still_copies(void **state)
{
	uint8_t *from = malloc(3 * MIB), *to = malloc(3 * MIB);
	uint64_t device;
	void *all[64];
	unsigned int n = 0;

	OK(vgpu_malloc(gpu, 3 * MIB, &device));
	while (n < 64 && !vgpu_host_malloc(gpu, MIB, &all[n]))
		n++;
	assert_in_range(n, 16, 22);
	while (n && !vgpu_host_malloc(gpu, 4096, &all[0])) /* the rest; they go with the session */
		;
	fill(from, 3 * MIB, 1);
	OK(vgpu_copy_h2d(gpu, device, from, 3 * MIB)); /* through the ring itself */
	assert_int_equal(vgpu_copy_d2h(gpu, to, device, 3 * MIB), VGPU_ERROR_CALL_HEAP_FULL);
	OK(vgpu_synchronize(gpu)); /* so that freed memory is free */
	OK(vgpu_host_free(gpu, all[n - 1]));
	OK(vgpu_copy_d2h(gpu, to, device, 3 * MIB));
	assert_memory_equal(from, to, 3 * MIB);
	free(from);
	free(to);
}

static void freed_memory_waits_for_its_transfers(void **state)
{
	struct vgpu_stream *stream;
	uint64_t device;
	uint8_t *a, *b, *kept[64];
	unsigned int n = 0;

	OK(vgpu_malloc(gpu, MIB, &device));
	OK(vgpu_stream_create(gpu, VGPU_STREAM_NON_BLOCKING, 0, &stream));
	while (n < 64 && !vgpu_host_malloc(gpu, MIB, (void **)&kept[n]))
		n++;
	a = kept[n - 1];
	fill(a, MIB, 77);
	fake_host_hold(host, 1, true); /* the stream's first handle */
	OK(vgpu_copy_h2d_async(gpu, device, a, MIB, stream));
	OK(vgpu_host_free(gpu, a));
	/* its block is not given out: the copy has not been made */
	assert_int_equal(vgpu_host_malloc(gpu, MIB, (void **)&b), VGPU_ERROR_CALL_HEAP_FULL);
	fake_host_hold(host, 1, false);
	OK(vgpu_stream_synchronize(stream));
	OK(vgpu_host_malloc(gpu, MIB, (void **)&b));
	assert_ptr_equal(a, b);
	OK(vgpu_copy_d2h(gpu, kept[0], device, MIB));
	fill(b, MIB, 77);
	assert_memory_equal(kept[0], b, MIB);
	OK(vgpu_stream_destroy(stream));
}

static void memsets_and_device_copies(void **state)
{
	uint64_t device;
	uint32_t got[8];

	OK(vgpu_malloc(gpu, 1024, &device));
	OK(vgpu_memset8(gpu, device, 0x11, 1024));
	OK(vgpu_memset16(gpu, device + 4, 0x2233, 2));
	OK(vgpu_memset32(gpu, device + 8, 0x44556677, 1));
	OK(vgpu_copy_d2d(gpu, device + 512, device, 16));
	OK(vgpu_copy_d2h(gpu, got, device + 512, sizeof(got)));
	assert_int_equal(got[0], 0x11111111);
	assert_int_equal(got[1], 0x22332233);
	assert_int_equal(got[2], 0x44556677);
	assert_int_equal(got[7], 0x11111111);
	OK(vgpu_memset32(gpu, device, 0, 0));
	assert_int_equal(vgpu_memset32(gpu, device + 2, 0, 1), VGPU_ERROR_CALL_INVALID);
	assert_int_equal(vgpu_memset32(gpu, device, 0, 257), VGPU_ERROR_CALL_ADDRESS);
	assert_int_equal(vgpu_memset32(gpu, device, 0, SIZE_MAX / 2), VGPU_ERROR_CALL_ADDRESS);
	assert_int_equal(vgpu_copy_d2d(gpu, device, device + 1020, 5), VGPU_ERROR_CALL_ADDRESS);
	OK(vgpu_free(gpu, device));
}

static void launches(void **state)
{
	struct vgpu_dim3 one = { 1, 1, 1 };
	struct vgpu_function_properties info;
	struct vgpu_function *add, *odd, *params;
	struct vgpu_module *module;
	uint64_t device, out, sum;
	uint32_t n = 100, in[100], got[100];
	uint8_t x = 200, block[8 + FAKE_PARAMS_BYTES], back[FAKE_PARAMS_BYTES];
	uint16_t y = 60000;
	uint32_t z = 4000000000u;
	char log[100];

	OK(vgpu_module_load(gpu, "text", 4, log, sizeof(log), &module));
	assert_int_equal(vgpu_function_get(module, "none", &add), 500);
	assert_non_null(strstr(vgpu_session_error_text(), "none"));
	OK(vgpu_function_get(module, "add", &add));
	OK(vgpu_function_get(module, "odd", &odd));
	OK(vgpu_function_get(module, "params", &params));
	OK(vgpu_function_info(odd, &info));
	assert_int_equal(info.param_count, 4);
	assert_int_equal(info.params[2].offset, 16);
	OK(vgpu_malloc(gpu, 4 * MIB, &device));
	for (uint32_t i = 0; i < n; i++)
		in[i] = i * i;
	OK(vgpu_copy_h2d(gpu, device, in, sizeof(in)));
	for (int round = 0; round < 3; round++) {
		out = device + 4096 * (uint64_t)(round + 1);
		OK(vgpu_launch(add, one, one, 0, NULL, (void *[]){ &device, &device, &out, &n }));
		OK(vgpu_copy_d2h(gpu, got, out, sizeof(got)));
		for (uint32_t i = 0; i < n; i++)
			assert_int_equal(got[i], 2 * i * i);
		out = device + MIB;
		OK(vgpu_launch(odd, one, one, 0, NULL, (void *[]){ &x, &out, &y, &z }));
		OK(vgpu_copy_d2h(gpu, &sum, out, 8));
		assert_int_equal(sum, 200ull + 60000 + 4000000000u);
		out = device + 2 * MIB;
		memcpy(block, &out, 8);
		fill(block + 8, FAKE_PARAMS_BYTES, (unsigned int)round);
		OK(vgpu_launch_buffer(params, one, one, 0, NULL, block, sizeof(block)));
		OK(vgpu_copy_d2h(gpu, back, out, sizeof(back)));
		assert_memory_equal(back, block + 8, sizeof(back));
	}
	assert_int_equal(vgpu_launch(add, (struct vgpu_dim3){ 0, 1, 1 }, one, 0, NULL, (void *[]){ &out, &out, &out, &n }),
			 VGPU_ERROR_CALL_INVALID);
	assert_int_equal(vgpu_launch(add, (struct vgpu_dim3){ 1, 65536, 1 }, one, 0, NULL, (void *[]){ &out, &out, &out, &n }),
			 VGPU_ERROR_CALL_TOO_LARGE);
	assert_int_equal(vgpu_launch(add, one, (struct vgpu_dim3){ 64, 17, 1 }, 0, NULL, (void *[]){ &out, &out, &out, &n }),
			 VGPU_ERROR_CALL_TOO_LARGE);
	assert_non_null(strstr(vgpu_session_error_text(), "1088"));
	assert_int_equal(vgpu_launch(add, one, one, 49153, NULL, (void *[]){ &out, &out, &out, &n }),
			 VGPU_ERROR_CALL_TOO_LARGE);
	assert_int_equal(vgpu_launch(add, one, one, 0, NULL, NULL), VGPU_ERROR_CALL_INVALID);
	assert_int_equal(vgpu_launch_buffer(params, one, one, 0, NULL, block, 8), VGPU_ERROR_CALL_INVALID);
	OK(vgpu_function_set_attribute(add, VGPU_FUNCTION_MAX_DYNAMIC_SHARED_BYTES, 100000));
	n = 0;
	OK(vgpu_launch(add, one, one, 49153, NULL, (void *[]){ &out, &out, &out, &n }));
	OK(vgpu_occupancy(add, 128, 0, &(int){ 0 }));
	OK(vgpu_synchronize(gpu));
	OK(vgpu_module_unload(module));
	OK(vgpu_free(gpu, device));
}

static void streams_and_events(void **state)
{
	struct vgpu_stream *stream[255];
	struct vgpu_event *a, *b;
	struct vgpu_stream *more;
	uint64_t device;
	float ms;

	OK(vgpu_malloc(gpu, 4096, &device));
	OK(vgpu_event_create(gpu, 0, &a));
	OK(vgpu_event_create(gpu, VGPU_EVENT_DISABLE_TIMING, &b));
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 255; i++) {
			OK(vgpu_stream_create(gpu, i & 1, 0, &stream[i]));
			OK(vgpu_memset8_async(gpu, device, (uint8_t)i, 4096, stream[i]));
		}
		assert_int_equal(vgpu_stream_create(gpu, 0, 0, &more), VGPU_ERROR_CALL_LIMIT);
		OK(vgpu_event_record(a, stream[7]));
		OK(vgpu_stream_wait_event(gpu, stream[8], a));
		OK(vgpu_event_record(b, NULL));
		OK(vgpu_event_synchronize(a));
		OK(vgpu_event_query(a));
		OK(vgpu_event_elapsed(a, b, &ms));
		assert_true(ms == 1.0f);
		OK(vgpu_synchronize(gpu)); /* more streams than it marks one by one */
		OK(vgpu_default_synchronize(gpu));
		for (int i = 0; i < 255; i++) {
			OK(vgpu_stream_query(stream[i]));
			OK(vgpu_stream_synchronize(stream[i]));
			OK(vgpu_stream_destroy(stream[i]));
		}
	}
	OK(vgpu_event_destroy(a));
	OK(vgpu_event_destroy(b));
	OK(vgpu_event_destroy(NULL));
	OK(vgpu_stream_destroy(NULL));
	assert_int_equal(vgpu_stream_synchronize(NULL), VGPU_ERROR_CALL_INVALID);
	OK(vgpu_free(gpu, device));
}

static void a_full_quota_says_so(void **state)
{
	uint64_t a, b;

	OK(vgpu_malloc(gpu, 60 * MIB, &a));
	assert_int_equal(vgpu_malloc(gpu, 8 * MIB, &b), VGPU_ERROR_CALL_QUOTA);
	assert_non_null(strstr(vgpu_session_error_text(), "4194304 bytes of this VM's quota of 67108864"));
	assert_int_equal(vgpu_malloc(gpu, 0, &b), VGPU_ERROR_CALL_INVALID);
	OK(vgpu_free(gpu, a));
	OK(vgpu_malloc(gpu, 8 * MIB, &b));
	OK(vgpu_free(gpu, b));
}

static void taken_addresses_are_set_aside(void **state)
{
	uint64_t address, first;
	void *p;

	if (!vgpu_may_map(FAKE_DEVICE_BASE)) {
		print_message("ThreadSanitizer keeps the address %#llx\n", FAKE_DEVICE_BASE);
		skip();
	}
	fake_host_collide(host, 3);
	OK(vgpu_malloc(gpu, 8192, &address));
	assert_int_equal(address, FAKE_DEVICE_BASE + 3 * 8192);
	assert_int_equal(fake_host_counters(host).used_bytes, 8192); /* the others were given back */
	/* nobody can map there now */
	p = mmap((void *)(uintptr_t)address, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | 0x100000, -1, 0);
	assert_ptr_equal(p, MAP_FAILED);
	/* one that collides for ever gives up */
	for (first = FAKE_DEVICE_BASE; first < FAKE_DEVICE_BASE + 3 * 8192; first += 8192)
		munmap((void *)(uintptr_t)first, 4096);
	OK(vgpu_free(gpu, address));
}

static void refusals_reach_the_program(void **state)
{
	struct vgpu_open_options o = { .size = sizeof(o), .transport = transport };
	struct vgpu_session *other = NULL;
	uint64_t address;

	if (!vgpu_may_map(vgpu_arena_base(0))) { /* ThreadSanitizer leaves room for one session only */
		assert_int_equal(vgpu_session_open(&o, &other), VGPU_ERROR_CALL_UNSUPPORTED);
		return;
	}
	fake_host_refuse(host, VGPU_ERROR_HOST_SESSION_LIMIT);
	assert_int_equal(vgpu_session_open(&o, &other), VGPU_ERROR_HOST_SESSION_LIMIT);
	assert_non_null(strstr(vgpu_session_error_text(), "the test refuses"));
	assert_null(other);
	o.transport = "local:/nonexistent/socket";
	assert_int_equal(vgpu_session_open(&o, &other), VGPU_ERROR_HOST_NO_MEDIATOR);
	o.transport = "device:/nonexistent";
	assert_int_equal(vgpu_session_open(&o, &other), VGPU_ERROR_HOST_NO_MEDIATOR);
	o.transport = "device:/dev/null";
	assert_int_equal(vgpu_session_open(&o, &other), VGPU_ERROR_CALL_UNSUPPORTED);
	o.transport = "pigeon:";
	assert_int_equal(vgpu_session_open(&o, &other), VGPU_ERROR_CALL_UNSUPPORTED);
	o.size = 4;
	assert_int_equal(vgpu_session_open(&o, &other), VGPU_ERROR_CALL_INVALID);
	setenv("VGPU_TRANSPORT", transport, 1);
	OK(vgpu_session_open(NULL, &other)); /* two at once: other arena, other link */
	unsetenv("VGPU_TRANSPORT");
	OK(vgpu_malloc(other, 4096, &address));
	OK(vgpu_free(other, address));
	OK(vgpu_session_close(other));
	OK(vgpu_session_close(NULL));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(properties_and_names), T(copies_of_all_sizes), T(pinned_memory), T(a_full_heap_still_copies),
		T(freed_memory_waits_for_its_transfers), T(memsets_and_device_copies), T(launches),
		T(streams_and_events), T(a_full_quota_says_so), T(taken_addresses_are_set_aside),
		T(refusals_reach_the_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
