/* SPDX-License-Identifier: MIT */
/*
 * VRAM of the VM, counted in a page that its executors share. The mediator measures by itself;
 * this makes honest sessions stop at the limit with the right error, also while it is away.
 */
#include "host/executor/internal.h"

enum { QUOTA_SMALL = 512, QUOTA_LARGE = 2 << 20 };

uint64_t vx_quota_cost(uint64_t bytes)
{
	uint64_t grain = bytes >= QUOTA_LARGE / 2 ? QUOTA_LARGE : QUOTA_SMALL;

	if (bytes > UINT64_MAX - grain)
		return 0;
	return (bytes + grain - 1) / grain * grain;
}

static uint64_t quota_used(const struct vx_quota *q)
{
	uint64_t sum = 0;

	for (int i = 0; i < VGPU_QUOTA_SLOTS; i++) {
		uint64_t used = __atomic_load_n(&q->page->used_bytes[i], __ATOMIC_RELAXED);

		if (__builtin_add_overflow(sum, used, &sum))
			return UINT64_MAX;
	}
	return sum;
}

bool vx_quota_charge(const struct vx_quota *q, uint64_t bytes)
{
	__u64 *own = &q->page->used_bytes[q->slot];

	/* before adding, so that a wild size cannot wrap the sum that neighbours see */
	if (bytes > __atomic_load_n(&q->page->quota_bytes, __ATOMIC_RELAXED))
		return false;
	__atomic_fetch_add(own, bytes, __ATOMIC_SEQ_CST);
	if (quota_used(q) <= __atomic_load_n(&q->page->quota_bytes, __ATOMIC_RELAXED))
		return true;
	__atomic_fetch_sub(own, bytes, __ATOMIC_SEQ_CST);
	return false;
}

void vx_quota_release(const struct vx_quota *q, uint64_t bytes)
{
	__atomic_fetch_sub(&q->page->used_bytes[q->slot], bytes, __ATOMIC_SEQ_CST);
}

void vx_quota_info(const struct vx_quota *q, uint64_t *ret_free, uint64_t *ret_total)
{
	uint64_t total = __atomic_load_n(&q->page->quota_bytes, __ATOMIC_RELAXED);
	uint64_t used = quota_used(q);

	*ret_total = total;
	*ret_free = used < total ? total - used : 0;
}
