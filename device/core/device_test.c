// SPDX-License-Identifier: MIT
/* Registers, sessions and reset, with a mediator that behaves. */
#include "device/core/bench_test.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

static void refused_configurations(void **state)
{
	struct vgpu_device_config good = { .socket_path = "/x",
					   .window_bytes = 4 * MIB,
					   .sessions = 1 };
	struct vgpu_device_config bad[8];
	char long_path[200], text[VGPU_DEVICE_TEXT];
	struct bench b = { 0 };
	struct vgpu_device *dev = NULL;

	memset(long_path, 'a', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = 0;
	for (unsigned int i = 0; i < 8; i++)
		bad[i] = good;
	bad[0].socket_path = NULL;
	bad[1].socket_path = long_path;
	bad[2].window_bytes = 2 * MIB;
	bad[3].window_bytes = 5 * MIB;
	bad[4].window_bytes = 512ull << 30;
	bad[5].window_addr = 4096;
	bad[6].sessions = 0;
	bad[7].sessions = 65;
	for (unsigned int i = 0; i < 8; i++) {
		text[0] = 0;
		assert_int_equal(vgpu_device_create(&bad[i], &bench_ops, &b, &dev, text),
				 i == 1 ? -ENAMETOOLONG : -EINVAL);
		assert_true(strlen(text) > 10);
		assert_null(dev);
		assert_int_not_equal(vgpu_device_create(&bad[i], &bench_ops, &b, &dev, NULL), 0);
	}
	vgpu_device_free(NULL);
}

static void registers_without_a_mediator(void **state)
{
	struct bench b;

	bench_make(&b, 8);
	vgpu_device_start(b.dev);
	assert_string_not_equal(b.log, "");
	assert_int_equal(reg(&b, VGPU_REG_MAGIC), VGPU_DEVICE_MAGIC);
	assert_int_equal(reg(&b, VGPU_REG_VERSION), VGPU_DEVICE_VERSION);
	assert_int_equal(reg(&b, VGPU_REG_FEATURES), VGPU_DEVICE_FEATURE_BASE);
	assert_int_equal(reg(&b, VGPU_REG_STATUS), 0);
	assert_int_equal(reg(&b, VGPU_REG_ERROR), VGPU_ERROR_HOST_NO_MEDIATOR);
	assert_int_equal(reg(&b, VGPU_REG_EPOCH), 1);
	assert_int_equal(reg(&b, VGPU_REG_SESSIONS), 8);
	assert_int_equal(reg(&b, VGPU_REG_WINDOW_ADDR_LO), 0);
	assert_int_equal(reg(&b, VGPU_REG_WINDOW_ADDR_HI), 0xc0);
	assert_int_equal(reg(&b, VGPU_REG_WINDOW_SIZE_LO), BENCH_WINDOW);
	assert_int_equal(reg(&b, VGPU_REG_WINDOW_SIZE_HI), 0);
	assert_int_equal(reg(&b, VGPU_REG_VECTORS), 1);
	/* other widths, write-only and unknown registers, doorbells, sessions that it does not have
	 */
	assert_int_equal(vgpu_device_mmio_read(b.dev, VGPU_REG_MAGIC, 8), 0);
	assert_int_equal(vgpu_device_mmio_read(b.dev, VGPU_REG_MAGIC + 2, 4), 0);
	assert_int_equal(reg(&b, VGPU_REG_COMMAND), 0);
	assert_int_equal(reg(&b, 0x300), 0);
	assert_int_equal(reg(&b, VGPU_DEVICE_DOORBELLS), 0);
	assert_int_equal(reg(&b, VGPU_REG_SESSION_STATE(8)), 0);
	assert_int_equal(reg(&b, 1ull << 40), 0);

	for (unsigned int i = 0; i < 6; i++)
		set(&b, VGPU_REG_ARG0_LO + 4 * i, 0x100 + i);
	for (unsigned int i = 0; i < 6; i++)
		assert_int_equal(reg(&b, VGPU_REG_ARG0_LO + 4 * i), 0x100 + i);
	set(&b, VGPU_REG_DRIVER_FEATURES, 1);
	assert_int_equal(reg(&b, VGPU_REG_DRIVER_FEATURES), 1);
	set(&b, VGPU_REG_DRIVER_FEATURES, 3);
	assert_int_equal(reg(&b, VGPU_REG_DRIVER_FEATURES), 1);
	assert_int_equal(reg(&b, VGPU_REG_ERROR), VGPU_ERROR_CALL_UNSUPPORTED);
	assert_int_equal(reg(&b, VGPU_REG_EVENT_DEVICE), 1);
	set(&b, VGPU_REG_EVENT_DEVICE, 1);
	assert_int_equal(reg(&b, VGPU_REG_EVENT_DEVICE), 0);
	set(&b, VGPU_REG_DRIVER_FEATURES, 0);
	assert_int_equal(reg(&b, VGPU_REG_ERROR), VGPU_ERROR_HOST_NO_MEDIATOR);

	command(&b, VGPU_COMMAND_OPEN, 0, 0, 0, 0);
	assert_session(&b, 0, VGPU_SESSION_FREE, VGPU_ERROR_HOST_NO_MEDIATOR);
	command(&b, VGPU_COMMAND_HEAP_ADD, 1, 0, 0, 2 * MIB);
	assert_session(&b, 1, VGPU_SESSION_FREE, VGPU_ERROR_CALL_NOT_OPEN);
	command(&b, VGPU_COMMAND_CLOSE, 2, 0, 0, 0);
	assert_session(&b, 2, VGPU_SESSION_FREE, VGPU_ERROR_CALL_NOT_OPEN);
	command(&b, 99, 3, 0, 0, 0);
	assert_session(&b, 3, VGPU_SESSION_FREE, VGPU_ERROR_CALL_INVALID);
	assert_int_equal(reg(&b, VGPU_REG_EVENT_LO), 0xf);
	set(&b, VGPU_REG_EVENT_LO, 0x5);
	assert_int_equal(reg(&b, VGPU_REG_EVENT_LO), 0xa);

	/* a reset gives every register its reset value, and does not wait for anybody */
	set(&b, VGPU_REG_RESET, 2);
	assert_int_equal(reg(&b, VGPU_REG_EPOCH), 1);
	set(&b, VGPU_REG_RESET, 1);
	assert_int_equal(reg(&b, VGPU_REG_EPOCH), 2);
	assert_int_equal(reg(&b, VGPU_REG_STATUS), 0);
	assert_int_equal(reg(&b, VGPU_REG_EVENT_LO), 0);
	assert_int_equal(reg(&b, VGPU_REG_ARG0_LO), 0);
	assert_session(&b, 3, VGPU_SESSION_FREE, 0);
	bench_free(&b);
}

static void vectors(void **state)
{
	struct bench b;

	bench_make(&b, 64);
	/* behind the last session there is nothing */
	for (unsigned int offset = VGPU_REG_SESSION; offset < VGPU_DEVICE_DOORBELLS; offset += 4)
		assert_int_equal(reg(&b, offset), 0);
	for (unsigned int sid = 0; sid < 64; sid++)
		assert_int_equal(b.vector[sid], 0);
	set(&b, VGPU_REG_VECTORS, 4);
	for (unsigned int sid = 0; sid < 64; sid++)
		assert_int_equal(b.vector[sid], 1 + sid % 3);
	set(&b, VGPU_REG_VECTORS, 0);
	set(&b, VGPU_REG_VECTORS, 66);
	set(&b, VGPU_REG_VECTORS, 0xffffffff);
	assert_int_equal(reg(&b, VGPU_REG_VECTORS), 4);
	set(&b, VGPU_REG_VECTORS, 65);
	assert_int_equal(b.vector[63], 64);
	vgpu_device_reset(b.dev);
	assert_int_equal(b.vector[63], 0);
	bench_free(&b);
}

static void hello_and_window(void **state)
{
	union bench_packet p;
	struct stat st;
	struct bench b;

	bench_make(&b, 64);
	bench_listen(&b);
	vgpu_device_start(b.dev);
	vgpu_device_start(b.dev);
	bench_accept(&b, &p);
	assert_int_equal(p.hello.magic, VGPU_LINK_MAGIC);
	assert_int_equal(p.hello.version, VGPU_LINK_VERSION);
	assert_int_equal(p.hello.kind, VGPU_LINK_KIND_STUB);
	assert_int_equal(p.hello.resume, 0);
	assert_int_equal(p.hello.window_bytes, BENCH_WINDOW);
	assert_int_equal(p.hello.uuid[2], 3);
	assert_int_equal(p.hello.pid, getpid());
	assert_int_equal(p.h.epoch, 1);
	assert_int_equal(b.fds.count, 1);
	assert_int_equal(fstat(b.fds.fd[0], &st), 0);
	assert_int_equal(st.st_size, BENCH_WINDOW);
	assert_int_equal(st.st_blocks, 0);
	assert_int_equal(fcntl(b.fds.fd[0], F_GET_SEALS),
			 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	/* nothing is linked, nothing more is said, before WELCOME */
	command(&b, VGPU_COMMAND_OPEN, 0, 0, 0, 0);
	assert_session(&b, 0, VGPU_SESSION_FREE, VGPU_ERROR_HOST_NO_MEDIATOR);
	assert_int_equal(bench_receive(&b, &p), 0);
	bench_welcome(&b, VGPU_STATUS_QUARANTINE);
	assert_int_equal(reg(&b, VGPU_REG_STATUS), VGPU_STATUS_LINKED | VGPU_STATUS_QUARANTINE);
	assert_int_equal(reg(&b, VGPU_REG_EVENT_DEVICE), 1);
	assert_int_equal(b.irqs[0], 2);
	bench_answer(&b, VGPU_LINK_STATUS, 0, 0);
	assert_int_equal(reg(&b, VGPU_REG_STATUS), VGPU_STATUS_LINKED);
	bench_free(&b);
}

static void life_of_a_session(void **state)
{
	union bench_packet p;
	eventfd_t count;
	struct bench b;

	bench_link(&b, 64);
	set(&b, VGPU_REG_EVENT_HI, ~0u);
	command(&b, VGPU_COMMAND_OPEN, 63, 4 * MIB, 5ull << 32 | 7, 77);
	bench_expect(&b, VGPU_LINK_OPEN, &p);
	assert_int_equal(p.h.sid, 63);
	assert_int_equal(p.h.epoch, 1);
	assert_int_equal(p.open.control_offset, 4 * MIB);
	assert_int_equal(p.open.arena, 7);
	assert_int_equal(p.open.features, 5);
	assert_int_equal(p.open.pid, 77);
	assert_int_equal(b.fds.count, 2);
	/* descriptor 0 is the doorbell, 1 the interrupt */
	set(&b, VGPU_DEVICE_DOORBELLS + 63 * 4096, 0);
	assert_int_equal(eventfd_read(b.fds.fd[0], &count), 0);
	assert_int_equal(eventfd_write(b.fds.fd[1], 3), 0);
	assert_int_equal(eventfd_read(b.irq_fd[63], &count), 0);
	assert_int_equal(count, 3);
	assert_int_equal(eventfd_write(vgpu_device_doorbell_fd(b.dev, 63), 1), 0);
	bench_answer(&b, VGPU_LINK_OPENED, 63, 0);
	assert_session(&b, 63, VGPU_SESSION_OPEN, 0);
	assert_int_equal(reg(&b, VGPU_REG_EVENT_HI), 1u << 31);

	command(&b, VGPU_COMMAND_HEAP_ADD, 63, 10 * MIB, 6 * MIB, 4 * MIB);
	/* one at a time */
	command(&b, VGPU_COMMAND_HEAP_ADD, 63, 0, 16 * MIB, 2 * MIB);
	bench_expect(&b, VGPU_LINK_HEAP_ADD, &p);
	assert_int_equal(p.heap.heap_offset, 10 * MIB);
	assert_int_equal(p.heap.window_offset, 6 * MIB);
	assert_int_equal(p.heap.bytes, 4 * MIB);
	assert_int_equal(p.heap.flags, 0);
	assert_int_equal(bench_receive(&b, &p), 0);
	bench_answer(&b, VGPU_LINK_HEAP_ADDED, 63, 0);
	assert_session(&b, 63, VGPU_SESSION_OPEN, 0);

	/* a refused one leaves its extents free, and says what was refused */
	b.now += 2000 * NS_PER_MS;
	command(&b, VGPU_COMMAND_HEAP_ADD, 63, 0, 16 * MIB, 2 * MIB);
	bench_expect(&b, VGPU_LINK_HEAP_ADD, NULL);
	bench_answer(&b, VGPU_LINK_HEAP_ADDED, 63, VGPU_ERROR_HOST_WINDOW_LIMIT);
	assert_session(&b, 63, VGPU_SESSION_OPEN, VGPU_ERROR_HOST_WINDOW_LIMIT);
	assert_int_equal(reg(&b, VGPU_REG_SESSION_VALUE(63)), 7);
	assert_int_equal(reg(&b, VGPU_REG_SESSION_LIMIT(63)), 5);
	assert_non_null(strstr(b.log, "because"));
	command(&b, VGPU_COMMAND_OPEN, 0, 16 * MIB, 0, 0);
	bench_expect(&b, VGPU_LINK_OPEN, NULL);
	bench_answer(&b, VGPU_LINK_OPENED, 0, VGPU_ERROR_HOST_SESSION_LIMIT);
	assert_session(&b, 0, VGPU_SESSION_FREE, VGPU_ERROR_HOST_SESSION_LIMIT);
	assert_int_equal(reg(&b, VGPU_REG_SESSION_LIMIT(0)), 5);

	/* unless an executor has seen them: then the session keeps them, but not their place in the
	 * heap */
	command(&b, VGPU_COMMAND_HEAP_ADD, 63, 0, 16 * MIB, 2 * MIB);
	bench_expect(&b, VGPU_LINK_HEAP_ADD, NULL);
	bench_answer(&b, VGPU_LINK_HEAP_ADDED, 63, VGPU_ERROR_CALL_NO_MEMORY);
	command(&b, VGPU_COMMAND_OPEN, 0, 16 * MIB, 0, 0);
	assert_session(&b, 0, VGPU_SESSION_FREE, VGPU_ERROR_CALL_INVALID);
	command(&b, VGPU_COMMAND_HEAP_ADD, 63, 0, 18 * MIB, 2 * MIB);
	bench_expect(&b, VGPU_LINK_HEAP_ADD, NULL);
	bench_answer(&b, VGPU_LINK_HEAP_ADDED, 63, 0);
	assert_session(&b, 63, VGPU_SESSION_OPEN, 0);

	command(&b, VGPU_COMMAND_CLOSE, 63, 0, 0, 0);
	assert_session(&b, 63, VGPU_SESSION_CLOSING, VGPU_RESULT_PENDING);
	bench_expect(&b, VGPU_LINK_CLOSE, NULL);
	/* the GPU does not let go: the extents stay taken, and it may be tried again */
	bench_answer(&b, VGPU_LINK_CLOSED, 63, VGPU_ERROR_GPU_LOST);
	assert_session(&b, 63, VGPU_SESSION_DEAD, VGPU_ERROR_GPU_LOST);
	command(&b, VGPU_COMMAND_OPEN, 0, 4 * MIB, 0, 0);
	assert_session(&b, 0, VGPU_SESSION_FREE, VGPU_ERROR_CALL_INVALID);
	command(&b, VGPU_COMMAND_CLOSE, 63, 0, 0, 0);
	bench_expect(&b, VGPU_LINK_CLOSE, NULL);
	bench_answer(&b, VGPU_LINK_CLOSED, 63, 0);
	assert_session(&b, 63, VGPU_SESSION_FREE, 0);
	/* the next one starts with quiet eventfds, on extents that are free again */
	bench_open(&b, 0, 16 * MIB, 0);
	bench_open(&b, 63, 4 * MIB, 1);
	assert_int_equal(eventfd_read(vgpu_device_doorbell_fd(b.dev, 63), &count), -1);
	bench_free(&b);
}

static void invalid_ranges(void **state)
{
	static const uint64_t open_at[] = { 4 * MIB,	  6 * MIB,     1,    2 * MIB + 4096,
					    BENCH_WINDOW, ~0ull << 21, ~0ull };
	/* heap offset, window offset, bytes */
	static const uint64_t heap[][3] = {
		{ 2 * MIB, 4 * MIB, 2 * MIB },	/* its own control extent */
		{ 2 * MIB, 6 * MIB, 2 * MIB },	/* its own heap */
		{ 2 * MIB, 2 * MIB, 4 * MIB },	/* reaches into the control extent */
		{ 2 * MIB, 20 * MIB, 2 * MIB }, /* another session's */
		{ 0, 10 * MIB, 2 * MIB },	/* heap offset taken */
		{ 2 * MIB, 10 * MIB, 0 },
		{ 2 * MIB, 10 * MIB, 4096 },
		{ 2 * MIB, 10 * MIB + 4096, 2 * MIB },
		{ 4096, 10 * MIB, 2 * MIB },
		{ 2 * MIB, BENCH_WINDOW, 2 * MIB },
		{ 2 * MIB, BENCH_WINDOW - 2 * MIB, 4 * MIB },
		{ 2 * MIB, 10 * MIB, ~0ull << 21 },
		{ 2 * MIB, ~0ull << 21, 2 * MIB },
		{ ~0ull << 21, 10 * MIB, 2 * MIB },
		{ 256ull << 30, 10 * MIB, 2 * MIB },
	};
	union bench_packet p;
	struct bench b;

	bench_link(&b, 64);
	bench_open(&b, 0, 4 * MIB, 1);
	bench_open(&b, 1, 20 * MIB, 0);
	for (unsigned int i = 0; i < sizeof(open_at) / sizeof(*open_at); i++) {
		command(&b, VGPU_COMMAND_OPEN, 2, open_at[i], 0, 0);
		assert_session(&b, 2, VGPU_SESSION_FREE, VGPU_ERROR_CALL_INVALID);
	}
	command(&b, VGPU_COMMAND_OPEN, 2, 30 * MIB, 8, 0);
	assert_session(&b, 2, VGPU_SESSION_FREE, VGPU_ERROR_CALL_INVALID);
	command(&b, VGPU_COMMAND_OPEN, 1, 30 * MIB, 0, 0);
	assert_session(&b, 1, VGPU_SESSION_OPEN, VGPU_ERROR_CALL_INVALID);
	for (unsigned int i = 0; i < sizeof(heap) / sizeof(*heap); i++) {
		command(&b, VGPU_COMMAND_HEAP_ADD, 0, heap[i][0], heap[i][1], heap[i][2]);
		assert_session(&b, 0, VGPU_SESSION_OPEN, VGPU_ERROR_CALL_INVALID);
	}
	assert_int_equal(bench_receive(&b, &p), 0);
	bench_free(&b);
}

static void runs_are_limited(void **state)
{
	struct vgpu_device_config config = {
		.window_bytes = 2048 * MIB,
		.sessions = 1,
	};
	struct bench b;

	/* a larger window than the others have */
	bench_make(&b, 1);
	vgpu_device_free(b.dev);
	config.socket_path = b.path;
	assert_int_equal(vgpu_device_create(&config, &bench_ops, &b, &b.dev, NULL), 0);
	bench_listen(&b);
	vgpu_device_start(b.dev);
	bench_accept(&b, NULL);
	struct vgpu_link_welcome m = { .h = { .type = VGPU_LINK_WELCOME, .bytes = sizeof(m) },
				       .version = VGPU_LINK_VERSION,
				       .window_bytes = config.window_bytes };
	assert_int_equal(vgpu_chan_send(b.peer, &m, sizeof(m), NULL, 0), 0);
	bench_turn(&b);
	bench_open(&b, 0, 0, 0);
	for (unsigned int i = 0; i < VGPU_SESSION_RUNS_MAX; i++) {
		command(&b, VGPU_COMMAND_HEAP_ADD, 0, 2 * i * MIB, 2 * (i + 1) * MIB, 2 * MIB);
		bench_expect(&b, VGPU_LINK_HEAP_ADD, NULL);
		bench_answer(&b, VGPU_LINK_HEAP_ADDED, 0, 0);
		assert_session(&b, 0, VGPU_SESSION_OPEN, 0);
	}
	command(&b, VGPU_COMMAND_HEAP_ADD, 0, 2046 * MIB, 2046 * MIB, 2 * MIB);
	assert_session(&b, 0, VGPU_SESSION_OPEN, VGPU_ERROR_CALL_LIMIT);
	assert_int_equal(reg(&b, VGPU_REG_SESSION_VALUE(0)), VGPU_SESSION_RUNS_MAX + 1);
	assert_int_equal(reg(&b, VGPU_REG_SESSION_LIMIT(0)), VGPU_SESSION_RUNS_MAX);
	bench_free(&b);
}

static void ended(void **state)
{
	struct bench b;

	bench_link(&b, 64);
	bench_open(&b, 5, 0, 0);
	bench_answer(&b, VGPU_LINK_ENDED, 5, VGPU_ERROR_SESSION_EXECUTOR_DIED);
	assert_session(&b, 5, VGPU_SESSION_DEAD, VGPU_ERROR_SESSION_EXECUTOR_DIED);
	bench_answer(&b, VGPU_LINK_ENDED, 5, VGPU_ERROR_SESSION_ADMIN);
	command(&b, VGPU_COMMAND_HEAP_ADD, 5, 0, 2 * MIB, 2 * MIB);
	assert_session(&b, 5, VGPU_SESSION_DEAD, VGPU_ERROR_SESSION_EXECUTOR_DIED);
	command(&b, VGPU_COMMAND_CLOSE, 5, 0, 0, 0);
	bench_expect(&b, VGPU_LINK_CLOSE, NULL);
	bench_answer(&b, VGPU_LINK_CLOSED, 5, 0);
	assert_session(&b, 5, VGPU_SESSION_FREE, 0);

	/* ENDED crosses a HEAP_ADD: the run stays taken until CLOSED, the answer comes late or
	 * never */
	bench_open(&b, 5, 0, 0);
	command(&b, VGPU_COMMAND_HEAP_ADD, 5, 0, 2 * MIB, 2 * MIB);
	bench_expect(&b, VGPU_LINK_HEAP_ADD, NULL);
	bench_answer(&b, VGPU_LINK_ENDED, 5, 0);
	assert_session(&b, 5, VGPU_SESSION_DEAD, VGPU_ERROR_SESSION_CLOSED);
	command(&b, VGPU_COMMAND_OPEN, 6, 2 * MIB, 0, 0);
	assert_session(&b, 6, VGPU_SESSION_FREE, VGPU_ERROR_CALL_INVALID);
	bench_answer(&b, VGPU_LINK_HEAP_ADDED, 5, VGPU_ERROR_CALL_NOT_OPEN);
	assert_session(&b, 5, VGPU_SESSION_DEAD, VGPU_ERROR_SESSION_CLOSED);
	command(&b, VGPU_COMMAND_CLOSE, 5, 0, 0, 0);
	bench_expect(&b, VGPU_LINK_CLOSE, NULL);
	bench_answer(&b, VGPU_LINK_CLOSED, 5, 0);
	bench_open(&b, 6, 2 * MIB, 0);
	bench_free(&b);
}

static void close_takes_the_place_of_what_is_under_way(void **state)
{
	union bench_packet p;
	struct bench b;

	bench_link(&b, 64);
	/* an OPEN that succeeds, and one that fails */
	for (unsigned int fails = 0; fails < 2; fails++) {
		command(&b, VGPU_COMMAND_OPEN, 0, 0, 0, 0);
		bench_expect(&b, VGPU_LINK_OPEN, NULL);
		command(&b, VGPU_COMMAND_CLOSE, 0, 0, 0, 0);
		assert_session(&b, 0, VGPU_SESSION_CLOSING, VGPU_RESULT_PENDING);
		command(&b, VGPU_COMMAND_CLOSE, 0, 0, 0, 0);
		assert_int_equal(bench_receive(&b, &p), 0);
		bench_answer(&b, VGPU_LINK_OPENED, 0, fails ? VGPU_ERROR_HOST_BUSY : 0);
		if (!fails) {
			bench_expect(&b, VGPU_LINK_CLOSE, NULL);
			bench_answer(&b, VGPU_LINK_CLOSED, 0, 0);
		}
		assert_session(&b, 0, VGPU_SESSION_FREE, 0);
	}
	/* a HEAP_ADD: answered well, badly, or overtaken by ENDED */
	for (unsigned int way = 0; way < 3; way++) {
		bench_open(&b, 0, 0, 0);
		command(&b, VGPU_COMMAND_HEAP_ADD, 0, 0, 2 * MIB, 2 * MIB);
		bench_expect(&b, VGPU_LINK_HEAP_ADD, NULL);
		command(&b, VGPU_COMMAND_CLOSE, 0, 0, 0, 0);
		if (way == 2)
			bench_answer(&b, VGPU_LINK_ENDED, 0, VGPU_ERROR_SESSION_ADMIN);
		else
			bench_answer(&b, VGPU_LINK_HEAP_ADDED, 0, way ? VGPU_ERROR_HOST_BUSY : 0);
		assert_session(&b, 0, VGPU_SESSION_CLOSING, VGPU_RESULT_PENDING);
		bench_expect(&b, VGPU_LINK_CLOSE, NULL);
		bench_answer(&b, VGPU_LINK_CLOSED, 0, 0);
		assert_session(&b, 0, VGPU_SESSION_FREE, 0);
	}
	bench_free(&b);
}

static void reset_ends_all_sessions(void **state)
{
	union bench_packet p;
	struct stat st;
	struct bench b;
	uint8_t *window;

	bench_link(&b, 64);
	bench_open(&b, 0, 0, 1);
	bench_open(&b, 1, 60 * MIB, 1);
	window = mmap(NULL, BENCH_WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED,
		      vgpu_device_window_fd(b.dev), 0);
	assert_ptr_not_equal(window, MAP_FAILED);
	window[4096] = window[3 * MIB] = window[61 * MIB] = 1;

	command(&b, VGPU_COMMAND_OPEN, 2, 30 * MIB, 0, 0);
	bench_expect(&b, VGPU_LINK_OPEN, NULL);
	set(&b, VGPU_REG_RESET, 1);
	assert_int_equal(reg(&b, VGPU_REG_STATUS), VGPU_STATUS_LINKED | VGPU_STATUS_RESETTING);
	assert_session(&b, 0, VGPU_SESSION_FREE, 0);
	assert_session(&b, 2, VGPU_SESSION_FREE, 0);
	bench_expect(&b, VGPU_LINK_RESET, &p);
	assert_int_equal(p.h.epoch, 2);
	command(&b, VGPU_COMMAND_OPEN, 0, 0, 0, 0);
	assert_session(&b, 0, VGPU_SESSION_FREE, VGPU_ERROR_HOST_BUSY);

	/* any number of further resets makes one message, when the first is answered */
	for (unsigned int i = 0; i < 1000; i++)
		set(&b, VGPU_REG_RESET, 1);
	assert_int_equal(bench_receive(&b, &p), 0);
	struct vgpu_link_result done = { .h = { VGPU_LINK_RESET_DONE, sizeof(done), 2, 0 } };
	assert_int_equal(vgpu_chan_send(b.peer, &done, sizeof(done), NULL, 0), 0);
	bench_expect(&b, VGPU_LINK_RESET, &p);
	assert_int_equal(p.h.epoch, 1002);
	assert_true(reg(&b, VGPU_REG_STATUS) & VGPU_STATUS_RESETTING);

	/* an answer of an older epoch changes nothing */
	struct vgpu_link_result stale = { .h = { VGPU_LINK_OPENED, sizeof(stale), 1, 2 } };
	assert_int_equal(vgpu_chan_send(b.peer, &stale, sizeof(stale), NULL, 0), 0);
	bench_turn(&b);
	assert_session(&b, 2, VGPU_SESSION_FREE, 0);
	assert_true(reg(&b, VGPU_REG_STATUS) & VGPU_STATUS_LINKED);

	/* this mediator has not zeroed anything: the device sees to it */
	assert_int_equal(fstat(vgpu_device_window_fd(b.dev), &st), 0);
	assert_int_not_equal(st.st_blocks, 0);
	bench_answer(&b, VGPU_LINK_RESET_DONE, 0, 0);
	assert_int_equal(reg(&b, VGPU_REG_STATUS), VGPU_STATUS_LINKED);
	assert_int_equal(reg(&b, VGPU_REG_EVENT_DEVICE), 1);
	assert_int_equal(fstat(vgpu_device_window_fd(b.dev), &st), 0);
	assert_int_equal(st.st_blocks, 0);
	assert_int_equal(window[61 * MIB], 0);
	bench_open(&b, 3, 0, 1);
	/* what no session had is not the device's to touch */
	window[2 * MIB] = window[50 * MIB] = 7;

	/* a reset that the host cannot finish stays unfinished, and the next one asks again */
	set(&b, VGPU_REG_RESET, 1);
	bench_expect(&b, VGPU_LINK_RESET, NULL);
	bench_answer(&b, VGPU_LINK_RESET_DONE, 0, VGPU_ERROR_GPU_LOST);
	assert_true(reg(&b, VGPU_REG_STATUS) & VGPU_STATUS_RESETTING);
	assert_int_equal(bench_receive(&b, &p), 0);
	set(&b, VGPU_REG_RESET, 1);
	bench_expect(&b, VGPU_LINK_RESET, NULL);
	bench_answer(&b, VGPU_LINK_RESET_DONE, 0, 0);
	assert_int_equal(reg(&b, VGPU_REG_STATUS), VGPU_STATUS_LINKED);
	assert_int_equal(window[2 * MIB], 0);
	assert_int_equal(window[50 * MIB], 7);
	munmap(window, BENCH_WINDOW);
	bench_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused_configurations),
		cmocka_unit_test(registers_without_a_mediator),
		cmocka_unit_test(vectors),
		cmocka_unit_test(hello_and_window),
		cmocka_unit_test(life_of_a_session),
		cmocka_unit_test(invalid_ranges),
		cmocka_unit_test(runs_are_limited),
		cmocka_unit_test(ended),
		cmocka_unit_test(close_takes_the_place_of_what_is_under_way),
		cmocka_unit_test(reset_ends_all_sessions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
