/* SPDX-License-Identifier: MIT */
/*
 * Commands between the driver and their end. The driver writes no completion for each; now and then
 * (every 64 commands, and whenever room runs out) a mark is put into the stream, a number that the GPU
 * writes to a word of ours.
 */
#include "host/executor/internal.h"

uint64_t vx_flying_bytes(const struct vx_call *c)
{
	switch (c->entry->op) {
	case VGPU_OP_LAUNCH:
	case VGPU_OP_LAUNCH_FIRST:
		return VX_LAUNCH_BYTES + c->data_bytes;
	case VGPU_OP_COPY_INLINE:
		return VX_COMMAND_BYTES + c->data_bytes;
	default:
		return VX_COMMAND_BYTES;
	}
}

static bool flying_full(const struct vx_session *s, uint64_t bytes)
{
	return s->flying >= VX_FLYING || s->flying_bytes + bytes > VX_FLYING_BYTES;
}

static void flying_mark(struct vx_session *s, struct vx_stream *st)
{
	uint32_t i = vx_stream_index(s, st);

	if (st->marks == VX_MARKS)
		return; /* many are on their way: one of them comes soon enough */
	st->issued++; /* the mark itself */
	st->issued_queue += VX_COMMAND_BYTES;
	s->flying++;
	s->flying_bytes += VX_COMMAND_BYTES;
	st->marked = st->issued;
	st->marked_queue = st->issued_queue;
	st->mark[(st->mark_first + st->marks) % VX_MARKS].command = st->issued;
	st->mark[(st->mark_first + st->marks) % VX_MARKS].queue = st->issued_queue;
	st->marks++;
	vx_check(s, s->gpu->cu.cuStreamWriteValue64(st->cu, s->gpu->mark_device + i * VGPU_CELL_BYTES,
						    st->issued, 0));
}

void vx_flying_add(struct vx_session *s, struct vx_stream *st, uint64_t commands, uint64_t bytes)
{
	uint32_t i = vx_stream_index(s, st);

	st->issued += commands;
	st->issued_queue += commands * bytes;
	s->flying += commands;
	s->flying_bytes += commands * bytes;
	s->busy[i / 64] |= 1ull << (i % 64);
	if (st->issued - st->marked >= VX_MARK_EVERY ||
	    st->issued_queue - st->marked_queue >= VX_MARK_BYTES ||
	    (!st->marks && flying_full(s, bytes)))
		flying_mark(s, st);
}

void vx_flying_done(struct vx_session *s, struct vx_stream *st, uint64_t done)
{
	uint64_t queue = st->done_queue;
	uint32_t i = vx_stream_index(s, st);

	while (st->marks && st->mark[st->mark_first].command <= done) {
		queue = st->mark[st->mark_first].queue;
		st->mark_first = (st->mark_first + 1) % VX_MARKS;
		st->marks--;
	}
	if (done == st->issued)
		queue = st->issued_queue;
	s->flying -= done - st->done;
	s->flying_bytes -= queue - st->done_queue;
	st->done = done;
	st->done_queue = queue;
	if (done == st->issued && !st->destroyed)
		s->busy[i / 64] &= ~(1ull << (i % 64));
}

static void flying_look(struct vx_session *s, struct vx_stream *st)
{
	uint64_t done = __atomic_load_n(&s->gpu->mark[vx_stream_index(s, st) * 8], __ATOMIC_ACQUIRE);

	/* kernels can reach that word: only what was asked for is believed */
	for (uint32_t k = 0; k < st->marks; k++)
		if (st->mark[(st->mark_first + k) % VX_MARKS].command == done) {
			vx_flying_done(s, st, done);
			return;
		}
}

/* Looks at all busy streams; those that have work and no mark on its way get one. */
static void flying_reclaim(struct vx_session *s)
{
	for (uint32_t word = 0; word < VGPU_STREAMS / 64; word++) {
		for (uint64_t left = s->busy[word]; left; left &= left - 1) {
			struct vx_stream *st = &s->stream[word * 64 + (uint32_t)__builtin_ctzll(left)];

			flying_look(s, st);
			if (!st->marks && st->issued != st->done)
				flying_mark(s, st);
		}
	}
}

/* What one stream may have: with several busy ones, so much that each gets its part. */
static uint64_t flying_cap(const struct vx_session *s)
{
	uint64_t active = 0, cap;

	for (uint32_t word = 0; word < VGPU_STREAMS / 64; word++)
		active += (uint64_t)__builtin_popcountll(s->busy[word]);
	if (active <= 1)
		return VX_FLYING_STREAM;
	cap = VX_FLYING / active;
	if (cap > VX_FLYING_STREAM)
		return VX_FLYING_STREAM;
	return cap < VX_FLYING_STREAM_MIN ? VX_FLYING_STREAM_MIN : cap;
}

uint64_t vx_flying_room(struct vx_session *s, struct vx_stream *st, uint64_t bytes)
{
	uint64_t own = st->issued - st->done, cap;

	if (__builtin_expect(own < VX_FLYING_STREAM_MIN && !flying_full(s, bytes), 1))
		return VX_FLYING_STREAM_MIN - own;
	if (own >= VX_MARK_EVERY)
		flying_look(s, st);
	cap = flying_cap(s);
	own = st->issued - st->done;
	if (own < cap && !flying_full(s, bytes))
		return cap - own;
	flying_reclaim(s);
	own = st->issued - st->done;
	if (own < cap && !flying_full(s, bytes))
		return cap - own;
	/* the others may wait for this one */
	return own == 0 && s->flying_bytes + bytes <= VX_FLYING_BYTES_MOST;
}
