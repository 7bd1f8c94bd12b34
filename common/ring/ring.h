/* SPDX-License-Identifier: MIT */
/*
 * The command ring of a session, both sides; its layout is protocol/session/session.h.
 *
 * Many producers, one consumer. A producer reserves cells with compare-and-swap on `tail`, writes
 * them and stamps the first; the consumer takes the entry at its head once the stamp says that it
 * is whole. No producer waits for another, only the consumer waits for a producer that was
 * preempted between reserving and stamping, and then it has nothing better to do.
 *
 * The consumer reads every byte of an entry once, into its own buffer, and never reads back what
 * it has published. Everything is inline: this is the path of every call.
 */
#ifndef VGPU_COMMON_RING_H
#define VGPU_COMMON_RING_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "protocol/session/session.h"

/*
 * A full fence. gcc warns that ThreadSanitizer does not know fences: it does not need these, what one
 * side reads of the other's data is ordered by the release and acquire of stamps and slots.
 */
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan"
#endif
static inline void vgpu_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11
#pragma GCC diagnostic pop
#endif

/* A mapped control area. */
struct vgpu_control {
	struct vgpu_session_header *header;
	struct vgpu_slot *slot;
	struct vgpu_stream_progress *stream;
	uint32_t *stamp;
	uint8_t *ring;
};

static inline struct vgpu_control vgpu_control_at(void *base)
{
	uint8_t *p = base;

	return (struct vgpu_control){
		.header = (struct vgpu_session_header *)p,
		.slot = (struct vgpu_slot *)(p + VGPU_SLOT_OFFSET),
		.stream = (struct vgpu_stream_progress *)(p + VGPU_STREAM_OFFSET),
		.stamp = (uint32_t *)(p + VGPU_STAMP_OFFSET),
		.ring = p + VGPU_RING_OFFSET,
	};
}

static inline uint64_t vgpu_ring_cells(uint64_t bytes)
{
	return (bytes + VGPU_CELL_BYTES - 1) / VGPU_CELL_BYTES;
}

/* The stamp that makes the entry at position pos valid: its lap, from 1. */
static inline uint32_t vgpu_ring_lap(uint64_t pos)
{
	return (uint32_t)(pos / VGPU_RING_BYTES) + 1;
}

static inline uint32_t *vgpu_ring_stamp(const struct vgpu_control *c, uint64_t pos)
{
	return &c->stamp[pos / VGPU_CELL_BYTES % VGPU_RING_CELLS];
}

/* ---- producer ---- */

struct vgpu_producer {
	struct vgpu_control control;
	uint64_t head; /* an old value of header->head: spares reading the consumer's line */
};

/* Copies into the ring at pos; the range may wrap. */
static inline void vgpu_ring_write(const struct vgpu_control *c, uint64_t pos, const void *from,
				   size_t bytes)
{
	size_t at = pos % VGPU_RING_BYTES;
	size_t first = VGPU_RING_BYTES - at;

	if (__builtin_expect(bytes <= first, 1)) {
		memcpy(c->ring + at, from, bytes);
		return;
	}
	memcpy(c->ring + at, from, first);
	memcpy(c->ring, (const uint8_t *)from + first, bytes - first);
}

/*
 * Reserves room for an entry of `bytes` (at most VGPU_ENTRY_MAX). 0 and its position, or -EAGAIN:
 * the ring is full. After 0 the caller must write the entry and call vgpu_ring_commit.
 */
static inline int vgpu_ring_reserve(struct vgpu_producer *p, size_t bytes, uint64_t *ret_pos)
{
	uint64_t need = vgpu_ring_cells(bytes) * VGPU_CELL_BYTES;
	__u64 *tail = &p->control.header->tail;
	__u64 pos = __atomic_load_n(tail, __ATOMIC_RELAXED);

	for (;;) {
		uint64_t head = __atomic_load_n(&p->head, __ATOMIC_ACQUIRE);

		if (pos + need - head > VGPU_RING_BYTES) {
			head = __atomic_load_n(&p->control.header->head, __ATOMIC_ACQUIRE);
			__atomic_store_n(&p->head, head, __ATOMIC_RELEASE);
			pos = __atomic_load_n(tail, __ATOMIC_RELAXED);
			if (pos + need - head > VGPU_RING_BYTES)
				return -EAGAIN;
		}
		if (__atomic_compare_exchange_n(tail, &pos, pos + need, true, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED)) {
			*ret_pos = pos;
			return 0;
		}
	}
}

/* Makes the entry at pos visible. True: the consumer sleeps, ring the doorbell. */
static inline bool vgpu_ring_commit(struct vgpu_producer *p, uint64_t pos)
{
	__atomic_store_n(vgpu_ring_stamp(&p->control, pos), vgpu_ring_lap(pos), __ATOMIC_RELEASE);
	/* the stamp before the look at `sleeping`: the consumer does it the other way round */
	vgpu_fence();
	return __atomic_load_n(&p->control.header->sleeping, __ATOMIC_RELAXED);
}

/* ---- consumer ---- */

struct vgpu_consumer {
	struct vgpu_control control;
	uint64_t head;
	uint64_t published; /* what header->head was last set to */
};

static inline bool vgpu_ring_ready(const struct vgpu_consumer *c)
{
	return __atomic_load_n(vgpu_ring_stamp(&c->control, c->head), __ATOMIC_ACQUIRE) ==
	       vgpu_ring_lap(c->head);
}

/*
 * Copies the entry at the head into buffer (VGPU_ENTRY_MAX rounded up to a cell) and moves on.
 * Returns its length, 0 when there is none, -EPROTO when its length is impossible: the ring has
 * then lost its meaning and the session must end.
 */
static inline int vgpu_ring_take(struct vgpu_consumer *c, void *buffer)
{
	size_t at = c->head % VGPU_RING_BYTES;
	uint32_t bytes;
	size_t rest;

	if (!vgpu_ring_ready(c))
		return 0;
	memcpy(buffer, c->control.ring + at, VGPU_CELL_BYTES);
	memcpy(&bytes, buffer, sizeof(bytes));
	if (bytes < sizeof(struct vgpu_entry) || bytes > VGPU_ENTRY_MAX)
		return -EPROTO;
	if (bytes > VGPU_CELL_BYTES) {
		uint8_t *to = (uint8_t *)buffer + VGPU_CELL_BYTES;
		size_t first;

		rest = bytes - VGPU_CELL_BYTES;
		at = (at + VGPU_CELL_BYTES) % VGPU_RING_BYTES;
		first = VGPU_RING_BYTES - at;
		if (first > rest)
			first = rest;
		memcpy(to, c->control.ring + at, first);
		memcpy(to + first, c->control.ring, rest - first);
	}
	c->head += vgpu_ring_cells(bytes) * VGPU_CELL_BYTES;
	return (int)bytes;
}

/* Gives the cells of all taken entries back to the producers. */
static inline void vgpu_ring_publish(struct vgpu_consumer *c)
{
	if (c->published == c->head)
		return;
	c->published = c->head;
	__atomic_store_n(&c->control.header->head, c->head, __ATOMIC_RELEASE);
}

/*
 * Says that the consumer is going to sleep. False: an entry has come meanwhile, do not.
 * After waking, call vgpu_ring_awake.
 */
static inline bool vgpu_ring_sleep(struct vgpu_consumer *c)
{
	__atomic_store_n(&c->control.header->sleeping, 1, __ATOMIC_RELAXED);
	vgpu_fence();
	if (!vgpu_ring_ready(c))
		return true;
	__atomic_store_n(&c->control.header->sleeping, 0, __ATOMIC_RELAXED);
	return false;
}

static inline void vgpu_ring_awake(struct vgpu_consumer *c)
{
	__atomic_store_n(&c->control.header->sleeping, 0, __ATOMIC_RELAXED);
}

/* ---- reply slots ---- */

/* Consumer: completes a waited call. True: the client sleeps on the slot, wake it. */
static inline bool vgpu_slot_reply(struct vgpu_slot *slot, uint32_t seq, uint32_t status,
				   const __u64 value[6])
{
	/* atomic: a client that uses a slot twice makes two threads of the executor write here */
	__atomic_store_n(&slot->status, status, __ATOMIC_RELAXED);
	for (int i = 0; value && i < 6; i++)
		__atomic_store_n(&slot->value[i], value[i], __ATOMIC_RELAXED);
	__atomic_store_n(&slot->seq, seq, __ATOMIC_RELEASE);
	vgpu_fence();
	return __atomic_load_n(&slot->waiting, __ATOMIC_RELAXED);
}

#endif
