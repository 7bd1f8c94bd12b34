/* SPDX-License-Identifier: MIT */
/*
 * Sorted ranges of addresses. The exact footprint of a copy must lie inside one allocation (device)
 * or inside mapped heap; anything else is not memory of this session.
 */
#include "host/executor/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The first range that starts behind `start`. */
static uint32_t ranges_above(const struct vx_ranges *r, uint64_t start)
{
	uint32_t low = 0, high = r->count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (r->range[mid].start <= start)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

int vx_ranges_add(struct vx_ranges *r, const struct vx_range *range)
{
	uint32_t at = ranges_above(r, range->start);

	if (at > 0 && r->range[at - 1].start + r->range[at - 1].bytes > range->start)
		return -EEXIST;
	if (at < r->count && range->start + range->bytes > r->range[at].start)
		return -EEXIST;
	if (r->count == r->limit)
		return -ENOSPC;
	if (r->count == r->capacity) {
		uint32_t capacity = r->capacity ? r->capacity * 2 : 64;
		struct vx_range *grown = realloc(r->range, capacity * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		r->range = grown;
		r->capacity = capacity;
	}
	memmove(r->range + at + 1, r->range + at, (r->count - at) * sizeof(*r->range));
	r->range[at] = *range;
	r->count++;
	return 0;
}

struct vx_range *vx_ranges_find(struct vx_ranges *r, uint64_t start)
{
	uint32_t at;

	if (r->last < r->count && start - r->range[r->last].start < r->range[r->last].bytes)
		return &r->range[r->last];
	at = ranges_above(r, start);
	if (!at || start - r->range[at - 1].start >= r->range[at - 1].bytes)
		return NULL;
	r->last = at - 1;
	return &r->range[at - 1];
}

void vx_ranges_remove(struct vx_ranges *r, uint64_t start)
{
	struct vx_range *found = vx_ranges_find(r, start);
	uint32_t at;

	if (!found || found->start != start)
		return;
	at = (uint32_t)(found - r->range);
	r->count--;
	memmove(r->range + at, r->range + at + 1, (r->count - at) * sizeof(*r->range));
}

bool vx_ranges_hold(struct vx_ranges *r, uint64_t start, uint64_t bytes)
{
	const struct vx_range *found = vx_ranges_find(r, start);

	return found && !found->dying && bytes <= found->bytes - (start - found->start);
}

bool vx_ranges_cover(struct vx_ranges *r, uint64_t start, uint64_t bytes)
{
	while (bytes) {
		const struct vx_range *found = vx_ranges_find(r, start);
		uint64_t here;

		if (!found)
			return false;
		here = found->bytes - (start - found->start);
		if (here >= bytes)
			return true;
		start += here;
		bytes -= here;
	}
	return true;
}

void vx_ranges_uninit(struct vx_ranges *r)
{
	free(r->range);
	r->range = NULL;
	r->count = r->capacity = 0;
}
