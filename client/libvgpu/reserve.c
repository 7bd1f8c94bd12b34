// SPDX-License-Identifier: MIT
/*
 * Device addresses are kept free of host mappings, so that a number is either a host or a device
 * address of this process and never both. Reserved runs only grow and go with the session: the
 * driver hands the same addresses out again and again, and a run without access costs nothing.
 */
#include "client/libvgpu/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

enum { PAGE = 4096, GRANULE = 2 << 20 };

void vgpu_reserve_init(struct vgpu_reserve *r)
{
	memset(r, 0, sizeof(*r));
	pthread_mutex_init(&r->lock, NULL);
}

void vgpu_reserve_uninit(struct vgpu_reserve *r)
{
	for (size_t i = 0; i < r->count; i++)
		munmap((void *)(uintptr_t)r->run[i].base, r->run[i].bytes);
	free(r->run);
	pthread_mutex_destroy(&r->lock);
}

/* Maps [base, end), which no run of ours overlaps. */
static int map_gap(uint64_t base, uint64_t end)
{
	void *want = (void *)(uintptr_t)base;
	void *got;

	if (!vgpu_may_map(base))
		return -EINVAL; /* nor can anything else be there */
	got = mmap(want, end - base, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (got == want)
		return 0;
	if (got != MAP_FAILED) { /* a kernel that takes the address as a hint, or a sanitizer */
		munmap(got, end - base);
		return -EEXIST;
	}
	return errno == EEXIST ? -EEXIST : errno == ENOMEM ? -ENOMEM : -EINVAL;
}

/* Maps what of [base, end) is not in a run yet; undoes it all when a part cannot be had. */
static int map_rest(const struct vgpu_reserve *r, uint64_t base, uint64_t end)
{
	uint64_t at = base;
	int rc = 0;

	for (size_t i = 0; i <= r->count && at < end; i++) {
		uint64_t next = i < r->count ? r->run[i].base : UINT64_MAX;
		uint64_t stop = next < end ? next : end;

		if (i < r->count && r->run[i].base + r->run[i].bytes <= at)
			continue;
		if (at < stop) {
			rc = map_gap(at, stop);
			if (rc)
				break;
		}
		at = i < r->count && next < end ? next + r->run[i].bytes : end;
	}
	if (!rc)
		return 0;
	for (size_t i = 0; i <= r->count && base < at; i++) { /* the gaps before `at` are ours */
		uint64_t next = i < r->count ? r->run[i].base : UINT64_MAX;
		uint64_t stop = next < at ? next : at;

		if (i < r->count && r->run[i].base + r->run[i].bytes <= base)
			continue;
		if (base < stop)
			munmap((void *)(uintptr_t)base, stop - base);
		base = i < r->count && next < at ? next + r->run[i].bytes : at;
	}
	return rc;
}

/* Makes [base, end) part of the list, together with all runs that it touches. */
static void merge(struct vgpu_reserve *r, uint64_t base, uint64_t end)
{
	size_t from = 0, to;

	while (from < r->count && r->run[from].base + r->run[from].bytes < base)
		from++;
	for (to = from; to < r->count && r->run[to].base <= end; to++) {
		uint64_t stop = r->run[to].base + r->run[to].bytes;

		if (r->run[to].base < base)
			base = r->run[to].base;
		if (stop > end)
			end = stop;
	}
	memmove(&r->run[from + 1], &r->run[to], (r->count - to) * sizeof(*r->run));
	r->run[from] = (struct vgpu_range){ .base = base, .bytes = end - base };
	r->count = r->count - (to - from) + 1;
}

static int reserve_aligned(struct vgpu_reserve *r, uint64_t base, uint64_t bytes, uint64_t align)
{
	uint64_t from = base & ~(align - 1);
	uint64_t end = (base + bytes + align - 1) & ~(align - 1);
	int rc;

	if (end < base + bytes)
		return -EINVAL;
	rc = map_rest(r, from, end);
	if (!rc)
		merge(r, from, end);
	return rc;
}

int vgpu_reserve_add(struct vgpu_reserve *r, uint64_t base, uint64_t bytes)
{
	int rc = 0;

	pthread_mutex_lock(&r->lock);
	if (r->count == r->room) {
		size_t room = r->room ? r->room * 2 : 16;
		struct vgpu_range *run = realloc(r->run, room * sizeof(*run));

		if (run) {
			r->run = run;
			r->room = room;
		} else {
			rc = -ENOMEM;
		}
	}
	if (!rc) {
		/* whole granules first: small allocations lie side by side in one */
		rc = reserve_aligned(r, base, bytes, GRANULE);
		if (rc == -EEXIST)
			rc = reserve_aligned(r, base, bytes, PAGE);
	}
	pthread_mutex_unlock(&r->lock);
	/* an address that this process could never map needs no reservation */
	return rc == -EINVAL ? 0 : rc;
}
