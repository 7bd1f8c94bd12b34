// SPDX-License-Identifier: MIT
/*
 * A guest that writes anything anywhere, beside a mediator that answers, lies, and goes away. What
 * must hold at every moment is counted from the outside: who owns which extent.
 */
#include "device/core/bench_test.h"

#define SESSIONS 16
#define EXTENTS (BENCH_WINDOW / VGPU_EXTENT_BYTES)

/* The mediator's own book: which extent it has been told belongs to whom. */
struct book {
	uint8_t owner[EXTENTS]; /* sid + 1 */
	bool known[SESSIONS];
	bool believed; /* nobody lies in its name */
	uint64_t opens, heaps, closes, resets;
};

static uint64_t seed;

static uint32_t random32(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 16);
}

static uint32_t below(uint32_t n)
{
	return random32() % n;
}

static void take(struct book *book, uint64_t offset, uint64_t bytes, unsigned int sid)
{
	assert_true(bytes && !(offset % VGPU_EXTENT_BYTES) && !(bytes % VGPU_EXTENT_BYTES));
	assert_true(offset + bytes <= BENCH_WINDOW && offset + bytes > offset);
	for (uint64_t i = offset >> 21; i < (offset + bytes) >> 21; i++) {
		assert_true(!book->believed || !book->owner[i] || book->owner[i] == sid + 1);
		book->owner[i] = (uint8_t)(sid + 1);
	}
}

static void forget(struct book *book, unsigned int sid)
{
	book->known[sid] = false;
	for (unsigned int i = 0; i < EXTENTS; i++)
		if (book->owner[i] == sid + 1)
			book->owner[i] = 0;
}

static void reply(struct bench *b, uint32_t type, const struct vgpu_link_header *to, uint32_t error)
{
	struct vgpu_link_result m = { .h = { type, sizeof(m), to->epoch, to->sid },
				      .error = error };

	/* the device may have left already */
	(void)vgpu_chan_send(b->peer, &m, sizeof(m), NULL, 0);
}

static void mediate(struct bench *b, struct book *book, const union bench_packet *p)
{
	unsigned int sid = p->h.sid;

	assert_true(sid < SESSIONS);
	switch (p->h.type) {
	case VGPU_LINK_OPEN:
	case VGPU_LINK_RESUME:
		assert_false(book->believed && book->known[sid]);
		assert_int_equal(b->fds.count, p->h.type == VGPU_LINK_OPEN ? 2 : 0);
		assert_int_equal(p->open.control_offset % VGPU_EXTENT_BYTES, 0);
		if (p->h.type == VGPU_LINK_OPEN && !below(4)) {
			reply(b, VGPU_LINK_OPENED, &p->h, VGPU_ERROR_HOST_BUSY);
			return;
		}
		book->known[sid] = true;
		book->opens++;
		take(book, p->open.control_offset, VGPU_CONTROL_BYTES, sid);
		if (p->h.type == VGPU_LINK_OPEN)
			reply(b, VGPU_LINK_OPENED, &p->h, 0);
		else if (!below(4))
			reply(b, VGPU_LINK_ENDED, &p->h, VGPU_ERROR_SESSION_EXECUTOR_DIED);
		return;
	case VGPU_LINK_HEAP_ADD:
		assert_true(!book->believed || book->known[sid]);
		if (!p->heap.flags && !below(4)) {
			/* an executor that refuses has seen the extents: they stay the session's */
			bool seen = below(2);

			if (seen)
				take(book, p->heap.window_offset, p->heap.bytes, sid);
			reply(b, VGPU_LINK_HEAP_ADDED, &p->h,
			      seen ? VGPU_ERROR_CALL_NO_MEMORY : VGPU_ERROR_HOST_WINDOW_LIMIT);
			return;
		}
		book->heaps++;
		take(book, p->heap.window_offset, p->heap.bytes, sid);
		if (!p->heap.flags)
			reply(b, VGPU_LINK_HEAP_ADDED, &p->h, 0);
		return;
	case VGPU_LINK_CLOSE:
		book->closes++;
		forget(book, sid);
		reply(b, VGPU_LINK_CLOSED, &p->h, 0);
		return;
	case VGPU_LINK_RESET:
		book->resets++;
		for (sid = 0; sid < SESSIONS; sid++)
			forget(book, sid);
		reply(b, VGPU_LINK_RESET_DONE, &p->h, 0);
		return;
	default:
		assert_int_equal(p->h.type, VGPU_LINK_RESUMED);
	}
}

static void mediator_step(struct bench *b, struct book *book)
{
	union bench_packet p;

	if (b->peer < 0) {
		if (b->watched < 0 && b->deadline)
			bench_tick(b);
		b->peer = accept4(b->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (b->peer < 0)
			return;
		/* a mediator that knows nothing, as after a crash */
		memset(book->owner, 0, sizeof(book->owner));
		memset(book->known, 0, sizeof(book->known));
		if (bench_receive(b, &p) == VGPU_LINK_HELLO)
			bench_welcome(b, random32() & 4);
		return;
	}
	if (!below(200))
		return bench_hang_up(b);
	for (unsigned int i = below(4); i && bench_receive(b, &p); i--)
		mediate(b, book, &p);
}

static void lie(struct bench *b)
{
	uint8_t bytes[VGPU_LINK_MESSAGE_MAX];
	struct vgpu_link_result m = {
		.h = { 16 + below(9), sizeof(m), reg(b, VGPU_REG_EPOCH) - !below(4),
		       below(SESSIONS + 2) },
		.error = below(2) ? random32() : 0,
	};

	if (b->peer < 0)
		return;
	if (below(2)) {
		(void)vgpu_chan_send(b->peer, &m, sizeof(m), NULL, 0);
		return;
	}
	for (unsigned int i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)random32();
	(void)vgpu_chan_send(b->peer, bytes, 1 + below(sizeof(bytes)), NULL, 0);
}

static void garbage(struct bench *b)
{
	static const unsigned int sizes[] = { 1, 2, 4, 4, 4, 8, 3, 0, 16 };
	uint64_t offset = below(4)   ? below(0x500) & ~3u
			  : below(8) ? below(VGPU_DEVICE_BAR0_BYTES)
				     : random32() * 0x10001ull;
	uint64_t value = below(2) ? below(70) : (uint64_t)random32() << 32 | random32();
	unsigned int size = sizes[below(sizeof(sizes) / sizeof(*sizes))];

	/* not too many resets, or nothing else ever happens */
	if (offset == VGPU_REG_RESET && below(20))
		return;
	vgpu_device_mmio_read(b->dev, offset, size);
	vgpu_device_mmio_write(b->dev, offset, size, value);
}

static void plausible(struct bench *b)
{
	unsigned int sid = below(SESSIONS);

	switch (below(4)) {
	case 0:
		command(b, VGPU_COMMAND_OPEN, sid, below(EXTENTS + 1) * VGPU_EXTENT_BYTES, below(9),
			1);
		break;
	case 1:
	case 2:
		command(b, VGPU_COMMAND_HEAP_ADD, sid, below(8) * VGPU_EXTENT_BYTES,
			below(EXTENTS) * VGPU_EXTENT_BYTES, below(4) * VGPU_EXTENT_BYTES);
		break;
	default:
		command(b, VGPU_COMMAND_CLOSE, sid, 0, 0, 0);
	}
}

static void run(bool lies)
{
	struct book book = { .believed = !lies };
	struct bench b;

	bench_link(&b, SESSIONS);
	for (unsigned int i = 0; i < 60000; i++) {
		if (below(2))
			plausible(&b);
		else
			garbage(&b);
		if (!below(3))
			mediator_step(&b, &book);
		if (lies && !below(50))
			lie(&b);
		if (!below(3000))
			vgpu_device_reset(b.dev);
		bench_turn(&b);
		/* an end of the link by the device's own choice */
		if (b.watched < 0)
			bench_hang_up(&b);
		for (unsigned int sid = 0; sid < SESSIONS; sid++)
			assert_in_range(reg(&b, VGPU_REG_SESSION_STATE(sid)), VGPU_SESSION_FREE,
					VGPU_SESSION_CLOSING);
		assert_in_range(reg(&b, VGPU_REG_VECTORS), 1, VGPU_DEVICE_VECTORS_MAX);
	}
	/* it did not just refuse everything */
	assert_true(book.opens > 100 && book.heaps > 100 && book.closes > 100 && book.resets > 10);
	/* the guest's noise is one message a second */
	assert_true(b.logs <= 4 * (b.now / (1000 * NS_PER_MS)) + 10);
	bench_free(&b);
}

static void hostile_guest(void **state)
{
	seed = 0x9e3779b97f4a7c15;
	run(false);
}

static void hostile_guest_and_lying_mediator(void **state)
{
	seed = 0xd1b54a32d192ed03;
	run(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hostile_guest),
		cmocka_unit_test(hostile_guest_and_lying_mediator),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
