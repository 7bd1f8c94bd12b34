// SPDX-License-Identifier: MIT
/* Address ranges of a session, sorted: looked up by every copy, changed by every allocation. */
#include "client/libvgpu/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void vgpu_ranges_init(struct vgpu_ranges *r)
{
	memset(r, 0, sizeof(*r));
	pthread_rwlock_init(&r->lock, NULL);
}

void vgpu_ranges_uninit(struct vgpu_ranges *r)
{
	free(r->range);
	pthread_rwlock_destroy(&r->lock);
}

/* The number of ranges whose base is <= address. */
static size_t upper(const struct vgpu_ranges *r, uint64_t address)
{
	size_t low = 0, high = r->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (r->range[mid].base <= address)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int make_room(struct vgpu_ranges *r)
{
	struct vgpu_range *range;
	size_t room = r->room ? r->room * 2 : 64;

	if (r->count < r->room)
		return 0;
	range = realloc(r->range, room * sizeof(*range));
	if (!range)
		return -ENOMEM;
	r->range = range;
	r->room = room;
	return 0;
}

int vgpu_ranges_add(struct vgpu_ranges *r, uint64_t base, uint64_t bytes, void *data)
{
	size_t at;
	int rc = 0;

	if (!bytes || base + bytes < base)
		return -EEXIST;
	pthread_rwlock_wrlock(&r->lock);
	at = upper(r, base);
	if (at && r->range[at - 1].base + r->range[at - 1].bytes > base)
		rc = -EEXIST;
	else if (at < r->count && base + bytes > r->range[at].base)
		rc = -EEXIST;
	else
		rc = make_room(r);
	if (!rc) {
		memmove(&r->range[at + 1], &r->range[at], (r->count - at) * sizeof(*r->range));
		r->range[at] = (struct vgpu_range){ base, bytes, data };
		r->count++;
	}
	pthread_rwlock_unlock(&r->lock);
	return rc;
}

int vgpu_ranges_remove(struct vgpu_ranges *r, uint64_t base, struct vgpu_range *ret)
{
	size_t at;
	int rc = -ENOENT;

	pthread_rwlock_wrlock(&r->lock);
	at = upper(r, base);
	if (at && r->range[at - 1].base == base) {
		*ret = r->range[at - 1];
		memmove(&r->range[at - 1], &r->range[at], (r->count - at) * sizeof(*r->range));
		r->count--;
		rc = 0;
	}
	pthread_rwlock_unlock(&r->lock);
	return rc;
}

void vgpu_ranges_remove_data(struct vgpu_ranges *r, const void *data)
{
	size_t kept = 0;

	pthread_rwlock_wrlock(&r->lock);
	for (size_t i = 0; i < r->count; i++)
		if (r->range[i].data != data)
			r->range[kept++] = r->range[i];
	r->count = kept;
	pthread_rwlock_unlock(&r->lock);
}

bool vgpu_ranges_holds(struct vgpu_ranges *r, uint64_t base, uint64_t bytes)
{
	bool holds = false;
	size_t at;

	pthread_rwlock_rdlock(&r->lock);
	at = upper(r, base);
	if (at) {
		const struct vgpu_range *x = &r->range[at - 1];

		holds = bytes <= x->bytes && base - x->base <= x->bytes - bytes;
	}
	pthread_rwlock_unlock(&r->lock);
	return holds;
}
