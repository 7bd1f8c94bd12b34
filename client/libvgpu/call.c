// SPDX-License-Identifier: MIT
/*
 * How a call travels: room in the stream's backlog, room in the ring, the entry, the stamp, the
 * doorbell when the executor sleeps; and for waited calls a reply slot to wait at.
 */
#include "client/libvgpu/internal.h"

#include <sched.h>
#include <time.h>

static _Atomic uint32_t threads;
static _Thread_local uint32_t thread_number;

uint32_t vgpu_call_thread(void)
{
	if (unlikely(!thread_number))
		thread_number = atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) + 1;
	return thread_number;
}

uint64_t vgpu_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* May this thread spin? More spinners than half the CPUs would only hinder the executor. */
bool vgpu_spin_begin(struct vgpu_session *s)
{
	if (atomic_fetch_add_explicit(&s->spinners, 1, memory_order_relaxed) < s->spin_max)
		return true;
	atomic_fetch_sub_explicit(&s->spinners, 1, memory_order_relaxed);
	return false;
}

void vgpu_spin_end(struct vgpu_session *s)
{
	atomic_fetch_sub_explicit(&s->spinners, 1, memory_order_relaxed);
}

static bool dead(struct vgpu_session *s)
{
	return atomic_load_explicit(&s->transport->dead, memory_order_acquire);
}

/* ---- room ---- */

static bool ring_has_room(struct vgpu_session *s, uint32_t bytes)
{
	struct vgpu_session_header *h = s->producer.control.header;
	uint64_t need = vgpu_ring_cells(bytes) * VGPU_CELL_BYTES;
	uint64_t head = __atomic_load_n(&h->head, __ATOMIC_ACQUIRE);

	return __atomic_load_n(&h->tail, __ATOMIC_RELAXED) + need - head <= VGPU_RING_BYTES;
}

static bool backlog_has_room(struct vgpu_session *s, uint32_t stream, uint32_t bytes)
{
	struct vgpu_stream_state *st = &s->stream[stream];
	uint64_t issued = __atomic_load_n(&s->producer.control.stream[stream].issued_bytes, __ATOMIC_ACQUIRE);

	atomic_store_explicit(&st->issued, issued, memory_order_relaxed);
	return atomic_load_explicit(&st->posted, memory_order_relaxed) - issued + bytes <= VGPU_STREAM_BACKLOG;
}

/* Is there room? stream VGPU_STREAMS asks for the ring. */
static bool has_room(struct vgpu_session *s, uint32_t stream, uint32_t bytes)
{
	return stream == VGPU_STREAMS ? ring_has_room(s, bytes) : backlog_has_room(s, stream, bytes);
}

/* Waits until there may be room; the caller tries again. */
static vgpu_status wait_for_room(struct vgpu_session *s, uint32_t stream, uint32_t bytes)
{
	struct vgpu_session_header *h = s->producer.control.header;
	uint64_t until = vgpu_now_ns() + (uint64_t)VGPU_SPIN_SPACE_NS * s->spin_scale / 100;
	vgpu_status status = VGPU_OK;

	atomic_fetch_add_explicit(&s->count_full, 1, memory_order_relaxed);
	if (vgpu_spin_begin(s)) {
		bool room;

		do {
			for (int i = 0; i < 32; i++)
				vgpu_relax();
			room = has_room(s, stream, bytes);
		} while (!room && vgpu_now_ns() < until);
		vgpu_spin_end(s);
		if (room)
			return VGPU_OK;
	}
	__atomic_fetch_add(&h->space_waiters, 1, __ATOMIC_SEQ_CST);
	while (!status) {
		uint32_t seq = __atomic_load_n(&h->space_seq, __ATOMIC_SEQ_CST);

		/* the waiter is announced before this look, the executor looks for it after moving */
		vgpu_fence();
		if (has_room(s, stream, bytes))
			break;
		status = vgpu_session_check(s);
		if (!status) {
			atomic_fetch_add_explicit(&s->count_sleeps, 1, memory_order_relaxed);
			s->transport->ops->wait_word(s->transport, &h->space_seq, seq, VGPU_WAIT_BELT_NS);
		}
	}
	__atomic_fetch_sub(&h->space_waiters, 1, __ATOMIC_RELAXED);
	return status;
}

vgpu_status vgpu_call_backlog(struct vgpu_session *s, uint32_t stream, uint32_t bytes, bool wait)
{
	struct vgpu_stream_state *st = &s->stream[stream];
	uint64_t posted = atomic_load_explicit(&st->posted, memory_order_relaxed);

	for (;;) {
		uint64_t issued = atomic_load_explicit(&st->issued, memory_order_relaxed);

		if (unlikely(posted - issued + bytes > VGPU_STREAM_BACKLOG)) {
			vgpu_status status;

			if (!backlog_has_room(s, stream, bytes)) {
				if (!wait)
					return VGPU_CUDA_NOT_READY;
				status = wait_for_room(s, stream, bytes);
				if (status)
					return status;
			}
			posted = atomic_load_explicit(&st->posted, memory_order_relaxed);
			continue;
		}
		if (likely(atomic_compare_exchange_weak_explicit(&st->posted, &posted, posted + bytes,
								 memory_order_relaxed, memory_order_relaxed)))
			return VGPU_OK;
	}
}

/*
 * A cell is written again when the executor, another process, has read it: ThreadSanitizer cannot
 * see that this orders the writers.
 */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TELL_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_THREAD__) || defined(TELL_SANITIZER)
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#else
#define __tsan_acquire(address) ((void)(address))
#define __tsan_release(address) ((void)(address))
#endif

vgpu_status vgpu_call_reserve(struct vgpu_session *s, uint32_t bytes, bool wait, uint64_t *ret_pos)
{
	while (unlikely(vgpu_ring_reserve(&s->producer, bytes, ret_pos))) {
		vgpu_status status = wait ? wait_for_room(s, VGPU_STREAMS, bytes) : VGPU_CUDA_NOT_READY;

		if (status)
			return status;
	}
	__tsan_acquire(&s->producer);
	return VGPU_OK;
}

void vgpu_call_commit(struct vgpu_session *s, uint64_t pos)
{
	__tsan_release(&s->producer);
	if (likely(!vgpu_ring_commit(&s->producer, pos)))
		return;
	atomic_fetch_add_explicit(&s->count_doorbells, 1, memory_order_relaxed);
	if (s->transport->doorbell)
		*s->transport->doorbell = 0;
	else
		s->transport->ops->doorbell(s->transport);
}

/* ---- entries ---- */

static vgpu_status send(struct vgpu_session *s, const struct vgpu_call *c, uint32_t slot, uint32_t seq)
{
	const struct vgpu_control *control = &s->producer.control;
	struct vgpu_entry e = { .bytes = (uint32_t)sizeof(e) + c->head_bytes + c->tail_bytes,
				.op = (uint16_t)c->op, .slot = slot, .seq = seq, .stream = c->stream,
				.thread = vgpu_call_thread() };
	vgpu_status status;
	uint64_t pos;

	if (c->stream_class) {
		status = vgpu_call_backlog(s, c->stream,
					   (uint32_t)vgpu_ring_cells(e.bytes) * VGPU_CELL_BYTES, true);
		if (unlikely(status))
			return status;
	}
	status = vgpu_call_reserve(s, e.bytes, true, &pos);
	if (unlikely(status))
		return status;
	vgpu_ring_write(control, pos, &e, sizeof(e));
	if (c->head_bytes)
		vgpu_ring_write(control, pos + sizeof(e), c->head, c->head_bytes);
	if (c->tail_bytes)
		vgpu_ring_write(control, pos + sizeof(e) + c->head_bytes, c->tail, c->tail_bytes);
	vgpu_call_commit(s, pos);
	/* after the entry is in the ring: a mark posted by who has seen this lies behind it */
	if (c->stream_class || c->op == VGPU_OP_LAUNCH_FIRST)
		atomic_fetch_add_explicit(&s->stream[c->stream].work, 1, memory_order_release);
	return VGPU_OK;
}

vgpu_status vgpu_call_post(struct vgpu_session *s, const struct vgpu_call *c)
{
	return send(s, c, VGPU_NO_SLOT, 0);
}

/* ---- reply slots ---- */

static bool slot_try(struct vgpu_session *s, uint32_t *ret)
{
	uint32_t hint = vgpu_call_thread() % VGPU_SLOTS;

	for (uint32_t i = 0; i < VGPU_SLOTS / 64; i++) {
		uint32_t word = (hint / 64 + i) % (VGPU_SLOTS / 64);
		uint64_t have = atomic_load_explicit(&s->slot_free[word], memory_order_relaxed);

		while (have) {
			uint64_t own = 1ull << (hint % 64);
			uint64_t bit = have & own ? own : have & -have;

			if (atomic_compare_exchange_weak_explicit(&s->slot_free[word], &have, have & ~bit,
								  memory_order_acquire, memory_order_relaxed)) {
				*ret = word * 64 + (uint32_t)__builtin_ctzll(bit);
				return true;
			}
		}
	}
	return false;
}

/* More threads than slots queue here; every slot comes back, also those of a dead session. */
static uint32_t slot_get(struct vgpu_session *s)
{
	uint32_t slot;

	if (likely(slot_try(s, &slot)))
		return slot;
	pthread_mutex_lock(&s->slot_lock);
	atomic_fetch_add(&s->slot_waiters, 1);
	while (!slot_try(s, &slot))
		pthread_cond_wait(&s->slot_cond, &s->slot_lock);
	atomic_fetch_sub(&s->slot_waiters, 1);
	pthread_mutex_unlock(&s->slot_lock);
	return slot;
}

static void slot_put(struct vgpu_session *s, uint32_t slot)
{
	atomic_fetch_or(&s->slot_free[slot / 64], 1ull << (slot % 64));
	if (likely(!atomic_load(&s->slot_waiters)))
		return;
	pthread_mutex_lock(&s->slot_lock);
	pthread_cond_signal(&s->slot_cond);
	pthread_mutex_unlock(&s->slot_lock);
}

static bool replied(const struct vgpu_slot *slot, uint32_t seq)
{
	return __atomic_load_n(&slot->seq, __ATOMIC_ACQUIRE) == seq;
}

/* True: the answer is there. False: the session is dead. */
static bool wait_reply(struct vgpu_session *s, struct vgpu_slot *slot, uint32_t seq)
{
	for (int i = 0; i < 256; i++) { /* an answer that comes at once needs no clock */
		if (replied(slot, seq))
			return true;
		vgpu_relax();
	}
	if (vgpu_spin_begin(s)) {
		uint64_t until = vgpu_now_ns() + (uint64_t)VGPU_SPIN_REPLY_NS * s->spin_scale / 100;
		bool there;

		do {
			for (int i = 0; i < 64 && !replied(slot, seq); i++)
				vgpu_relax();
			there = replied(slot, seq);
		} while (!there && vgpu_now_ns() < until);
		vgpu_spin_end(s);
		if (there)
			return true;
	}
	for (;;) {
		uint32_t now;

		__atomic_store_n(&slot->waiting, 1, __ATOMIC_RELAXED);
		vgpu_fence();
		now = __atomic_load_n(&slot->seq, __ATOMIC_ACQUIRE);
		if (now == seq || dead(s))
			break;
		atomic_fetch_add_explicit(&s->count_sleeps, 1, memory_order_relaxed);
		s->transport->ops->wait_word(s->transport, &slot->seq, now, VGPU_WAIT_BELT_NS);
	}
	__atomic_store_n(&slot->waiting, 0, __ATOMIC_RELAXED);
	return replied(slot, seq);
}

vgpu_status vgpu_call_wait(struct vgpu_session *s, const struct vgpu_call *c, __u64 ret_value[6])
{
	uint32_t number = slot_get(s);
	struct vgpu_slot *slot = &s->producer.control.slot[number];
	uint32_t seq = __atomic_load_n(&slot->seq, __ATOMIC_RELAXED) + 1;
	vgpu_status status;

	atomic_fetch_add_explicit(&s->count_waited, 1, memory_order_relaxed);
	status = send(s, c, number, seq);
	if (!status) {
		if (wait_reply(s, slot, seq)) {
			status = slot->status;
			if (ret_value)
				memcpy(ret_value, slot->value, sizeof(slot->value));
		} else {
			status = atomic_load(&s->transport->dead);
		}
	}
	slot_put(s, number);
	return status;
}

vgpu_status vgpu_nop(struct vgpu_session *s)
{
	vgpu_status status = vgpu_session_check(s);

	return status ? status : vgpu_call_wait(s, &(struct vgpu_call){ .op = VGPU_OP_NOP }, NULL);
}

vgpu_status vgpu_nop_post(struct vgpu_session *s)
{
	vgpu_status status = vgpu_session_check(s);

	return status ? status : vgpu_call_post(s, &(struct vgpu_call){ .op = VGPU_OP_NOP });
}
