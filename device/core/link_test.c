// SPDX-License-Identifier: MIT
/* Losing the mediator, getting it back, and one that misbehaves. */
#include "device/core/bench_test.h"

static void comes_back_for_ever(void **state)
{
	static const unsigned int delays_ms[] = { 50, 100, 200, 400, 800, 1000, 1000, 1000 };
	union bench_packet p;
	struct bench b;

	bench_make(&b, 64);
	vgpu_device_start(b.dev);
	for (unsigned int i = 0; i < sizeof(delays_ms) / sizeof(*delays_ms); i++) {
		assert_int_equal(b.deadline - b.now, delays_ms[i] * NS_PER_MS);
		bench_tick(&b);
	}
	/* said once */
	assert_int_equal(b.logs, 1);
	bench_listen(&b);
	bench_tick(&b);
	bench_accept(&b, &p);
	assert_int_equal(p.hello.resume, 0);
	bench_welcome(&b, 0);
	/* a link that falls at once gains nothing, one that has stood is tried again soon */
	bench_hang_up(&b);
	bench_turn(&b);
	assert_int_equal(reg(&b, VGPU_REG_ERROR), VGPU_ERROR_HOST_NO_MEDIATOR);
	assert_int_equal(b.deadline - b.now, 1000 * NS_PER_MS);
	bench_tick(&b);
	bench_accept(&b, &p);
	assert_int_equal(p.hello.resume, 1);
	bench_welcome(&b, 0);
	bench_expect(&b, VGPU_LINK_RESUMED, NULL);
	b.now += 1000 * NS_PER_MS;
	bench_hang_up(&b);
	bench_turn(&b);
	assert_int_equal(b.deadline - b.now, 50 * NS_PER_MS);
	/* timers and readiness that nobody asked for */
	vgpu_device_socket_ready(b.dev);
	bench_tick(&b);
	vgpu_device_timer(b.dev);
	bench_free(&b);
}

static void refused(void **state)
{
	struct bench b;

	bench_make(&b, 64);
	bench_listen(&b);
	vgpu_device_start(b.dev);
	for (unsigned int i = 0; i < 3; i++) {
		bench_accept(&b, NULL);
		bench_answer(&b, VGPU_LINK_REFUSED, 0, VGPU_ERROR_HOST_UNKNOWN_VM);
		assert_int_equal(reg(&b, VGPU_REG_ERROR), VGPU_ERROR_HOST_UNKNOWN_VM);
		assert_non_null(strstr(b.log, "because"));
		assert_int_equal(b.logs, 1);
		command(&b, VGPU_COMMAND_OPEN, 0, 0, 0, 0);
		assert_session(&b, 0, VGPU_SESSION_FREE, VGPU_ERROR_HOST_UNKNOWN_VM);
		assert_int_equal(b.deadline - b.now, 1000 * NS_PER_MS);
		bench_hang_up(&b);
		bench_tick(&b);
	}
	/* nobody refuses any more: there is nobody */
	bench_accept(&b, NULL);
	close(b.listener);
	b.listener = -1;
	bench_hang_up(&b);
	bench_turn(&b);
	bench_tick(&b);
	assert_int_equal(reg(&b, VGPU_REG_ERROR), VGPU_ERROR_HOST_NO_MEDIATOR);
	bench_free(&b);
}

static void sessions_outlive_the_mediator(void **state)
{
	union bench_packet p;
	struct bench b;

	bench_link(&b, 64);
	bench_open(&b, 0, 0, 1);	/* stays */
	bench_open(&b, 1, 10 * MIB, 1); /* is dead */
	bench_answer(&b, VGPU_LINK_ENDED, 1, VGPU_ERROR_SESSION_ADMIN);
	bench_open(&b, 2, 20 * MIB, 1); /* is being closed */
	command(&b, VGPU_COMMAND_CLOSE, 2, 0, 0, 0);
	bench_expect(&b, VGPU_LINK_CLOSE, NULL);
	bench_open(&b, 3, 30 * MIB, 0); /* has a HEAP_ADD under way */
	command(&b, VGPU_COMMAND_HEAP_ADD, 3, 0, 32 * MIB, 2 * MIB);
	bench_expect(&b, VGPU_LINK_HEAP_ADD, NULL);
	command(&b, VGPU_COMMAND_OPEN, 4, 40 * MIB, 0, 0); /* is being opened */
	bench_expect(&b, VGPU_LINK_OPEN, NULL);
	bench_open(&b, 5, 50 * MIB, 0); /* HEAP_ADD, then CLOSE under way */
	command(&b, VGPU_COMMAND_HEAP_ADD, 5, 0, 52 * MIB, 2 * MIB);
	bench_expect(&b, VGPU_LINK_HEAP_ADD, NULL);
	command(&b, VGPU_COMMAND_CLOSE, 5, 0, 0, 0);
	command(&b, VGPU_COMMAND_OPEN, 6, 56 * MIB, 0, 0); /* OPEN, then CLOSE under way */
	bench_expect(&b, VGPU_LINK_OPEN, NULL);
	command(&b, VGPU_COMMAND_CLOSE, 6, 0, 0, 0);

	bench_hang_up(&b);
	bench_turn(&b);
	assert_session(&b, 0, VGPU_SESSION_OPEN, 0);
	assert_session(&b, 1, VGPU_SESSION_DEAD, VGPU_ERROR_SESSION_ADMIN);
	assert_session(&b, 2, VGPU_SESSION_CLOSING, VGPU_RESULT_PENDING);
	assert_session(&b, 3, VGPU_SESSION_OPEN, VGPU_RESULT_PENDING);
	assert_session(&b, 4, VGPU_SESSION_DEAD, VGPU_ERROR_HOST_NO_MEDIATOR);
	assert_session(&b, 5, VGPU_SESSION_CLOSING, VGPU_RESULT_PENDING);
	assert_session(&b, 6, VGPU_SESSION_CLOSING, VGPU_RESULT_PENDING);
	/* without a link: new work fails at once, CLOSE is remembered */
	command(&b, VGPU_COMMAND_HEAP_ADD, 0, 2 * MIB, 60 * MIB, 2 * MIB);
	assert_session(&b, 0, VGPU_SESSION_OPEN, VGPU_ERROR_HOST_NO_MEDIATOR);
	command(&b, VGPU_COMMAND_CLOSE, 4, 0, 0, 0);
	assert_session(&b, 4, VGPU_SESSION_CLOSING, VGPU_RESULT_PENDING);

	bench_tick(&b);
	bench_accept(&b, &p);
	bench_welcome(&b, 0);
	for (unsigned int sid = 0; sid < 7; sid++) {
		bench_expect(&b, VGPU_LINK_RESUME, &p);
		assert_int_equal(p.h.sid, sid);
		assert_int_equal(p.open.control_offset, sid == 6 ? 56 * MIB : sid * 10 * MIB);
		assert_int_equal(b.fds.count, 0);
		/* what is known to be in the heap, and what may be in that of a session that goes
		 */
		if (sid <= 2 || sid == 5) {
			bench_expect(&b, VGPU_LINK_HEAP_ADD, &p);
			assert_int_equal(p.h.sid, sid);
			assert_int_equal(p.heap.window_offset, (sid * 10 + 2) * MIB);
			assert_int_equal(p.heap.flags, VGPU_LINK_FLAG_RESUME);
		}
	}
	bench_expect(&b, VGPU_LINK_RESUMED, NULL);
	for (unsigned int i = 0; i < 5; i++) {
		uint32_t type = bench_receive(&b, &p);

		assert_int_equal(type, p.h.sid == 3 ? VGPU_LINK_HEAP_ADD : VGPU_LINK_CLOSE);
		assert_in_range(p.h.sid, 2, 6);
		bench_answer(&b, type == VGPU_LINK_CLOSE ? VGPU_LINK_CLOSED : VGPU_LINK_HEAP_ADDED,
			     p.h.sid, 0);
		assert_session(&b, p.h.sid, p.h.sid == 3 ? VGPU_SESSION_OPEN : VGPU_SESSION_FREE,
			       0);
	}
	/* the new mediator does not have this one, and says so again of a dead one */
	bench_answer(&b, VGPU_LINK_ENDED, 0, VGPU_ERROR_SESSION_EXECUTOR_DIED);
	assert_session(&b, 0, VGPU_SESSION_DEAD, VGPU_ERROR_SESSION_EXECUTOR_DIED);
	bench_answer(&b, VGPU_LINK_ENDED, 1, VGPU_ERROR_SESSION_EXECUTOR_DIED);
	assert_session(&b, 1, VGPU_SESSION_DEAD, VGPU_ERROR_SESSION_ADMIN);
	assert_int_equal(bench_receive(&b, &p), 0);
	bench_free(&b);
}

static void reset_while_the_mediator_is_away(void **state)
{
	union bench_packet p;
	struct bench b;

	bench_link(&b, 64);
	bench_open(&b, 0, 0, 1);
	bench_hang_up(&b);
	bench_turn(&b);
	vgpu_device_reset(b.dev);
	vgpu_device_reset(b.dev);
	assert_int_equal(reg(&b, VGPU_REG_STATUS), VGPU_STATUS_RESETTING);
	command(&b, VGPU_COMMAND_OPEN, 0, 0, 0, 0);
	assert_session(&b, 0, VGPU_SESSION_FREE, VGPU_ERROR_HOST_NO_MEDIATOR);
	bench_tick(&b);
	bench_accept(&b, &p);
	assert_int_equal(p.h.epoch, 3);
	bench_welcome(&b, 0);
	assert_int_equal(reg(&b, VGPU_REG_STATUS), VGPU_STATUS_RESETTING | VGPU_STATUS_LINKED);
	bench_expect(&b, VGPU_LINK_RESUMED, NULL);
	bench_expect(&b, VGPU_LINK_RESET, &p);
	assert_int_equal(p.h.epoch, 3);
	/* lost again before it is done: asked again */
	bench_relink(&b);
	bench_expect(&b, VGPU_LINK_RESUMED, NULL);
	bench_expect(&b, VGPU_LINK_RESET, NULL);
	bench_answer(&b, VGPU_LINK_RESET_DONE, 0, 0);
	bench_open(&b, 0, 0, 1);

	/* in the middle of RESUME: what is left of it is skipped */
	bench_hang_up(&b);
	bench_turn(&b);
	bench_tick(&b);
	bench_accept(&b, &p);
	vgpu_device_reset(b.dev);
	bench_welcome(&b, 0);
	bench_expect(&b, VGPU_LINK_RESUMED, &p);
	assert_int_equal(p.h.epoch, 3);
	bench_expect(&b, VGPU_LINK_RESET, &p);
	assert_int_equal(p.h.epoch, 4);
	bench_free(&b);
}

/* As at power-on: the hypervisor resets the device after it was made, the mediator is still
 * thinking. */
static void reset_between_hello_and_welcome(void **state)
{
	union bench_packet p;
	struct bench b;

	bench_make(&b, 64);
	bench_listen(&b);
	vgpu_device_start(b.dev);
	bench_accept(&b, &p);
	assert_int_equal(p.h.epoch, 1);
	vgpu_device_reset(b.dev);
	assert_int_equal(reg(&b, VGPU_REG_STATUS), 0);
	bench_welcome(&b, 0);
	assert_int_equal(reg(&b, VGPU_REG_STATUS), VGPU_STATUS_LINKED | VGPU_STATUS_RESETTING);
	bench_expect(&b, VGPU_LINK_RESET, &p);
	assert_int_equal(p.h.epoch, 2);
	bench_answer(&b, VGPU_LINK_RESET_DONE, 0, 0);
	bench_open(&b, 0, 0, 1);
	bench_free(&b);
}

/* 8 sessions with 3 runs each are more than this socket takes: the rest waits, in the device. */
static void mediator_that_does_not_read(void **state)
{
	union bench_packet p;
	struct bench b;
	unsigned int got = 0, small = 4096;

	bench_make(&b, 8);
	bench_listen(&b);
	vgpu_device_start(b.dev);
	bench_accept(&b, NULL);
	bench_welcome(&b, 0);
	for (unsigned int sid = 0; sid < 8; sid++) {
		bench_open(&b, sid, sid * 8 * MIB, 1);
		for (unsigned int run = 0; run < 2; run++) {
			command(&b, VGPU_COMMAND_HEAP_ADD, sid, (run + 1) * 2 * MIB,
				(sid * 8 + 4 + run * 2) * MIB, 2 * MIB);
			bench_expect(&b, VGPU_LINK_HEAP_ADD, NULL);
			bench_answer(&b, VGPU_LINK_HEAP_ADDED, sid, 0);
		}
	}
	bench_hang_up(&b);
	bench_turn(&b);
	bench_tick(&b);
	bench_accept(&b, NULL);
	assert_int_equal(setsockopt(b.watched, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	bench_welcome(&b, 0);
	assert_true(b.events & POLLOUT);
	/* the guest goes on meanwhile, and never waits */
	for (unsigned int i = 0; i < 10000; i++) {
		command(&b, VGPU_COMMAND_CLOSE, i % 8, 0, 0, 0);
		command(&b, VGPU_COMMAND_OPEN, i % 8, 0, 0, 0);
	}
	while (bench_receive(&b, &p) != VGPU_LINK_RESUMED)
		got++;
	assert_int_equal(got, 8 * 4);
	for (unsigned int i = 0; i < 8; i++)
		bench_expect(&b, VGPU_LINK_CLOSE, NULL);
	assert_int_equal(b.events, POLLIN);
	assert_int_equal(bench_receive(&b, &p), 0);
	bench_free(&b);
}

/* What the guest asks for while its sessions are still being named comes after them. */
static void open_while_resuming(void **state)
{
	unsigned int small = 4096, got = 0;
	union bench_packet p;
	struct bench b;

	bench_link(&b, 64);
	for (unsigned int sid = 0; sid < 20; sid++)
		bench_open(&b, sid, sid * 2 * MIB, 0);
	bench_hang_up(&b);
	bench_turn(&b);
	bench_tick(&b);
	bench_accept(&b, NULL);
	assert_int_equal(setsockopt(b.watched, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	bench_welcome(&b, 0);
	assert_true(b.events & POLLOUT);
	command(&b, VGPU_COMMAND_OPEN, 63, 60 * MIB, 0, 0);
	command(&b, VGPU_COMMAND_HEAP_ADD, 19, 0, 50 * MIB, 2 * MIB);
	while (bench_receive(&b, &p) == VGPU_LINK_RESUME)
		assert_int_equal(p.h.sid, got++);
	assert_int_equal(got, 20);
	assert_int_equal(p.h.type, VGPU_LINK_RESUMED);
	for (unsigned int i = 0; i < 2; i++) {
		uint32_t type = bench_receive(&b, &p);

		assert_int_equal(type, p.h.sid == 63 ? VGPU_LINK_OPEN : VGPU_LINK_HEAP_ADD);
		assert_true(p.h.sid == 63 || p.heap.flags == 0);
	}
	assert_int_equal(bench_receive(&b, &p), 0);
	bench_free(&b);
}

/* A link took the HEAP_ADD and broke: whatever comes next, an executor may have the run. */
static void doubtful_runs_stay_until_closed(void **state)
{
	union bench_packet p;
	struct bench b;

	bench_link(&b, 64);
	for (unsigned int sid = 0; sid < 4; sid++) {
		bench_open(&b, sid, sid * 10 * MIB, 0);
		command(&b, VGPU_COMMAND_HEAP_ADD, sid, 0, (sid * 10 + 2) * MIB, 2 * MIB);
		bench_expect(&b, VGPU_LINK_HEAP_ADD, NULL);
	}
	bench_hang_up(&b);
	bench_turn(&b);
	command(&b, VGPU_COMMAND_CLOSE, 0, 0, 0, 0);
	/* a link that breaks before it was asked again changes nothing */
	bench_tick(&b);
	bench_accept(&b, NULL);
	bench_hang_up(&b);
	bench_turn(&b);
	assert_session(&b, 1, VGPU_SESSION_OPEN, VGPU_RESULT_PENDING);
	bench_tick(&b);
	bench_accept(&b, NULL);
	bench_welcome(&b, 0);
	bench_expect(&b, VGPU_LINK_RESUME, NULL);
	bench_expect(&b, VGPU_LINK_HEAP_ADD, &p); /* so that it is zeroed with the rest */
	assert_int_equal(p.h.sid, 0);
	assert_int_equal(p.heap.flags, VGPU_LINK_FLAG_RESUME);
	assert_int_equal(p.heap.window_offset, 2 * MIB);
	while (bench_receive(&b, &p) != VGPU_LINK_RESUMED)
		;
	for (unsigned int i = 0; i < 4; i++) {
		uint32_t type = bench_receive(&b, &p);

		assert_int_equal(type, p.h.sid ? VGPU_LINK_HEAP_ADD : VGPU_LINK_CLOSE);
	}
	bench_answer(&b, VGPU_LINK_ENDED, 1, VGPU_ERROR_SESSION_EXECUTOR_DIED);
	assert_session(&b, 1, VGPU_SESSION_DEAD, VGPU_ERROR_SESSION_EXECUTOR_DIED);
	bench_answer(&b, VGPU_LINK_HEAP_ADDED, 2, VGPU_ERROR_HOST_BUSY);
	assert_session(&b, 2, VGPU_SESSION_OPEN, VGPU_ERROR_HOST_INTERNAL);
	bench_answer(&b, VGPU_LINK_HEAP_ADDED, 3, 0);
	assert_session(&b, 3, VGPU_SESSION_OPEN, 0);
	for (unsigned int sid = 0; sid < 3; sid++) {
		command(&b, VGPU_COMMAND_OPEN, 20, (sid * 10 + 2) * MIB, 0, 0);
		assert_session(&b, 20, VGPU_SESSION_FREE, VGPU_ERROR_CALL_INVALID);
		if (sid) {
			command(&b, VGPU_COMMAND_CLOSE, sid, 0, 0, 0);
			bench_expect(&b, VGPU_LINK_CLOSE, NULL);
		}
		bench_answer(&b, VGPU_LINK_CLOSED, sid, 0);
		bench_open(&b, 30 + sid, (sid * 10 + 2) * MIB, 0);
	}
	bench_free(&b);
}

static void unsent_commands_fail_with_the_link(void **state)
{
	struct bench b;
	unsigned int small = 4096, sid;

	bench_link(&b, 64);
	for (sid = 0; sid < 32; sid++)
		bench_open(&b, sid, sid * 2 * MIB, 0);
	bench_answer(&b, VGPU_LINK_ENDED, 31, 1);
	command(&b, VGPU_COMMAND_CLOSE, 31, 0, 0, 0);
	bench_expect(&b, VGPU_LINK_CLOSE, NULL);
	bench_answer(&b, VGPU_LINK_CLOSED, 31, 0);
	command(&b, VGPU_COMMAND_CLOSE, 30, 0, 0, 0);
	bench_expect(&b, VGPU_LINK_CLOSE, NULL);
	bench_answer(&b, VGPU_LINK_CLOSED, 30, 0);
	assert_int_equal(setsockopt(b.watched, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	/* fill the socket */
	for (sid = 0; sid < 28; sid++)
		command(&b, VGPU_COMMAND_CLOSE, sid, 0, 0, 0);
	assert_true(b.events & POLLOUT);
	command(&b, VGPU_COMMAND_HEAP_ADD, 28, 0, 60 * MIB, 2 * MIB);
	command(&b, VGPU_COMMAND_HEAP_ADD, 29, 0, 62 * MIB, 2 * MIB);
	assert_session(&b, 28, VGPU_SESSION_OPEN, VGPU_RESULT_PENDING);
	/* closing what was not sent needs nobody's answer, but for the session itself */
	command(&b, VGPU_COMMAND_CLOSE, 29, 0, 0, 0);
	command(&b, VGPU_COMMAND_OPEN, 30, 62 * MIB, 0, 0);
	assert_session(&b, 30, VGPU_SESSION_OPENING, VGPU_RESULT_PENDING);
	command(&b, VGPU_COMMAND_CLOSE, 30, 0, 0, 0);
	assert_session(&b, 30, VGPU_SESSION_FREE, 0);
	command(&b, VGPU_COMMAND_OPEN, 31, 62 * MIB, 0, 0);
	/* ENDED meets a HEAP_ADD that nobody has seen */
	bench_answer(&b, VGPU_LINK_ENDED, 28, VGPU_ERROR_SESSION_ADMIN);
	assert_session(&b, 28, VGPU_SESSION_DEAD, VGPU_ERROR_SESSION_ADMIN);

	bench_hang_up(&b);
	bench_turn(&b);
	assert_session(&b, 31, VGPU_SESSION_FREE, VGPU_ERROR_HOST_NO_MEDIATOR);
	assert_session(&b, 29, VGPU_SESSION_CLOSING, VGPU_RESULT_PENDING);
	bench_free(&b);
}

struct wrong {
	uint32_t type, bytes, sid, says;
	const char *because;
};

static void wrong_messages_end_the_link(void **state)
{
	static const struct wrong wrong[] = {
		{ VGPU_LINK_OPENED, 288, 1, 288, "OPENED" },
		{ VGPU_LINK_HEAP_ADDED, 288, 0, 288, "HEAP_ADDED" },
		{ VGPU_LINK_ENDED, 288, 1, 288, "ENDED" },
		{ VGPU_LINK_CLOSED, 288, 0, 288, "CLOSED" },
		{ VGPU_LINK_RESET_DONE, 288, 0, 288, "RESET_DONE" },
		{ VGPU_LINK_WELCOME, 48, 0, 48, "belong" },
		{ VGPU_LINK_REFUSED, 288, 0, 288, "belong" },
		{ VGPU_LINK_STATUS, 287, 0, 287, "length" },
		{ VGPU_LINK_STATUS, 288, 0, 289, "length" },
		{ VGPU_LINK_STATUS, 16, 0, 16, "length" },
		{ VGPU_LINK_WELCOME, 288, 0, 288, "length" },
		{ VGPU_LINK_STATUS, 15, 0, 15, "length" },
		{ VGPU_LINK_STATUS, 1, 0, 1, "length" },
		{ VGPU_LINK_STATUS, 2000, 0, 2000, "" },
		{ VGPU_LINK_STATUS, 288, 64, 288, "session number" },
		{ VGPU_LINK_OPENED, 288, 0xffffffff, 288, "session number" },
		{ 0, 288, 0, 288, "unknown type" },
		{ VGPU_LINK_OPEN, 48, 0, 48, "unknown type" },
		{ 24, 288, 0, 288, "unknown type" },
		{ 0xffffffff, 288, 0, 288, "unknown type" },
	};
	struct bench b;

	bench_link(&b, 64);
	bench_open(&b, 0, 0, 1);
	for (unsigned int i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		uint8_t bytes[2048] = { 0 };
		struct vgpu_link_header h = { wrong[i].type, wrong[i].says, 1, wrong[i].sid };

		memcpy(bytes, &h, sizeof(h));
		assert_int_equal(vgpu_chan_send(b.peer, bytes, wrong[i].bytes, NULL, 0), 0);
		bench_turn(&b);
		assert_int_equal(reg(&b, VGPU_REG_STATUS), 0);
		assert_int_equal(reg(&b, VGPU_REG_ERROR), VGPU_ERROR_HOST_NO_MEDIATOR);
		assert_non_null(strstr(b.log, wrong[i].because));
		assert_session(&b, 0, VGPU_SESSION_OPEN, 0);
		bench_relink(&b);
		bench_expect(&b, VGPU_LINK_RESUME, NULL);
		bench_expect(&b, VGPU_LINK_HEAP_ADD, NULL);
		bench_expect(&b, VGPU_LINK_RESUMED, NULL);
	}
	/* a text without an end; descriptors are closed, whatever they come with */
	struct vgpu_link_result m = { .h = { VGPU_LINK_STATUS, sizeof(m), 1, 0 } };
	int fds[2] = { 0, 1 };

	assert_int_equal(vgpu_chan_send(b.peer, &m, sizeof(m), fds, 2), 0);
	bench_turn(&b);
	assert_int_equal(reg(&b, VGPU_REG_STATUS), VGPU_STATUS_LINKED);
	memset(m.text, '\n', sizeof(m.text));
	assert_int_equal(vgpu_chan_send(b.peer, &m, sizeof(m), NULL, 0), 0);
	bench_turn(&b);
	assert_int_equal(reg(&b, VGPU_REG_STATUS), 0);
	bench_free(&b);
}

static void wrong_welcomes(void **state)
{
	static const struct {
		uint32_t version, features;
		uint64_t window;
		uint32_t error;
	} wrong[] = {
		{ VGPU_LINK_VERSION + 1, 0, BENCH_WINDOW, VGPU_ERROR_HOST_VERSION },
		{ 0, 0, BENCH_WINDOW, VGPU_ERROR_HOST_VERSION },
		{ VGPU_LINK_VERSION, 2, BENCH_WINDOW, VGPU_ERROR_HOST_VERSION },
		{ VGPU_LINK_VERSION, 0, BENCH_WINDOW + 1, VGPU_ERROR_HOST_NO_MEDIATOR },
	};
	struct bench b;

	bench_make(&b, 64);
	bench_listen(&b);
	vgpu_device_start(b.dev);
	for (unsigned int i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		struct vgpu_link_welcome m = { .h = { VGPU_LINK_WELCOME, sizeof(m), 0, 0 },
					       .version = wrong[i].version,
					       .features = wrong[i].features,
					       .window_bytes = wrong[i].window };

		bench_accept(&b, NULL);
		assert_int_equal(vgpu_chan_send(b.peer, &m, sizeof(m), NULL, 0), 0);
		bench_turn(&b);
		assert_int_equal(reg(&b, VGPU_REG_STATUS), 0);
		assert_int_equal(reg(&b, VGPU_REG_ERROR), wrong[i].error);
		bench_hang_up(&b);
		bench_tick(&b);
	}
	/* other messages before WELCOME */
	bench_accept(&b, NULL);
	bench_answer(&b, VGPU_LINK_STATUS, 0, 0);
	assert_int_equal(b.watched, -1);
	bench_free(&b);
}

static void results_that_look_like_pending(void **state)
{
	struct bench b;

	bench_link(&b, 64);
	command(&b, VGPU_COMMAND_OPEN, 0, 0, 0, 0);
	bench_expect(&b, VGPU_LINK_OPEN, NULL);
	bench_answer(&b, VGPU_LINK_OPENED, 0, VGPU_RESULT_PENDING);
	assert_session(&b, 0, VGPU_SESSION_FREE, VGPU_ERROR_HOST_INTERNAL);
	bench_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_back_for_ever),
		cmocka_unit_test(refused),
		cmocka_unit_test(sessions_outlive_the_mediator),
		cmocka_unit_test(reset_while_the_mediator_is_away),
		cmocka_unit_test(reset_between_hello_and_welcome),
		cmocka_unit_test(mediator_that_does_not_read),
		cmocka_unit_test(open_while_resuming),
		cmocka_unit_test(doubtful_runs_stay_until_closed),
		cmocka_unit_test(unsent_commands_fail_with_the_link),
		cmocka_unit_test(wrong_messages_end_the_link),
		cmocka_unit_test(wrong_welcomes),
		cmocka_unit_test(results_that_look_like_pending),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
