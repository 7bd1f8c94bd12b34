// SPDX-License-Identifier: MIT
/*
 * Device addresses are kept free of host mappings, so that a number is either a host or a device
 * address of this process and never both. Reserved runs only grow and go with the last session: the
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

/*
 * One list for all sessions of the process: they may be given the same numbers, each in a GPU
 * address space of its own.
 */
static struct {
	pthread_mutex_t lock;
	struct vgpu_range *run; /* disjoint, sorted */
	size_t count;
	size_t room;
	unsigned int users; /* sessions */
} reserve = { .lock = PTHREAD_MUTEX_INITIALIZER };

void vgpu_reserve_get(void)
{
	pthread_mutex_lock(&reserve.lock);
	reserve.users++;
	pthread_mutex_unlock(&reserve.lock);
}

void vgpu_reserve_put(void)
{
	pthread_mutex_lock(&reserve.lock);
	if (!--reserve.users) {
		for (size_t i = 0; i < reserve.count; i++)
			munmap((void *)(uintptr_t)reserve.run[i].base, reserve.run[i].bytes);
		free(reserve.run);
		reserve.run = NULL;
		reserve.count = reserve.room = 0;
	}
	pthread_mutex_unlock(&reserve.lock);
}

void vgpu_reserve_fork(bool before)
{
	if (before)
		pthread_mutex_lock(&reserve.lock);
	else
		pthread_mutex_unlock(&reserve.lock);
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
static int map_rest(uint64_t base, uint64_t end)
{
	uint64_t at = base;
	int rc = 0;

	for (size_t i = 0; i <= reserve.count && at < end; i++) {
		uint64_t next = i < reserve.count ? reserve.run[i].base : UINT64_MAX;
		uint64_t stop = next < end ? next : end;

		if (i < reserve.count && reserve.run[i].base + reserve.run[i].bytes <= at)
			continue;
		if (at < stop) {
			rc = map_gap(at, stop);
			if (rc)
				break;
		}
		at = i < reserve.count && next < end ? next + reserve.run[i].bytes : end;
	}
	if (!rc)
		return 0;
	for (size_t i = 0; i <= reserve.count && base < at; i++) { /* the gaps before `at` are ours */
		uint64_t next = i < reserve.count ? reserve.run[i].base : UINT64_MAX;
		uint64_t stop = next < at ? next : at;

		if (i < reserve.count && reserve.run[i].base + reserve.run[i].bytes <= base)
			continue;
		if (base < stop)
			munmap((void *)(uintptr_t)base, stop - base);
		base = i < reserve.count && next < at ? next + reserve.run[i].bytes : at;
	}
	return rc;
}

/* Makes [base, end) part of the list, together with all runs that it touches. */
static void merge(uint64_t base, uint64_t end)
{
	size_t from = 0, to;

	while (from < reserve.count && reserve.run[from].base + reserve.run[from].bytes < base)
		from++;
	for (to = from; to < reserve.count && reserve.run[to].base <= end; to++) {
		uint64_t stop = reserve.run[to].base + reserve.run[to].bytes;

		if (reserve.run[to].base < base)
			base = reserve.run[to].base;
		if (stop > end)
			end = stop;
	}
	memmove(&reserve.run[from + 1], &reserve.run[to], (reserve.count - to) * sizeof(*reserve.run));
	reserve.run[from] = (struct vgpu_range){ .base = base, .bytes = end - base };
	reserve.count = reserve.count - (to - from) + 1;
}

static int reserve_aligned(uint64_t base, uint64_t bytes, uint64_t align)
{
	uint64_t from = base & ~(align - 1);
	uint64_t end = (base + bytes + align - 1) & ~(align - 1);
	int rc;

	if (end < base + bytes)
		return -EINVAL;
	rc = map_rest(from, end);
	if (!rc)
		merge(from, end);
	return rc;
}

int vgpu_reserve_add(uint64_t base, uint64_t bytes)
{
	int rc = 0;

	pthread_mutex_lock(&reserve.lock);
	if (reserve.count == reserve.room) {
		size_t room = reserve.room ? reserve.room * 2 : 16;
		struct vgpu_range *run = realloc(reserve.run, room * sizeof(*run));

		if (run) {
			reserve.run = run;
			reserve.room = room;
		} else {
			rc = -ENOMEM;
		}
	}
	if (!rc) {
		/* whole granules first: small allocations lie side by side in one */
		rc = reserve_aligned(base, bytes, GRANULE);
		if (rc == -EEXIST)
			rc = reserve_aligned(base, bytes, PAGE);
	}
	pthread_mutex_unlock(&reserve.lock);
	/* an address that this process could never map needs no reservation */
	return rc == -EINVAL ? 0 : rc;
}
