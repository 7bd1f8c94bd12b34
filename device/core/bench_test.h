/* SPDX-License-Identifier: MIT */
/* A device on a bench: a clock that stands still, and a mediator's socket in the test's own hands.
 */
#ifndef VGPU_DEVICE_BENCH_TEST_H
#define VGPU_DEVICE_BENCH_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/link/chan.h"
#include "device/core/device.h"
#include "protocol/link/link.h"

#define MIB (1ull << 20)
#define BENCH_WINDOW (64 * MIB)
#define NS_PER_MS 1000000ull

struct bench {
	struct vgpu_device *dev;
	char path[96];
	int listener, peer; /* the mediator's; -1: none */
	int watched;	    /* what the device waits for */
	short events;
	uint64_t now, deadline; /* deadline 0: no timer */
	unsigned int irqs[VGPU_DEVICE_VECTORS_MAX];
	int irq_fd[VGPU_DEVICE_SESSIONS];
	unsigned int vector[VGPU_DEVICE_SESSIONS];
	unsigned int logs;
	char log[512];
	struct vgpu_chan_fds fds; /* of the packet that was received last */
};

union bench_packet {
	struct vgpu_link_header h;
	struct vgpu_link_hello hello;
	struct vgpu_link_open open;
	struct vgpu_link_heap heap;
	uint8_t bytes[VGPU_LINK_MESSAGE_MAX];
};

static uint64_t bench_now(void *opaque)
{
	return ((struct bench *)opaque)->now;
}

static void bench_timer_set(void *opaque, uint64_t deadline)
{
	((struct bench *)opaque)->deadline = deadline;
}

static void bench_watch(void *opaque, int fd, bool read, bool write)
{
	struct bench *b = opaque;

	b->watched = read || write ? fd : -1;
	b->events = (short)((read ? POLLIN : 0) | (write ? POLLOUT : 0));
}

static void bench_irq(void *opaque, unsigned int vector)
{
	assert_in_range(vector, 0, VGPU_DEVICE_VECTORS_MAX - 1);
	((struct bench *)opaque)->irqs[vector]++;
}

static void bench_session_irq_fd(void *opaque, unsigned int sid, int fd, unsigned int vector)
{
	struct bench *b = opaque;

	b->irq_fd[sid] = fd;
	b->vector[sid] = vector;
}

static void bench_log(void *opaque, enum vgpu_device_level level, const char *sentence)
{
	struct bench *b = opaque;

	b->logs++;
	snprintf(b->log, sizeof(b->log), "%s", sentence);
}

static const struct vgpu_device_ops bench_ops = { bench_now, bench_timer_set,	   bench_watch,
						  bench_irq, bench_session_irq_fd, bench_log };

static char bench_dir[64];

/* A test that fails does not get to bench_free. */
static void bench_remove(void)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/s", bench_dir);
	unlink(path);
	rmdir(bench_dir);
}

static inline void bench_listen(struct bench *b)
{
	assert_int_equal(vgpu_chan_listen(b->path, 0600, SOCK_NONBLOCK, &b->listener), 0);
}

static inline void bench_make(struct bench *b, unsigned int sessions)
{
	struct vgpu_device_config config = {
		.socket_path = b->path,
		.window_bytes = BENCH_WINDOW,
		.window_addr = 0xc000000000,
		.sessions = sessions,
		.uuid = { 1, 2, 3 },
	};
	char text[VGPU_DEVICE_TEXT] = "";

	memset(b, 0, sizeof(*b));
	b->listener = b->peer = b->watched = -1;
	b->now = 1000 * NS_PER_MS;
	if (!*bench_dir) {
		strcpy(bench_dir, "/tmp/vgpu-device-XXXXXX");
		assert_non_null(mkdtemp(bench_dir));
		assert_int_equal(atexit(bench_remove), 0);
	}
	snprintf(b->path, sizeof(b->path), "%s/s", bench_dir);
	assert_int_equal(vgpu_device_create(&config, &bench_ops, b, &b->dev, text), 0);
}

static inline void bench_hang_up(struct bench *b)
{
	vgpu_chan_fds_close(&b->fds);
	if (b->peer >= 0)
		close(b->peer);
	b->peer = -1;
}

static inline void bench_free(struct bench *b)
{
	vgpu_device_free(b->dev);
	assert_int_equal(b->watched, -1);
	bench_hang_up(b);
	if (b->listener >= 0)
		close(b->listener);
	unlink(b->path);
}

/* Lets the device do what its socket is ready for. */
static inline void bench_turn(struct bench *b)
{
	for (int i = 0; i < 1000 && b->watched >= 0; i++) {
		struct pollfd p = { .fd = b->watched, .events = b->events };

		if (poll(&p, 1, 0) != 1)
			return;
		vgpu_device_socket_ready(b->dev);
	}
}

/* Lets time pass up to the device's timer. */
static inline void bench_tick(struct bench *b)
{
	assert_true(b->deadline > b->now);
	b->now = b->deadline;
	b->deadline = 0;
	vgpu_device_timer(b->dev);
}

static inline uint32_t reg(struct bench *b, uint64_t offset)
{
	return vgpu_device_mmio_read(b->dev, offset, 4);
}

static inline void set(struct bench *b, uint64_t offset, uint32_t value)
{
	vgpu_device_mmio_write(b->dev, offset, 4, value);
}

/* The next packet from the device, with its header checked; 0 when there is none. */
static inline uint32_t bench_receive(struct bench *b, union bench_packet *ret)
{
	ssize_t got;

	bench_turn(b);
	vgpu_chan_fds_close(&b->fds);
	got = vgpu_chan_recv(b->peer, ret, sizeof(*ret), &b->fds);
	if (got == -EAGAIN || got == 0)
		return 0;
	assert_true(got >= (ssize_t)sizeof(ret->h));
	assert_int_equal(ret->h.bytes, got);
	return ret->h.type;
}

static inline void bench_expect(struct bench *b, uint32_t type, union bench_packet *ret)
{
	union bench_packet scratch;

	assert_int_equal(bench_receive(b, ret ? ret : &scratch), type);
}

static inline void bench_answer(struct bench *b, uint32_t type, unsigned int sid, uint32_t error)
{
	struct vgpu_link_result m = {
		.h = { .type = type,
		       .bytes = sizeof(m),
		       .epoch = reg(b, VGPU_REG_EPOCH),
		       .sid = sid },
		.error = error,
		.value = 7,
		.limit = 5,
		.text = "because",
	};

	assert_int_equal(vgpu_chan_send(b->peer, &m, sizeof(m), NULL, 0), 0);
	bench_turn(b);
}

static inline void bench_welcome(struct bench *b, uint32_t status)
{
	struct vgpu_link_welcome m = {
		.h = { .type = VGPU_LINK_WELCOME, .bytes = sizeof(m) },
		.version = VGPU_LINK_VERSION,
		.status = status,
		.sessions = VGPU_DEVICE_SESSIONS,
		.window_bytes = BENCH_WINDOW,
	};

	assert_int_equal(vgpu_chan_send(b->peer, &m, sizeof(m), NULL, 0), 0);
	bench_turn(b);
}

/* Takes the device's connection and its HELLO. */
static inline void bench_accept(struct bench *b, union bench_packet *ret_hello)
{
	b->peer = accept4(b->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(b->peer >= 0);
	bench_expect(b, VGPU_LINK_HELLO, ret_hello);
}

/* A device that is linked for the first time. */
static inline void bench_link(struct bench *b, unsigned int sessions)
{
	bench_make(b, sessions);
	bench_listen(b);
	vgpu_device_start(b->dev);
	bench_accept(b, NULL);
	bench_welcome(b, 0);
	assert_int_equal(reg(b, VGPU_REG_STATUS), VGPU_STATUS_LINKED);
	assert_int_equal(reg(b, VGPU_REG_ERROR), 0);
}

/* The link breaks; the device comes back and is welcomed. RESUME and the like are next. */
static inline void bench_relink(struct bench *b)
{
	union bench_packet p;

	bench_hang_up(b);
	bench_turn(b);
	assert_int_equal(reg(b, VGPU_REG_STATUS) & VGPU_STATUS_LINKED, 0);
	bench_tick(b);
	bench_accept(b, &p);
	assert_int_equal(p.hello.resume, 1);
	bench_welcome(b, 0);
	assert_true(reg(b, VGPU_REG_STATUS) & VGPU_STATUS_LINKED);
}

static inline void command(struct bench *b, uint32_t op, unsigned int sid, uint64_t a0, uint64_t a1,
			   uint64_t a2)
{
	uint64_t arg[3] = { a0, a1, a2 };

	for (unsigned int i = 0; i < 3; i++) {
		set(b, VGPU_REG_ARG0_LO + 8 * i, (uint32_t)arg[i]);
		set(b, VGPU_REG_ARG0_HI + 8 * i, (uint32_t)(arg[i] >> 32));
	}
	set(b, VGPU_REG_COMMAND, VGPU_COMMAND(op, sid));
}

#define assert_session(b, sid, state, result)                                                      \
	do {                                                                                       \
		assert_int_equal(reg(b, VGPU_REG_SESSION_STATE(sid)), state);                      \
		assert_int_equal(reg(b, VGPU_REG_SESSION_RESULT(sid)), result);                    \
	} while (0)

/* Opens a session, with one heap run behind its control extent when runs is 1. */
static inline void bench_open(struct bench *b, unsigned int sid, uint64_t control,
			      unsigned int runs)
{
	command(b, VGPU_COMMAND_OPEN, sid, control, 1, 42);
	assert_session(b, sid, VGPU_SESSION_OPENING, VGPU_RESULT_PENDING);
	bench_expect(b, VGPU_LINK_OPEN, NULL);
	bench_answer(b, VGPU_LINK_OPENED, sid, 0);
	assert_session(b, sid, VGPU_SESSION_OPEN, 0);
	if (!runs)
		return;
	command(b, VGPU_COMMAND_HEAP_ADD, sid, 0, control + 2 * MIB, 2 * MIB);
	assert_session(b, sid, VGPU_SESSION_OPEN, VGPU_RESULT_PENDING);
	bench_expect(b, VGPU_LINK_HEAP_ADD, NULL);
	bench_answer(b, VGPU_LINK_HEAP_ADDED, sid, 0);
	assert_session(b, sid, VGPU_SESSION_OPEN, 0);
}

#endif
