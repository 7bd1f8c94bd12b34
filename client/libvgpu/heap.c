// SPDX-License-Identifier: MIT
/*
 * Blocks of the pinned heap. The bookkeeping lies in private memory: the heap itself is shared
 * with the host and carries data only. First fit by size class, neighbours are joined.
 */
#include "client/libvgpu/internal.h"

#include <errno.h>
#include <stdlib.h>

enum { PAGE = 4096 };

static unsigned int bin_of(uint64_t bytes)
{
	unsigned int bin = 63 - (unsigned int)__builtin_clzll(bytes | 1);

	return bin < VGPU_HEAP_BINS ? bin : VGPU_HEAP_BINS - 1;
}

static void bin_add(struct vgpu_heap *h, struct vgpu_heap_block *b)
{
	struct vgpu_heap_block **bin = &h->bin[bin_of(b->bytes)];

	b->used = false;
	b->bin_prev = NULL;
	b->bin_next = *bin;
	if (*bin)
		(*bin)->bin_prev = b;
	*bin = b;
}

static void bin_remove(struct vgpu_heap *h, struct vgpu_heap_block *b)
{
	if (b->bin_prev)
		b->bin_prev->bin_next = b->bin_next;
	else
		h->bin[bin_of(b->bytes)] = b->bin_next;
	if (b->bin_next)
		b->bin_next->bin_prev = b->bin_prev;
}

/* Links b behind `after` (NULL: at the start). */
static void link_after(struct vgpu_heap *h, struct vgpu_heap_block *after, struct vgpu_heap_block *b)
{
	b->prev = after;
	b->next = after ? after->next : h->first;
	if (b->next)
		b->next->prev = b;
	else
		h->last = b;
	if (after)
		after->next = b;
	else
		h->first = b;
}

static void unlink_block(struct vgpu_heap *h, struct vgpu_heap_block *b)
{
	if (b->prev)
		b->prev->next = b->next;
	else
		h->first = b->next;
	if (b->next)
		b->next->prev = b->prev;
	else
		h->last = b->prev;
	free(b);
}

void vgpu_heap_uninit(struct vgpu_heap *h)
{
	struct vgpu_heap_block *next;

	for (struct vgpu_heap_block *b = h->first; b; b = next) {
		next = b->next;
		free(b);
	}
	memset(h, 0, sizeof(*h));
}

void vgpu_heap_give(struct vgpu_heap *h, struct vgpu_heap_block *b)
{
	struct vgpu_heap_block *next = b->next, *prev = b->prev;

	if (next && !next->used && next->run == b->run) {
		bin_remove(h, next);
		b->bytes += next->bytes;
		unlink_block(h, next);
	}
	if (prev && !prev->used && prev->run == b->run) {
		bin_remove(h, prev);
		prev->bytes += b->bytes;
		unlink_block(h, b);
		b = prev;
	}
	bin_add(h, b);
}

int vgpu_heap_add(struct vgpu_heap *h, uint64_t at, uint64_t bytes)
{
	struct vgpu_heap_block *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->at = at;
	b->bytes = bytes;
	b->run = h->runs++;
	link_after(h, h->last, b);
	h->end = at + bytes;
	h->total += bytes;
	vgpu_heap_give(h, b);
	return 0;
}

/* Cuts b, which is in no bin, at `bytes`; the rest becomes a free block. */
static int split(struct vgpu_heap *h, struct vgpu_heap_block *b, uint64_t bytes)
{
	struct vgpu_heap_block *rest;

	if (b->bytes == bytes)
		return 0;
	rest = calloc(1, sizeof(*rest));
	if (!rest)
		return -ENOMEM;
	rest->at = b->at + bytes;
	rest->bytes = b->bytes - bytes;
	rest->run = b->run;
	b->bytes = bytes;
	link_after(h, b, rest);
	bin_add(h, rest);
	return 0;
}

static struct vgpu_heap_block *find(struct vgpu_heap *h, uint64_t bytes, uint64_t align)
{
	for (unsigned int bin = bin_of(bytes); bin < VGPU_HEAP_BINS; bin++)
		for (struct vgpu_heap_block *b = h->bin[bin]; b; b = b->bin_next) {
			uint64_t skip = -b->at & (align - 1);

			if (b->bytes >= bytes && b->bytes - bytes >= skip)
				return b;
		}
	return NULL;
}

int vgpu_heap_take(struct vgpu_heap *h, uint64_t bytes, struct vgpu_heap_block **ret)
{
	uint64_t align = bytes >= PAGE ? PAGE : VGPU_HEAP_ALIGN;
	struct vgpu_heap_block *b;
	uint64_t skip;

	if (!bytes || bytes > VGPU_ARENA_BYTES)
		return -ENOSPC;
	bytes = (bytes + align - 1) & ~(align - 1);
	b = find(h, bytes, align);
	if (!b)
		return -ENOSPC;
	skip = -b->at & (align - 1);
	bin_remove(h, b);
	if (skip) {
		struct vgpu_heap_block *front = b;

		if (split(h, b, skip)) {
			bin_add(h, front);
			return -ENOMEM;
		}
		b = front->next;
		bin_remove(h, b);
		bin_add(h, front);
	}
	if (split(h, b, bytes)) {
		bin_add(h, b);
		return -ENOMEM;
	}
	b->used = true;
	*ret = b;
	return 0;
}
