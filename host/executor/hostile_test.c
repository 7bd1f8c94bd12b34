/* SPDX-License-Identifier: MIT */
/*
 * What a client can do to its executor: garbage, rewriting, floods, reuse. The session may end, with
 * a message and exit status 0; a crash of the executor is a defect. Other sessions do not notice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/executor/harness.h"

static uint32_t random_state = 1;

static uint32_t random_u32(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state;
}

/* True while the session serves; false once it has ended, cleanly or by a lost context. */
static bool session_lives(struct harness *h)
{
	return !__atomic_load_n(&h->producer.control.header->sticky, __ATOMIC_ACQUIRE);
}

/* The executor has gone, or goes now that nobody holds its socket: never by a signal. */
static void reap_clean(struct harness *h)
{
	int status = h_reap(h);

	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail_msg("the executor ended with status %#x", status);
}

/* False: the session has ended, or waits for ever for a stamp that was spoilt. */
static bool put_raw(struct harness *h, const void *bytes, uint32_t length)
{
	uint64_t one = 1, pos;

	for (int tries = 0; vgpu_ring_reserve(&h->producer, length, &pos) < 0; tries++) {
		if (!session_lives(h) || tries > 20000)
			return false;
		usleep(50);
	}
	vgpu_ring_write(&h->producer.control, pos, bytes, length);
	__atomic_store_n(vgpu_ring_stamp(&h->producer.control, pos), vgpu_ring_lap(pos),
			 __ATOMIC_RELEASE);
	/* a full counter rings as well */
	return write(h->doorbell, &one, sizeof(one)) == sizeof(one) || errno == EAGAIN;
}

/* A number that has a chance to get past one check more than noise would. */
static uint64_t random_word(const struct harness *h, uint64_t device)
{
	switch (random_u32() % 12) {
	case 0:
		return h_address(h, random_u32() % H_HEAP);
	case 1:
		return device + random_u32() % 8192;
	case 2:
		return random_u32() % 16;
	case 3:
		return UINT64_MAX - random_u32() % 64;
	case 4:
		return (uint64_t)random_u32() << 32 | random_u32();
	case 5:
		return (uintptr_t)&random_state;
	case 6:
		return 0;
	default:
		return random_u32() % 5000;
	}
}

static uint32_t random_entry(const struct harness *h, uint64_t device, uint8_t *bytes)
{
	static const uint16_t ops[] = {
#define OP_CODE(name, code, class, posted) code,
		VGPU_OPS(OP_CODE)
#undef OP_CODE
	};
	struct vgpu_entry e = { .op = ops[random_u32() % (sizeof(ops) / sizeof(ops[0]))] };
	uint32_t words = random_u32() % 12;

	e.bytes = (uint32_t)sizeof(e) + words * 8;
	e.slot = random_u32() % 2 ? VGPU_NO_SLOT : random_u32() % VGPU_SLOTS;
	e.stream = random_u32() % 4 ? 0 : random_u32() % 4;
	if (random_u32() % 64 == 0)
		e.op = (uint16_t)random_u32();
	if (random_u32() % 64 == 0)
		e.flags = 1;
	for (uint32_t i = 0; i < words; i++) {
		uint64_t w = random_word(h, device);

		memcpy(bytes + sizeof(e) + i * 8, &w, 8);
	}
	memcpy(bytes, &e, sizeof(e));
	if (random_u32() % 5000 == 0) /* a length that ends the session */
		memset(bytes, 0xff, 4);
	return e.bytes;
}

static void test_garbage(void **state)
{
	for (int round = 0; round < 24; round++) {
		struct harness h;
		uint64_t device;
		int sent = 0;

		random_state = 77 + (uint32_t)round;
		h_start(&h, NULL);
		device = h_alloc(&h, 8192);
		for (; sent < 20000 && session_lives(&h); sent++) {
			uint8_t bytes[256];
			uint32_t length = random_entry(&h, device, bytes);

			put_raw(&h, bytes, length);
			/* or most calls would meet a full ring, and slots in use */
			if (sent % 16 == 0)
				usleep(20);
		}
		print_message("%d entries, then %#x\n", sent, h.producer.control.header->sticky);
		reap_clean(&h);
	}
}

struct scribbler {
	struct harness *h;
	_Atomic bool stop;
	bool stamps;
};

/* Changes entries while they are read: lengths, opcodes, payloads; and stamps, if asked. These are
 * races on purpose, which ThreadSanitizer need not tell. */
__attribute__((no_sanitize("thread"))) static void *scribble(void *arg)
{
	struct scribbler *s = arg;
	const struct vgpu_control *c = &s->h->producer.control;
	uint32_t x = 5;

	while (!atomic_load(&s->stop)) {
		volatile uint8_t *cell;

		x = x * 1664525 + 1013904223;
		cell = c->ring + (uint64_t)(x >> 8) % VGPU_RING_CELLS * VGPU_CELL_BYTES;
		cell[x % VGPU_CELL_BYTES] = (uint8_t)(x >> 24);
		cell = c->ring + c->header->head % VGPU_RING_BYTES;
		cell[x % 48] = (uint8_t)(x >> 16);
		if (s->stamps && x % 4096 == 0)
			c->stamp[(x >> 12) % VGPU_RING_CELLS] = x >> 28;
	}
	return NULL;
}

static void rewriting(bool stamps)
{
	const struct vgpu_call_memset set = { .count = 16, .width = 4 };

	for (int round = 0; round < 6; round++) {
		struct scribbler s = { .stamps = stamps };
		struct harness h;
		pthread_t thread;
		uint64_t device;

		h_start(&h, NULL);
		device = h_alloc(&h, 8192);
		s.h = &h;
		assert_int_equal(pthread_create(&thread, NULL, scribble, &s), 0);
		for (int i = 0; i < 20000 && session_lives(&h); i++) {
			struct {
				struct vgpu_entry e;
				struct vgpu_call_memset set;
			} entry = { .e = { .bytes = sizeof(entry), .op = VGPU_OP_MEMSET, .slot = VGPU_NO_SLOT },
				    .set = set };

			entry.set.dst = device;
			if (!put_raw(&h, &entry, sizeof(entry)))
				break;
		}
		atomic_store(&s.stop, true);
		pthread_join(thread, NULL);
		reap_clean(&h);
	}
}

static void test_rewriting(void **state)
{
	rewriting(false);
}

static void test_rewriting_stamps(void **state)
{
	rewriting(true);
}

/* Expects FAILED with the error, then the end. */
static void expect_end(struct harness *h, uint32_t error)
{
	struct vgpu_executor_result failed;

	h_expect(h, &failed, sizeof(failed), VGPU_EXECUTOR_FAILED);
	assert_int_equal(failed.error, error);
	assert_true(failed.text[0]);
	assert_int_equal(__atomic_load_n(&h->producer.control.header->sticky, __ATOMIC_ACQUIRE), error);
	reap_clean(h);
}

static void test_ends(void **state)
{
	const struct vgpu_call_memset set = { .dst = 0x1000, .count = 16, .width = 4 };
	struct vgpu_entry e = { .bytes = 4, .op = VGPU_OP_NOP, .slot = VGPU_NO_SLOT };
	struct h_call sync = { .op = VGPU_OP_CONTEXT_SYNC, .slot = 5 };
	struct vgpu_call_memset good = set;
	struct harness h;

	/* a length that no entry has */
	h_start(&h, NULL);
	put_raw(&h, &e, sizeof(e));
	expect_end(&h, VGPU_ERROR_SESSION_PROTOCOL);
	/* a slot that there is not */
	h_start(&h, NULL);
	e.bytes = sizeof(e);
	e.slot = VGPU_SLOTS;
	put_raw(&h, &e, sizeof(e));
	expect_end(&h, VGPU_ERROR_SESSION_PROTOCOL);
	/* a slot used for two calls at once */
	h_start(&h, NULL);
	good.dst = h_alloc(&h, 4096);
	__atomic_store_n(&h.gate->gate, 0, __ATOMIC_SEQ_CST);
	h_post(&h, VGPU_OP_MEMSET, 0, &good, sizeof(good));
	h_put(&h, &sync);
	h_put(&h, &sync);
	expect_end(&h, VGPU_ERROR_SESSION_PROTOCOL);
	/* more posted to a held stream than the backlog allows */
	h_start(&h, NULL);
	good.dst = h_alloc(&h, 4096);
	__atomic_store_n(&h.gate->gate, 0, __ATOMIC_SEQ_CST);
	for (int i = 0; i < 5000 && session_lives(&h); i++) {
		struct {
			struct vgpu_entry e;
			struct vgpu_call_memset set;
		} entry = { .e = { .bytes = sizeof(entry), .op = VGPU_OP_MEMSET, .slot = VGPU_NO_SLOT },
			    .set = good };

		put_raw(&h, &entry, sizeof(entry));
	}
	expect_end(&h, VGPU_ERROR_SESSION_PROTOCOL);
}

/* One executor is killed with work under way; its neighbour goes on with right results. */
static void test_killed(void **state)
{
	struct vgpu_call_memset set = { .count = H_MIB, .width = 1 };
	struct harness victim, neighbour;
	uint64_t mine;

	h_start(&neighbour, NULL);
	mine = h_alloc(&neighbour, H_MIB);
	for (int round = 1; round <= 3; round++) {
		h_start(&victim, NULL);
		set.dst = h_alloc(&victim, H_MIB);
		for (int i = 0; i < 200; i++)
			h_post(&victim, VGPU_OP_MEMSET, 0, &set, sizeof(set));
		kill(victim.pid, SIGKILL);
		set.dst = mine;
		set.value = (uint32_t)round;
		h_post(&neighbour, VGPU_OP_MEMSET, 0, &set, sizeof(set));
		assert_int_equal(h_copy(&neighbour, VGPU_OP_COPY_D2H, 0, h_address(&neighbour, 0), mine,
					H_MIB),
				 0);
		assert_int_equal(h_finish(&neighbour, 0), 0);
		for (int i = 0; i < H_MIB; i += 127)
			assert_int_equal(h_heap(&neighbour, 0)[i], round);
		assert_true(WIFSIGNALED(h_reap(&victim)));
	}
	h_stop(&neighbour);
}

/* The start of the executor's first writable mapping with that name. */
static uint64_t mapping_of(const struct harness *h, const char *name)
{
	char path[64], line[512];
	uint64_t start = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", h->pid);
	maps = fopen(path, "r");
	if (!maps)
		fail_msg("%s cannot be read", path);
	while (!start && fgets(line, sizeof(line), maps))
		if (strstr(line, name) && strstr(line, " rw-p "))
			start = strtoull(line, NULL, 16);
	fclose(maps);
	return start;
}

/* A kernel that is given an address of the executor's own memory faults instead of reading it. */
static void test_host_memory(void **state)
{
	static const char *const names[] = { "[stack]", "[heap]", "/libc.so", "/vgpu-executor" };
	const char *relax = getenv("VGPU_TEST_RELAX");
	char *kept = relax ? strdup(relax) : NULL;

	/* so that an ordinary user may look for the mappings */
	if (!relax)
		setenv("VGPU_TEST_RELAX", "--dumpable", 1);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct {
			uint64_t address, out;
		} p;
		struct vgpu_function_info info;
		struct harness h;
		uint32_t read64;

		h_start(&h, NULL);
		read64 = h_function(&h, h_module(&h, "basic.ptx"), "read64", &info);
		p.out = h_alloc(&h, 8);
		p.address = h_address(&h, 64);
		memset(h_heap(&h, 64), 0x77, 8);
		assert_int_equal(h_launch(&h, VGPU_OP_LAUNCH_FIRST, 0, 0, read64, 1, 1, &p, sizeof(p)), 0);
		assert_int_equal(h_copy(&h, VGPU_OP_COPY_D2H, 0, h_address(&h, 0), p.out, 8), 0);
		assert_int_equal(h_finish(&h, 0), 0);
		assert_int_equal(h_heap(&h, 0)[7], 0x77);
		p.address = mapping_of(&h, names[i]);
		if (!p.address && kept) { /* sanitizers have a heap of their own, without this name */
			assert_string_equal(names[i], "[heap]");
			h_stop(&h);
			continue;
		}
		if (!p.address)
			fail_msg("the executor has no writable mapping %s", names[i]);
		h_launch(&h, VGPU_OP_LAUNCH, 0, 0, read64, 1, 1, &p, sizeof(p));
		assert_int_equal(h_finish(&h, 0), 700);
		h_stop(&h);
	}
	if (!kept)
		unsetenv("VGPU_TEST_RELAX");
	free(kept);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ends),	  cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_rewriting), cmocka_unit_test(test_rewriting_stamps),
		cmocka_unit_test(test_killed),	  cmocka_unit_test(test_host_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
