// SPDX-License-Identifier: MIT
/* The ring alone: order per producer, wrap, full ring, impossible lengths, sleep. */
#include "common/ring/ring.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <cmocka.h>

enum { CONTROL_BYTES = 2 << 20, PRODUCERS = 4, PER_PRODUCER = 20000 };

static void *control_new(void)
{
	void *p = mmap(NULL, CONTROL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

static int put(struct vgpu_producer *p, const struct vgpu_entry *e, const void *payload)
{
	uint64_t pos;
	int rc = vgpu_ring_reserve(p, e->bytes, &pos);

	if (rc)
		return rc;
	vgpu_ring_write(&p->control, pos, e, sizeof(*e));
	vgpu_ring_write(&p->control, pos + sizeof(*e), payload, e->bytes - sizeof(*e));
	return vgpu_ring_commit(p, pos);
}

struct job {
	struct vgpu_producer *producer;
	uint32_t thread;
};

static void *produce(void *arg)
{
	struct job *j = arg;
	unsigned int state = j->thread + 1;
	static __thread uint8_t payload[VGPU_ENTRY_MAX];

	for (uint32_t i = 0; i < PER_PRODUCER; i++) {
		size_t n = i % 100 ? (size_t)(rand_r(&state) % 200) : VGPU_ENTRY_MAX - sizeof(struct vgpu_entry);
		struct vgpu_entry e = { .bytes = (uint32_t)(sizeof(e) + n), .thread = j->thread, .seq = i };

		memset(payload, (int)(i ^ j->thread), n);
		while (put(j->producer, &e, payload) == -EAGAIN)
			sched_yield();
	}
	return NULL;
}

static void many_producers_keep_their_order(void **state)
{
	void *base = control_new();
	struct vgpu_producer p = { .control = vgpu_control_at(base) };
	struct vgpu_consumer c = { .control = vgpu_control_at(base) };
	static uint8_t buffer[VGPU_ENTRY_MAX + VGPU_CELL_BYTES];
	uint32_t next[PRODUCERS] = { 0 };
	struct job job[PRODUCERS];
	pthread_t thread[PRODUCERS];

	for (uint32_t i = 0; i < PRODUCERS; i++) {
		job[i] = (struct job){ &p, i };
		assert_int_equal(pthread_create(&thread[i], NULL, produce, &job[i]), 0);
	}
	for (uint32_t got = 0; got < PRODUCERS * PER_PRODUCER;) {
		struct vgpu_entry e;
		int n = vgpu_ring_take(&c, buffer);

		assert_true(n >= 0);
		if (!n) {
			vgpu_ring_publish(&c);
			sched_yield();
			continue;
		}
		memcpy(&e, buffer, sizeof(e));
		assert_int_equal(e.bytes, n);
		assert_true(e.thread < PRODUCERS);
		assert_int_equal(e.seq, next[e.thread]++);
		for (int k = sizeof(e); k < n; k++)
			assert_int_equal(buffer[k], (uint8_t)(e.seq ^ e.thread));
		if (++got % 64 == 0)
			vgpu_ring_publish(&c);
	}
	for (int i = 0; i < PRODUCERS; i++)
		pthread_join(thread[i], NULL);
	munmap(base, CONTROL_BYTES);
}

static void a_full_ring_refuses(void **state)
{
	void *base = control_new();
	struct vgpu_producer p = { .control = vgpu_control_at(base) };
	struct vgpu_consumer c = { .control = vgpu_control_at(base) };
	static uint8_t buffer[VGPU_ENTRY_MAX + VGPU_CELL_BYTES], payload[32];
	struct vgpu_entry e = { .bytes = sizeof(e) + sizeof(payload) };

	for (int i = 0; i < VGPU_RING_CELLS; i++)
		assert_int_equal(put(&p, &e, payload), 0);
	assert_int_equal(put(&p, &e, payload), -EAGAIN);
	assert_int_equal(vgpu_ring_take(&c, buffer), e.bytes);
	assert_int_equal(put(&p, &e, payload), -EAGAIN);
	vgpu_ring_publish(&c);
	assert_int_equal(put(&p, &e, payload), 0);
	assert_int_equal(put(&p, &e, payload), -EAGAIN);
	munmap(base, CONTROL_BYTES);
}

static void impossible_lengths_end_the_session(void **state)
{
	static const uint32_t bad[] = { 0, 1, 31, VGPU_ENTRY_MAX + 1, 0x7fffffff, 0xffffffff };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		void *base = control_new();
		struct vgpu_consumer c = { .control = vgpu_control_at(base) };
		static uint8_t buffer[VGPU_ENTRY_MAX + VGPU_CELL_BYTES];

		memcpy(c.control.ring, &bad[i], 4);
		c.control.stamp[0] = 1;
		assert_int_equal(vgpu_ring_take(&c, buffer), -EPROTO);
		munmap(base, CONTROL_BYTES);
	}
}

static void old_payload_is_no_entry(void **state)
{
	void *base = control_new();
	struct vgpu_producer p = { .control = vgpu_control_at(base) };
	struct vgpu_consumer c = { .control = vgpu_control_at(base) };
	static uint8_t buffer[VGPU_ENTRY_MAX + VGPU_CELL_BYTES], payload[32];
	struct vgpu_entry e = { .bytes = sizeof(e) + sizeof(payload) };

	for (int i = 0; i < 3 * VGPU_RING_CELLS; i++) {
		assert_int_equal(vgpu_ring_take(&c, buffer), 0);
		assert_int_equal(put(&p, &e, payload), 0);
		assert_int_equal(vgpu_ring_take(&c, buffer), e.bytes);
		vgpu_ring_publish(&c);
	}
	munmap(base, CONTROL_BYTES);
}

static void a_sleeper_is_rung(void **state)
{
	void *base = control_new();
	struct vgpu_producer p = { .control = vgpu_control_at(base) };
	struct vgpu_consumer c = { .control = vgpu_control_at(base) };
	static uint8_t buffer[VGPU_ENTRY_MAX + VGPU_CELL_BYTES];
	struct vgpu_entry e = { .bytes = sizeof(e) };

	assert_int_equal(put(&p, &e, NULL), 0);
	assert_false(vgpu_ring_sleep(&c));
	assert_true(vgpu_ring_take(&c, buffer) > 0);
	assert_true(vgpu_ring_sleep(&c));
	assert_int_equal(put(&p, &e, NULL), 1);
	vgpu_ring_awake(&c);
	assert_int_equal(put(&p, &e, NULL), 0);
	munmap(base, CONTROL_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_producers_keep_their_order),
		cmocka_unit_test(a_full_ring_refuses),
		cmocka_unit_test(impossible_lengths_end_the_session),
		cmocka_unit_test(old_payload_is_no_entry),
		cmocka_unit_test(a_sleeper_is_rung),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
