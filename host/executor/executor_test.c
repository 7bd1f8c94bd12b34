/* SPDX-License-Identifier: MIT */
/* A real executor on a real driver library: calls, order, limits, and what a hostile client tries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/executor/harness.h"

static void test_ready(void **state)
{
	struct harness h;

	h_spawn(&h, NULL);
	assert_int_equal(h.ready.error, 0);
	assert_true(h.ready.driver_version >= 12040);
	assert_true(h.ready.vram_total_bytes > 0);
	assert_true(h.ready.sandbox & VGPU_SANDBOX_NO_NEW_PRIVS);
	assert_true(h.ready.sandbox & VGPU_SANDBOX_HMM_OFF);
	if (!getenv("VGPU_TEST_RELAX"))
		assert_true(h.ready.sandbox & VGPU_SANDBOX_SECCOMP);
	h_assign(&h, 50);
	h_stop(&h);
}

static void test_nop_and_info(void **state)
{
	struct vgpu_call_buffer out;
	struct vgpu_device_info info;
	struct harness h;
	struct h_reply r;

	h_start(&h, NULL);
	for (int i = 0; i < 20000; i++)
		assert_int_equal(h_call(&h, VGPU_OP_NOP, 0, NULL, 0, NULL, 0).status, 0);
	for (int i = 0; i < 100000; i++)
		h_post(&h, VGPU_OP_NOP, 0, NULL, 0);
	out = (struct vgpu_call_buffer){ h_address(&h, 64), sizeof(info) };
	r = h_call(&h, VGPU_OP_DEVICE_INFO, 0, &out, sizeof(out), NULL, 0);
	assert_int_equal(r.status, 0);
	assert_int_equal(r.value[0], sizeof(info));
	memcpy(&info, h_heap(&h, 64), sizeof(info));
	assert_int_equal(info.total_bytes, H_QUOTA);
	assert_true(info.attribute[1] >= 256); /* threads per block */
	assert_memory_equal(info.uuid, h.ready.gpu_uuid, 16);
	r = h_call(&h, VGPU_OP_MEM_INFO, 0, NULL, 0, NULL, 0);
	assert_int_equal(r.value[0], H_QUOTA);
	assert_int_equal(r.value[1], H_QUOTA);
	/* not heap: refused, nothing written anywhere */
	out.address = 0x1000;
	r = h_call(&h, VGPU_OP_DEVICE_INFO, 0, &out, sizeof(out), NULL, 0);
	assert_int_equal(r.status, VGPU_ERROR_CALL_ADDRESS);
	assert_int_equal(h.producer.control.header->posted_errors, 0);
	h_stop(&h);
}

static void fill(uint8_t *at, size_t bytes, uint32_t seed)
{
	for (size_t i = 0; i < bytes; i++) {
		seed = seed * 1664525 + 1013904223;
		at[i] = (uint8_t)(seed >> 24);
	}
}

static void test_copies(void **state)
{
	const size_t bytes = 5 * H_MIB + 13;
	const char word[] = "sixteen bytes...";
	struct vgpu_call_inline in = { .bytes = 16 };
	struct vgpu_call_memset set = { .count = 1000, .value = 0xa1b2c3d4, .width = 4 };
	struct harness h;
	uint64_t a, b;

	h_start(&h, NULL);
	a = h_alloc(&h, bytes);
	b = h_alloc(&h, bytes);
	fill(h_heap(&h, 3), bytes, 1);
	assert_int_equal(h_copy(&h, VGPU_OP_COPY_H2D, 0, a, h_address(&h, 3), bytes), 0);
	assert_int_equal(h_copy(&h, VGPU_OP_COPY_D2D, 0, b + 1, a, bytes - 1), 0);
	in.dst = b + 100;
	assert_int_equal(h_call(&h, VGPU_OP_COPY_INLINE, 0, &in, sizeof(in), word, 16).status, 0);
	set.dst = b + 4096;
	assert_int_equal(h_call(&h, VGPU_OP_MEMSET, 0, &set, sizeof(set), NULL, 0).status, 0);
	assert_int_equal(h_copy(&h, VGPU_OP_COPY_D2H, 0, h_address(&h, 16 * H_MIB), b + 1, bytes - 1), 0);
	assert_int_equal(h_finish(&h, 0), 0);
	for (size_t i = 0; i < bytes - 1; i++) {
		uint8_t want = h_heap(&h, 3)[i];

		if (i >= 99 && i < 115)
			want = (uint8_t)word[i - 99];
		else if (i >= 4095 && i < 8095)
			want = (uint8_t)(set.value >> (i - 4095) % 4 * 8);
		if (h_heap(&h, 16 * H_MIB)[i] != want)
			fail_msg("byte %zu is %02x, not %02x", i, h_heap(&h, 16 * H_MIB)[i], want);
	}
	assert_int_equal(h_free(&h, a), 0);
	assert_int_equal(h_free(&h, a), VGPU_ERROR_CALL_ADDRESS);
	assert_int_equal(h_free(&h, b), 0);
	h_stop(&h);
}

static void test_addresses(void **state)
{
	int on_stack = 0;
	struct harness h;
	uint64_t a;

	h_start(&h, NULL);
	a = h_alloc(&h, 4096);
	/* over the end by one, host addresses, wild ones, ranges that wrap */
	assert_int_equal(h_copy(&h, VGPU_OP_COPY_H2D, 0, a, h_address(&h, 0), 4097),
			 VGPU_ERROR_CALL_ADDRESS);
	assert_int_equal(h_copy(&h, VGPU_OP_COPY_H2D, 0, a - 1, h_address(&h, 0), 16),
			 VGPU_ERROR_CALL_ADDRESS);
	assert_int_equal(h_copy(&h, VGPU_OP_COPY_H2D, 0, a, h_address(&h, H_HEAP - 15), 16),
			 VGPU_ERROR_CALL_ADDRESS);
	assert_int_equal(h_copy(&h, VGPU_OP_COPY_H2D, 0, a, (uintptr_t)&on_stack, 4),
			 VGPU_ERROR_CALL_ADDRESS);
	assert_int_equal(h_copy(&h, VGPU_OP_COPY_D2H, 0, (uintptr_t)&on_stack, a, 4),
			 VGPU_ERROR_CALL_ADDRESS);
	assert_int_equal(h_copy(&h, VGPU_OP_COPY_D2D, 0, (uintptr_t)&on_stack, a, 4),
			 VGPU_ERROR_CALL_ADDRESS);
	assert_int_equal(h_copy(&h, VGPU_OP_COPY_D2D, 0, h_address(&h, 0), a, 4),
			 VGPU_ERROR_CALL_ADDRESS);
	assert_int_equal(h_copy(&h, VGPU_OP_COPY_D2H, 0, h_address(&h, 0), a, UINT64_MAX),
			 VGPU_ERROR_CALL_ADDRESS);
	assert_int_equal(h_copy(&h, VGPU_OP_COPY_D2H, 0, h_address(&h, 0), a, 0),
			 VGPU_ERROR_CALL_INVALID);
	assert_int_equal(h_copy(&h, VGPU_OP_COPY_D2H, 9, h_address(&h, 0), a, 4),
			 VGPU_ERROR_CALL_HANDLE);
	/* the session goes on */
	assert_int_equal(h_copy(&h, VGPU_OP_COPY_H2D, 0, a, h_address(&h, 0), 4096), 0);
	assert_int_equal(h_finish(&h, 0), 0);
	h_stop(&h);
}

static void test_quota(void **state)
{
	const struct vgpu_call_mem all = { .bytes = H_QUOTA }, one = { .bytes = 1 };
	const struct vgpu_call_mem wild = { .bytes = UINT64_MAX - 5 };
	struct harness h;
	struct h_reply r;

	h_start(&h, NULL);
	h.quota->used_bytes[9] = 4096; /* another session of the VM */
	r = h_call(&h, VGPU_OP_MEM_ALLOC, 0, &all, sizeof(all), NULL, 0);
	assert_int_equal(r.status, VGPU_ERROR_CALL_QUOTA);
	assert_int_equal(h.quota->used_bytes[3], 0);
	h.quota->used_bytes[9] = 0;
	r = h_call(&h, VGPU_OP_MEM_ALLOC, 0, &all, sizeof(all), NULL, 0);
	assert_int_equal(r.status, 0);
	assert_int_equal(h.quota->used_bytes[3], H_QUOTA);
	assert_int_equal(h_call(&h, VGPU_OP_MEM_INFO, 0, NULL, 0, NULL, 0).value[0], 0);
	assert_int_equal(h_call(&h, VGPU_OP_MEM_ALLOC, 0, &one, sizeof(one), NULL, 0).status,
			 VGPU_ERROR_CALL_QUOTA);
	assert_int_equal(h_call(&h, VGPU_OP_MEM_ALLOC, 0, &wild, sizeof(wild), NULL, 0).status,
			 VGPU_ERROR_CALL_QUOTA);
	assert_int_equal(h_free(&h, r.value[0]), 0);
	assert_int_equal(h.quota->used_bytes[3], 0);
	h_free(&h, h_alloc(&h, 1));
	h_stop(&h);
}

static void test_kernel(void **state)
{
	enum { N = 10000 };
	struct {
		uint64_t a, b, c;
		int32_t n;
	} __attribute__((packed)) params;
	struct vgpu_function_info info;
	uint32_t module, function;
	struct harness h;
	float *x, *z;
	uint64_t mem;

	h_start(&h, NULL);
	module = h_module(&h, "vector.ptx");
	function = h_function(&h, module, "vector_add", &info);
	assert_int_equal(info.param_count, 4);
	assert_int_equal(info.param_bytes, 28);
	mem = h_alloc(&h, 3 * N * sizeof(float));
	x = (float *)h_heap(&h, 0);
	for (int i = 0; i < N; i++) {
		x[i] = (float)i;
		x[N + i] = (float)(2 * i + 1);
	}
	assert_int_equal(h_copy(&h, VGPU_OP_COPY_H2D, 0, mem, h_address(&h, 0), 2 * N * sizeof(float)), 0);
	params.a = mem;
	params.b = mem + N * sizeof(float);
	params.c = mem + 2 * N * sizeof(float);
	params.n = N;
	assert_int_equal(h_launch(&h, VGPU_OP_LAUNCH_FIRST, 0, 0, function, (N + 255) / 256, 256,
				  &params, sizeof(params)),
			 0);
	/* and a posted one, straight into the heap */
	params.c = h_address(&h, 4 * H_MIB);
	h_launch(&h, VGPU_OP_LAUNCH, VGPU_NO_SLOT, 0, function, (N + 255) / 256, 256, &params,
		 sizeof(params));
	assert_int_equal(h_copy(&h, VGPU_OP_COPY_D2H, 0, h_address(&h, 2 * H_MIB),
				mem + 2 * N * sizeof(float), N * sizeof(float)),
			 0);
	assert_int_equal(h_finish(&h, 0), 0);
	z = (float *)h_heap(&h, 2 * H_MIB);
	for (int i = 0; i < N; i++) {
		assert_true(z[i] == (float)(3 * i + 1));
		assert_true(((float *)h_heap(&h, 4 * H_MIB))[i] == z[i]);
	}
	assert_int_equal(h_launch(&h, VGPU_OP_LAUNCH, 0, 0, function, 1, 1, &params, 27),
			 VGPU_ERROR_CALL_INVALID);
	assert_int_equal(h.producer.control.header->posted_errors, 0);
	h_stop(&h);
}

/* The flag's word: device memory that holds 0. */
static uint64_t flag_new(struct harness *h)
{
	struct vgpu_call_memset set = { .count = 1, .width = 4 };

	set.dst = h_alloc(h, 4);
	assert_int_equal(h_call(h, VGPU_OP_MEMSET, 0, &set, sizeof(set), NULL, 0).status, 0);
	assert_int_equal(h_finish(h, 0), 0);
	return set.dst;
}

struct flag_params {
	uint64_t flag;
	uint32_t value;
} __attribute__((packed));

struct basics {
	uint32_t module, empty, spin, set, oob;
};

static void basics_load(struct harness *h, struct basics *b)
{
	const struct flag_params p = { flag_new(h), 0 };
	struct vgpu_function_info info;

	b->module = h_module(h, "basic.ptx");
	b->empty = h_function(h, b->module, "empty", &info);
	b->spin = h_function(h, b->module, "spin_flag", &info);
	b->set = h_function(h, b->module, "set_flag", &info);
	b->oob = h_function(h, b->module, "write_oob", &info);
	assert_int_equal(h_launch(h, VGPU_OP_LAUNCH_FIRST, 0, 0, b->empty, 1, 1, NULL, 0), 0);
	assert_int_equal(h_launch(h, VGPU_OP_LAUNCH_FIRST, 0, 0, b->spin, 1, 1, &p, sizeof(p)), 0);
	assert_int_equal(h_launch(h, VGPU_OP_LAUNCH_FIRST, 0, 0, b->set, 1, 1, &p, sizeof(p)), 0);
	assert_int_equal(h_finish(h, 0), 0);
}

/* A kernel on stream A waits for a flag, A is full behind it; B sets the flag. */
static void test_full_stream(void **state)
{
	struct flag_params p = { .value = 1 };
	struct basics b;
	struct harness h;
	uint32_t a, other;

	h_start(&h, NULL);
	basics_load(&h, &b);
	p.flag = flag_new(&h);
	a = h_stream(&h, 1);
	other = h_stream(&h, 1);
	h_launch(&h, VGPU_OP_LAUNCH, VGPU_NO_SLOT, a, b.spin, 1, 1, &p, sizeof(p));
	for (int i = 0; i < 1600; i++)
		h_launch(&h, VGPU_OP_LAUNCH, VGPU_NO_SLOT, a, b.empty, 1, 1, NULL, 0);
	assert_int_equal(h_call(&h, VGPU_OP_STREAM_QUERY, a, NULL, 0, NULL, 0).status, 600);
	assert_int_equal(h_launch(&h, VGPU_OP_LAUNCH, 0, other, b.set, 1, 1, &p, sizeof(p)), 0);
	assert_int_equal(h_finish(&h, a), 0);
	assert_int_equal(h_call(&h, VGPU_OP_STREAM_SYNC, a, NULL, 0, NULL, 0).status, 0);
	assert_int_equal(h_call(&h, VGPU_OP_STREAM_QUERY, a, NULL, 0, NULL, 0).status, 0);
	assert_int_equal(h_call(&h, VGPU_OP_STREAM_DESTROY, a, NULL, 0, NULL, 0).status, 0);
	assert_int_equal(h_call(&h, VGPU_OP_STREAM_QUERY, a, NULL, 0, NULL, 0).status,
			 VGPU_ERROR_CALL_HANDLE);
	assert_int_equal(h.producer.control.header->posted_errors, 0);
	h_stop(&h);
}

/* A word of the heap that kernels wait for and the test sets. */
static volatile uint32_t *host_flag(struct harness *h, struct flag_params *p)
{
	volatile uint32_t *flag = (volatile uint32_t *)(void *)h_heap(h, H_HEAP - 64);

	*flag = 0;
	*p = (struct flag_params){ h_address(h, H_HEAP - 64), 1 };
	return flag;
}

/* Many streams, each with a kernel that waits and more behind it than the driver takes. */
static void test_full_streams(void **state)
{
	enum { STREAMS = 24 };
	volatile uint32_t *flag;
	uint32_t stream[STREAMS];
	struct flag_params p;
	struct basics b;
	struct harness h;

	h_start(&h, NULL);
	basics_load(&h, &b);
	flag = host_flag(&h, &p);
	for (int s = 0; s < STREAMS; s++) {
		stream[s] = h_stream(&h, 1);
		h_launch(&h, VGPU_OP_LAUNCH, VGPU_NO_SLOT, stream[s], b.spin, 1, 1, &p, sizeof(p));
		for (int i = 0; i < 1000; i++)
			h_launch(&h, VGPU_OP_LAUNCH, VGPU_NO_SLOT, stream[s], b.empty, 1, 1, NULL, 0);
	}
	assert_int_equal(h_call(&h, VGPU_OP_NOP, 0, NULL, 0, NULL, 0).status, 0);
	assert_int_equal(h_call(&h, VGPU_OP_STREAM_QUERY, stream[0], NULL, 0, NULL, 0).status, 600);
	*flag = 1;
	for (int s = 0; s < STREAMS; s++)
		assert_int_equal(h_finish(&h, stream[s]), 0);
	assert_int_equal(h.producer.control.header->posted_errors, 0);
	h_stop(&h);
}

static const char big_ptx[] = ".version 7.0\n.target sm_70\n.address_size 64\n"
			      ".visible .entry big(.param .align 8 .b8 p[4000]){\n\tret;\n}\n";

static uint32_t big_function(struct harness *h)
{
	struct vgpu_call_module load = { .image = h_address(h, 0), .image_bytes = sizeof(big_ptx) - 1 };
	static const uint8_t params[4000];
	struct vgpu_function_info info;
	struct h_reply r;
	uint32_t f;

	memcpy(h_heap(h, 0), big_ptx, sizeof(big_ptx));
	r = h_call(h, VGPU_OP_MODULE_LOAD, 0, &load, sizeof(load), NULL, 0);
	assert_int_equal(r.status, 0);
	f = h_function(h, (uint32_t)r.value[0], "big", &info);
	assert_int_equal(info.param_bytes, sizeof(params));
	assert_int_equal(h_launch(h, VGPU_OP_LAUNCH_FIRST, 0, 0, f, 1, 1, params, sizeof(params)), 0);
	return f;
}

/* Posts one command of a kind. */
static void post_kind(struct harness *h, int kind, uint32_t stream, uint64_t mem, uint32_t big,
		      uint32_t event)
{
	static const uint8_t bytes[32768];
	struct vgpu_call_inline in = { .dst = mem, .bytes = kind == 1 ? 32768 : 4 };
	struct vgpu_call_memset set = { .dst = mem, .count = 4096, .width = 4 };
	struct vgpu_call_copy copy = { .dst = h_address(h, H_MIB), .src = mem, .bytes = 4096 };
	struct vgpu_call_event record = { .event = event };
	struct h_call c = { .op = VGPU_OP_COPY_INLINE, .stream = stream, .slot = VGPU_NO_SLOT,
			    .head = &in, .head_bytes = sizeof(in), .tail = bytes, .tail_bytes = in.bytes };

	switch (kind) {
	case 0:
		h_launch(h, VGPU_OP_LAUNCH, VGPU_NO_SLOT, stream, big, 1, 1, bytes, 4000);
		break;
	case 1:
	case 2:
		h_put(h, &c);
		break;
	case 3:
		h_post(h, VGPU_OP_MEMSET, stream, &set, sizeof(set));
		break;
	case 4:
		h_post(h, VGPU_OP_COPY_D2H, stream, &copy, sizeof(copy));
		break;
	default:
		h_post(h, VGPU_OP_EVENT_RECORD, stream, &record, sizeof(record));
	}
}

/* Whatever fills a stream, the issue thread does not block in the driver: it answers. */
static void test_full_kinds(void **state)
{
	static const int count[] = { 420, 78, 1500, 1500, 1500, 1500 };
	struct vgpu_call_event event = { 0 };
	volatile uint32_t *flag;
	struct flag_params p;
	uint32_t big, stream;
	struct basics b;
	struct harness h;
	uint64_t mem;

	h_start(&h, NULL);
	basics_load(&h, &b);
	big = big_function(&h);
	mem = h_alloc(&h, 65536);
	stream = h_stream(&h, 1);
	event.event = (uint32_t)h_call(&h, VGPU_OP_EVENT_CREATE, 0, &event, sizeof(event), NULL, 0).value[0];
	for (int kind = 0; kind < 6; kind++) {
		flag = host_flag(&h, &p);
		h_launch(&h, VGPU_OP_LAUNCH, VGPU_NO_SLOT, stream, b.spin, 1, 1, &p, sizeof(p));
		for (int i = 0; i < count[kind]; i++)
			post_kind(&h, kind, stream, mem, big, event.event);
		for (int i = 0; i < 100; i++)
			assert_int_equal(h_call(&h, VGPU_OP_NOP, 0, NULL, 0, NULL, 0).status, 0);
		assert_int_equal(h_call(&h, VGPU_OP_STREAM_QUERY, stream, NULL, 0, NULL, 0).status, 600);
		*flag = 1;
		assert_int_equal(h_finish(&h, stream), 0);
	}
	assert_int_equal(h.producer.control.header->posted_errors, 0);
	h_stop(&h);
}

/* As many waits as there are slots, for streams that stand still: everybody else is served. */
static void test_many_waits(void **state)
{
	enum { STREAMS = 4, WAITS = 240 };
	struct vgpu_call_event event = { 0 };
	uint32_t stream[STREAMS], seq[WAITS + 1];
	volatile uint32_t *flag;
	struct flag_params p;
	struct basics b;
	struct harness h;

	h_start(&h, NULL);
	basics_load(&h, &b);
	event.event = (uint32_t)h_call(&h, VGPU_OP_EVENT_CREATE, 0, &event, sizeof(event), NULL, 0).value[0];
	flag = host_flag(&h, &p);
	for (int s = 0; s < STREAMS; s++) {
		stream[s] = h_stream(&h, 1);
		h_launch(&h, VGPU_OP_LAUNCH, VGPU_NO_SLOT, stream[s], b.spin, 1, 1, &p, sizeof(p));
	}
	h_post(&h, VGPU_OP_EVENT_RECORD, stream[0], &event, sizeof(event));
	for (uint32_t i = 1; i <= WAITS; i++) {
		struct h_call c = { .op = VGPU_OP_STREAM_SYNC, .slot = i, .stream = stream[i % STREAMS] };

		if (i % 8 == 5)
			c = (struct h_call){ .op = VGPU_OP_CONTEXT_SYNC, .slot = i };
		if (i % 8 == 6)
			c = (struct h_call){ .op = VGPU_OP_EVENT_SYNC, .slot = i, .head = &event,
					     .head_bytes = sizeof(event) };
		seq[i] = h_put(&h, &c);
	}
	for (int i = 0; i < 100; i++)
		assert_int_equal(h_call(&h, VGPU_OP_NOP, 0, NULL, 0, NULL, 0).status, 0);
	usleep(100000);
	for (int i = 0; i < 100; i++)
		assert_int_equal(h_call(&h, VGPU_OP_NOP, 0, NULL, 0, NULL, 0).status, 0);
	for (int s = 0; s < STREAMS; s++)
		assert_int_equal(h_launch(&h, VGPU_OP_LAUNCH, 0, stream[s], b.empty, 1, 1, NULL, 0), 0);
	for (uint32_t i = 1; i <= WAITS; i++)
		assert_false(h_replied(&h, i, seq[i]));
	*flag = 1;
	for (uint32_t i = 1; i <= WAITS; i++)
		assert_int_equal(h_wait(&h, i, seq[i]).status, 0);
	h_stop(&h);
}

static uint64_t issued(const struct harness *h, uint32_t stream)
{
	return __atomic_load_n(&h->producer.control.stream[stream].issued_bytes, __ATOMIC_ACQUIRE);
}

/* While the gate is shut nothing reaches the driver, calls of the host class are answered, and what
 * comes after parked commands waits; opened, everything happens in order. */
static void test_gate(void **state)
{
	const struct h_call sync = { .op = VGPU_OP_CONTEXT_SYNC, .slot = 1 };
	struct vgpu_call_memset set = { .count = 4096, .value = 7, .width = 1 };
	struct vgpu_call_mem mem = { 0 };
	struct h_call release = { VGPU_OP_MEM_FREE, 0, 2, &mem, sizeof(mem), NULL, 0 };
	struct harness h;
	uint32_t sync_seq, free_seq;
	uint64_t before;

	h_start(&h, NULL);
	mem.address = set.dst = h_alloc(&h, 4096);
	before = issued(&h, 0);
	__atomic_store_n(&h.gate->gate, 0, __ATOMIC_SEQ_CST);
	h_post(&h, VGPU_OP_MEMSET, 0, &set, sizeof(set));
	sync_seq = h_put(&h, &sync);
	free_seq = h_put(&h, &release);
	assert_int_equal(h_call(&h, VGPU_OP_STREAM_QUERY, 0, NULL, 0, NULL, 0).status, 600);
	usleep(20000);
	assert_int_equal(h_call(&h, VGPU_OP_NOP, 0, NULL, 0, NULL, 0).status, 0);
	assert_int_equal(issued(&h, 0), before);
	assert_false(h_replied(&h, 1, sync_seq));
	assert_false(h_replied(&h, 2, free_seq));
	/* freed already, as later calls see it */
	assert_int_equal(h_copy(&h, VGPU_OP_COPY_D2H, 0, h_address(&h, 0), set.dst, 4),
			 VGPU_ERROR_CALL_ADDRESS);
	__atomic_store_n(&h.gate->gate, 1, __ATOMIC_SEQ_CST);
	assert_int_equal(h_wait(&h, 1, sync_seq).status, 0);
	assert_int_equal(h_wait(&h, 2, free_seq).status, 0);
	assert_true(issued(&h, 0) > before);
	h_stop(&h);
}

/* Parked entries of several streams: legacy and blocking streams, and events, keep CUDA's order. */
static void test_parked_order(void **state)
{
	struct vgpu_call_event event = { 0 };
	struct vgpu_call_memset set = { .count = H_MIB, .width = 1 };
	struct vgpu_call_copy copy = { .bytes = H_MIB };
	struct harness h;
	uint32_t blocking, free_a, free_b;
	uint64_t x, y;

	h_start(&h, NULL);
	blocking = h_stream(&h, 0);
	free_a = h_stream(&h, 1);
	free_b = h_stream(&h, 1);
	event.event = (uint32_t)h_call(&h, VGPU_OP_EVENT_CREATE, 0, &event, sizeof(event), NULL, 0).value[0];
	assert_int_not_equal(event.event, 0);
	x = h_alloc(&h, H_MIB);
	y = h_alloc(&h, H_MIB);
	for (int round = 1; round < 20; round++) {
		__atomic_store_n(&h.gate->gate, 0, __ATOMIC_SEQ_CST);
		/* x: legacy, then blocking, then legacy: the last one must win */
		set.dst = x;
		set.value = 100;
		h_post(&h, VGPU_OP_MEMSET, 0, &set, sizeof(set));
		set.value = 101;
		h_post(&h, VGPU_OP_MEMSET, blocking, &set, sizeof(set));
		set.value = (uint32_t)round;
		h_post(&h, VGPU_OP_MEMSET, 0, &set, sizeof(set));
		/* y: written on a, waited for by b through the event, which is recorded again behind */
		set.dst = y;
		set.value = (uint32_t)round + 50;
		h_post(&h, VGPU_OP_MEMSET, free_a, &set, sizeof(set));
		h_post(&h, VGPU_OP_EVENT_RECORD, free_a, &event, sizeof(event));
		h_post(&h, VGPU_OP_STREAM_WAIT_EVENT, free_b, &event, sizeof(event));
		copy.dst = h_address(&h, 0);
		copy.src = y;
		h_post(&h, VGPU_OP_COPY_D2H, free_b, &copy, sizeof(copy));
		h_post(&h, VGPU_OP_EVENT_RECORD, free_b, &event, sizeof(event));
		assert_int_equal(
			h_call(&h, VGPU_OP_EVENT_QUERY, 0, &event, sizeof(event), NULL, 0).status, 600);
		copy.dst = h_address(&h, 2 * H_MIB);
		copy.src = x;
		h_post(&h, VGPU_OP_COPY_D2H, blocking, &copy, sizeof(copy));
		__atomic_store_n(&h.gate->gate, 1, __ATOMIC_SEQ_CST);
		assert_int_equal(h_call(&h, VGPU_OP_EVENT_SYNC, 0, &event, sizeof(event), NULL, 0).status,
				 0);
		assert_int_equal(h_finish(&h, free_b), 0);
		assert_int_equal(h_finish(&h, blocking), 0);
		for (int i = 0; i < H_MIB; i += 511) {
			assert_int_equal(h_heap(&h, 0)[i], round + 50);
			assert_int_equal(h_heap(&h, 2 * H_MIB)[i], round);
		}
	}
	assert_int_equal(h.producer.control.header->posted_errors, 0);
	h_stop(&h);
}

static void test_events(void **state)
{
	struct vgpu_call_event start = { 0 }, end = { 0 }, span;
	struct vgpu_call_memset set = { .count = H_MIB, .width = 4 };
	struct harness h;
	struct h_reply r;
	uint32_t bits;
	float ms;

	h_start(&h, NULL);
	start.event = (uint32_t)h_call(&h, VGPU_OP_EVENT_CREATE, 0, &start, sizeof(start), NULL, 0).value[0];
	end.event = (uint32_t)h_call(&h, VGPU_OP_EVENT_CREATE, 0, &end, sizeof(end), NULL, 0).value[0];
	assert_int_not_equal(start.event, end.event);
	set.dst = h_alloc(&h, 4 * H_MIB);
	h_post(&h, VGPU_OP_EVENT_RECORD, 0, &start, sizeof(start));
	h_post(&h, VGPU_OP_MEMSET, 0, &set, sizeof(set));
	h_post(&h, VGPU_OP_EVENT_RECORD, 0, &end, sizeof(end));
	assert_int_equal(h_call(&h, VGPU_OP_EVENT_SYNC, 0, &end, sizeof(end), NULL, 0).status, 0);
	assert_int_equal(h_call(&h, VGPU_OP_EVENT_QUERY, 0, &end, sizeof(end), NULL, 0).status, 0);
	span = start;
	span.end = end.event;
	r = h_call(&h, VGPU_OP_EVENT_ELAPSED, 0, &span, sizeof(span), NULL, 0);
	assert_int_equal(r.status, 0);
	bits = (uint32_t)r.value[0];
	memcpy(&ms, &bits, sizeof(ms));
	assert_true(ms >= 0 && ms < 20000);
	/* the handle goes at once, the event when the parked record has been issued */
	__atomic_store_n(&h.gate->gate, 0, __ATOMIC_SEQ_CST);
	h_post(&h, VGPU_OP_EVENT_RECORD, 0, &end, sizeof(end));
	assert_int_equal(h_call(&h, VGPU_OP_EVENT_DESTROY, 0, &end, sizeof(end), NULL, 0).status, 0);
	assert_int_equal(h_call(&h, VGPU_OP_EVENT_DESTROY, 0, &end, sizeof(end), NULL, 0).status,
			 VGPU_ERROR_CALL_HANDLE);
	__atomic_store_n(&h.gate->gate, 1, __ATOMIC_SEQ_CST);
	assert_int_equal(h_finish(&h, 0), 0);
	assert_int_equal(h.producer.control.header->posted_errors, 0);
	h_post(&h, VGPU_OP_EVENT_RECORD, 0, &end, sizeof(end));
	h_finish(&h, 0);
	assert_int_equal(h.producer.control.header->posted_errors, 1);
	assert_int_equal(h.producer.control.header->posted_error, VGPU_ERROR_CALL_HANDLE);
	h_stop(&h);
}

static void test_limits(void **state)
{
	const struct vgpu_call_stream create = { 0 };
	struct harness h;
	struct h_reply r;
	uint32_t made = 0;

	h_start(&h, NULL);
	do {
		r = h_call(&h, VGPU_OP_STREAM_CREATE, 0, &create, sizeof(create), NULL, 0);
		made += r.status == 0;
	} while (!r.status && made < 1000);
	assert_int_equal(r.status, VGPU_ERROR_CALL_LIMIT);
	assert_int_equal(made, VGPU_STREAMS - 1);
	for (uint32_t i = 1; i < VGPU_STREAMS; i++) {
		assert_int_equal(h_finish(&h, i), 0);
		assert_int_equal(h_call(&h, VGPU_OP_STREAM_DESTROY, i, NULL, 0, NULL, 0).status, 0);
	}
	/* their handles come back as soon as they have run dry */
	do
		r = h_call(&h, VGPU_OP_STREAM_CREATE, 0, &create, sizeof(create), NULL, 0);
	while (r.status == VGPU_ERROR_CALL_LIMIT);
	assert_int_equal(r.status, 0);
	assert_int_equal(h.producer.control.stream[r.value[0]].completed, 0);
	assert_int_equal(h_call(&h, VGPU_OP_STREAM_DESTROY, 0, NULL, 0, NULL, 0).status,
			 VGPU_ERROR_CALL_HANDLE);
	h_stop(&h);
}

static void test_modules(void **state)
{
	static const char bad[] = ".version 7.0\n.target sm_70\n.address_size 64\nnonsense here;\n";
	struct vgpu_call_module load = { 0 }, unload = { 0 };
	struct vgpu_call_name name = { 0 };
	struct harness h;
	struct h_reply r;
	struct basics b;

	h_start(&h, NULL);
	basics_load(&h, &b);
	name.module = b.module;
	name.name_bytes = 7;
	r = h_call(&h, VGPU_OP_FUNCTION_GET, 0, &name, sizeof(name), "missing", 7);
	assert_int_equal(r.status, 500);
	memcpy(h_heap(&h, 0), bad, sizeof(bad));
	load.image = h_address(&h, 0);
	load.image_bytes = sizeof(bad) - 1;
	load.log = h_address(&h, H_MIB);
	load.log_bytes = 1000;
	r = h_call(&h, VGPU_OP_MODULE_LOAD, 0, &load, sizeof(load), NULL, 0);
	assert_int_equal(r.status, 218);
	assert_true(r.value[1] > 0);
	/* a fatbin that claims more than it has */
	memcpy(h_heap(&h, 0), "\x50\xed\x55\xba\x01\x00\x10\x00\x00\x00\x00\x10\x00\x00\x00\x00", 16);
	load.image_bytes = 64;
	r = h_call(&h, VGPU_OP_MODULE_LOAD, 0, &load, sizeof(load), NULL, 0);
	assert_int_equal(r.status, 200);
	unload.module = b.module;
	assert_int_equal(h_call(&h, VGPU_OP_MODULE_UNLOAD, 0, &unload, sizeof(unload), NULL, 0).status, 0);
	assert_int_equal(h_call(&h, VGPU_OP_MODULE_UNLOAD, 0, &unload, sizeof(unload), NULL, 0).status,
			 VGPU_ERROR_CALL_HANDLE);
	assert_int_equal(h_launch(&h, VGPU_OP_LAUNCH, 0, 0, b.empty, 1, 1, NULL, 0),
			 VGPU_ERROR_CALL_HANDLE);
	h_stop(&h);
}

/* An illegal address ends the context: everything then says so, also what was pending. */
static void test_fault(void **state)
{
	const struct h_call sync = { .op = VGPU_OP_CONTEXT_SYNC, .slot = 1 };
	struct flag_params p = { .value = 1 };
	struct harness h;
	struct basics b;
	uint32_t seq, sticky;

	h_start(&h, NULL);
	basics_load(&h, &b);
	p.flag = 0x10;
	assert_int_equal(h_launch(&h, VGPU_OP_LAUNCH_FIRST, 0, 0, b.oob, 1, 1, &p, sizeof(p)), 0);
	sticky = h_finish(&h, 0);
	assert_int_equal(sticky, 700);
	seq = h_put(&h, &sync);
	assert_int_equal(h_wait(&h, 1, seq).status, 700);
	assert_int_equal(h_call(&h, VGPU_OP_NOP, 0, NULL, 0, NULL, 0).status, 700);
	assert_int_equal(h.gate->faults, 1);
	h_stop(&h);
}

/* The same found by the watch alone: nothing is called after the launch. */
static void test_fault_parked(void **state)
{
	const struct h_call sync = { .op = VGPU_OP_STREAM_SYNC, .slot = 1 };
	struct flag_params p = { .flag = 0x10, .value = 1 };
	struct harness h;
	struct basics b;
	uint32_t seq;

	h_start(&h, NULL);
	basics_load(&h, &b);
	assert_int_equal(h_launch(&h, VGPU_OP_LAUNCH_FIRST, 0, 0, b.oob, 1, 1, &p, sizeof(p)), 0);
	__atomic_store_n(&h.gate->gate, 0, __ATOMIC_SEQ_CST);
	h_launch(&h, VGPU_OP_LAUNCH, VGPU_NO_SLOT, 0, b.empty, 1, 1, NULL, 0);
	seq = h_put(&h, &sync);
	assert_int_equal(h_wait(&h, 1, seq).status, 700);
	assert_int_equal(__atomic_load_n(&h.producer.control.header->sticky, __ATOMIC_ACQUIRE), 700);
	h_stop(&h);
}

static void test_control(void **state)
{
	struct vgpu_executor_header hello = { 0 };
	struct vgpu_executor_heap heap = { .window_offset = 2 * H_MIB, .bytes = 2 * H_MIB };
	struct vgpu_executor_result result;
	struct vgpu_executor_ready report;
	struct harness h;

	h_start(&h, NULL);
	h_send(&h, &hello, VGPU_EXECUTOR_HELLO, sizeof(hello), NULL, 0);
	h_expect(&h, &report, sizeof(report), VGPU_EXECUTOR_REPORT);
	assert_int_equal(report.sid, 1);
	assert_int_equal(report.link_epoch, 7);
	assert_int_equal(report.quota_slot, 3);
	assert_int_equal(report.vm_uuid[15], 0x5a);
	/* a mediator that was replaced asks again for what is there */
	heap.window_offset = 2 * H_MIB;
	heap.bytes = H_HEAP;
	h_send(&h, &heap, VGPU_EXECUTOR_HEAP_ADD, sizeof(heap), NULL, 0);
	h_expect(&h, &result, sizeof(result), VGPU_EXECUTOR_HEAP_ADDED);
	assert_int_equal(result.error, 0);
	heap.bytes = 2 * H_MIB;
	/* runs that overlap, are not aligned, or leave the window */
	h_send(&h, &heap, VGPU_EXECUTOR_HEAP_ADD, sizeof(heap), NULL, 0);
	h_expect(&h, &result, sizeof(result), VGPU_EXECUTOR_HEAP_ADDED);
	assert_int_equal(result.error, VGPU_ERROR_CALL_INVALID);
	heap.heap_offset = H_HEAP + 4096;
	h_send(&h, &heap, VGPU_EXECUTOR_HEAP_ADD, sizeof(heap), NULL, 0);
	h_expect(&h, &result, sizeof(result), VGPU_EXECUTOR_HEAP_ADDED);
	assert_int_equal(result.error, VGPU_ERROR_CALL_INVALID);
	heap.heap_offset = H_HEAP;
	heap.window_offset = H_WINDOW;
	h_send(&h, &heap, VGPU_EXECUTOR_HEAP_ADD, sizeof(heap), NULL, 0);
	h_expect(&h, &result, sizeof(result), VGPU_EXECUTOR_HEAP_ADDED);
	assert_int_equal(result.error, VGPU_ERROR_CALL_INVALID);
	assert_int_equal(h_call(&h, VGPU_OP_NOP, 0, NULL, 0, NULL, 0).status, 0);
	/* nobody holds the other end any more */
	assert_int_equal(h_reap(&h), 0);
}

static void test_no_driver(void **state)
{
	const char *driver = getenv("VGPU_TEST_DRIVER");
	struct harness h;
	char *kept;

	assert_non_null(driver);
	kept = strdup(driver);

	setenv("VGPU_TEST_DRIVER", "/nonexistent/libcuda.so.1", 1);
	h_spawn(&h, NULL);
	setenv("VGPU_TEST_DRIVER", kept, 1);
	free(kept);
	assert_int_equal(h.ready.error, VGPU_ERROR_GPU_NONE);
	assert_non_null(strstr(h.ready.text, "/nonexistent"));
	h_stop(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ready),	     cmocka_unit_test(test_no_driver),
		cmocka_unit_test(test_control),	     cmocka_unit_test(test_nop_and_info),
		cmocka_unit_test(test_copies),	     cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_quota),	     cmocka_unit_test(test_kernel),
		cmocka_unit_test(test_modules),	     cmocka_unit_test(test_full_stream),
		cmocka_unit_test(test_full_streams), cmocka_unit_test(test_full_kinds),
		cmocka_unit_test(test_many_waits),
		cmocka_unit_test(test_gate),	     cmocka_unit_test(test_parked_order),
		cmocka_unit_test(test_events),	     cmocka_unit_test(test_limits),
		cmocka_unit_test(test_fault),	     cmocka_unit_test(test_fault_parked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
