/* SPDX-License-Identifier: MIT */
/* Answers and wake-ups. A local client sleeps on a word of the shared memory, a VM on its interrupt. */
#include "host/executor/internal.h"

#include <linux/futex.h>
#include <limits.h>
#include <sys/syscall.h>
#include <unistd.h>

static void wake_word(struct vx_session *s, const __u32 *word)
{
	uint64_t one = 1;

	if (s->assign.wake_futex) {
		syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
		return;
	}
	/* a full counter means that the interrupt is already on its way */
	if (write(s->interrupt, &one, sizeof(one)) < 0)
		return;
}

void vx_reply(struct vx_session *s, uint32_t slot, uint32_t seq, uint32_t status,
	      const __u64 value[6])
{
	struct vgpu_slot *to = &s->ring.control.slot[slot];

	if (vgpu_slot_reply(to, seq, status, value))
		wake_word(s, &to->seq);
}

/* Issue thread only: the counters of posted errors have one writer. */
void vx_reply_call(struct vx_session *s, const struct vx_call *call, uint32_t status,
		   const __u64 value[6])
{
	struct vgpu_session_header *h = s->ring.control.header;

	if (call->entry->slot != VGPU_NO_SLOT) {
		/* set if it was parked; before the answer: the client may use the slot at once */
		atomic_store_explicit(&s->slot_busy[call->entry->slot], false, memory_order_relaxed);
		vx_reply(s, call->entry->slot, call->entry->seq, status, value);
		return;
	}
	if (!status || status == atomic_load_explicit(&s->sticky, memory_order_relaxed))
		return;
	if (!h->posted_error)
		h->posted_error = status;
	__atomic_fetch_add(&h->posted_errors, 1, __ATOMIC_RELEASE);
}

void vx_wake_space(struct vx_session *s)
{
	struct vgpu_session_header *h = s->ring.control.header;

	for (uint32_t word = 0; word < VGPU_STREAMS / 64; word++) {
		for (; s->moved[word]; s->moved[word] &= s->moved[word] - 1) {
			uint32_t i = word * 64 + (uint32_t)__builtin_ctzll(s->moved[word]);

			__atomic_store_n(&s->ring.control.stream[i].issued_bytes,
					 s->stream[i].issued_bytes, __ATOMIC_RELEASE);
		}
	}
	s->space_moved = false;
	/* head and issued bytes before the look at waiters: they do it the other way round */
	vgpu_fence();
	if (!__atomic_load_n(&h->space_waiters, __ATOMIC_RELAXED))
		return;
	__atomic_fetch_add(&h->space_seq, 1, __ATOMIC_RELEASE);
	wake_word(s, &h->space_seq);
}
