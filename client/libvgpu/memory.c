// SPDX-License-Identifier: MIT
/* Device memory, and pinned memory of the heap. */
#include "client/libvgpu/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- device memory ---- */

static void free_block(struct vgpu_session *s, uint64_t address)
{
	struct vgpu_call_mem head = { .address = address };

	(void)vgpu_call_wait(s, &(struct vgpu_call){ .op = VGPU_OP_MEM_FREE, .head = &head,
						     .head_bytes = sizeof(head) }, NULL);
}

static vgpu_status ask_block(struct vgpu_session *s, size_t bytes, uint64_t *ret)
{
	struct vgpu_call_mem head = { .bytes = bytes };
	struct vgpu_call c = { .op = VGPU_OP_MEM_ALLOC, .head = &head, .head_bytes = sizeof(head) };
	__u64 value[6];
	vgpu_status status = vgpu_call_wait(s, &c, value);

	if (!status) {
		*ret = value[0];
		return VGPU_OK;
	}
	if (status == VGPU_ERROR_CALL_QUOTA &&
	    !vgpu_call_wait(s, &(struct vgpu_call){ .op = VGPU_OP_MEM_INFO }, value))
		return vgpu_fail(status, "allocate %zu bytes: %llu bytes of this VM's quota of %llu are free", bytes,
				 (unsigned long long)value[0], (unsigned long long)value[1]);
	return vgpu_fail(status, "allocate %zu bytes of GPU memory: %s (%s)", bytes, vgpu_status_text(status),
			 vgpu_status_name(status));
}

vgpu_status vgpu_malloc(struct vgpu_session *s, size_t bytes, uint64_t *ret_address)
{
	uint64_t aside[VGPU_ALLOC_TRIES], address = 0;
	unsigned int asides = 0;
	vgpu_status status = vgpu_session_check(s);
	int rc = 0;

	if (status)
		return status;
	if (!bytes || !ret_address)
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "allocate: 0 bytes, or ret_address is NULL");
	/* a block whose address this process uses for something else is set aside, and another asked for */
	for (;;) {
		status = ask_block(s, bytes, &address);
		if (status)
			break;
		rc = vgpu_reserve_add(address, bytes);
		if (rc != -EEXIST)
			break;
		aside[asides++] = address;
		if (asides == VGPU_ALLOC_TRIES) {
			status = vgpu_fail(VGPU_ERROR_CALL_NO_MEMORY,
					   "allocate %zu bytes: %d blocks lay on addresses that this process uses",
					   bytes, VGPU_ALLOC_TRIES);
			break;
		}
	}
	while (asides)
		free_block(s, aside[--asides]);
	if (status)
		return status;
	if (!rc)
		rc = vgpu_ranges_add(&s->memory, address, bytes, NULL);
	if (rc) {
		free_block(s, address);
		return vgpu_fail(rc == -EEXIST ? VGPU_ERROR_HOST_INTERNAL : VGPU_ERROR_CALL_NO_MEMORY,
				 "allocate %zu bytes: address %#llx %s", bytes, (unsigned long long)address,
				 rc == -EEXIST ? "was given twice by the host" : "cannot be reserved in this process");
	}
	*ret_address = address;
	return VGPU_OK;
}

vgpu_status vgpu_free(struct vgpu_session *s, uint64_t address)
{
	struct vgpu_call_mem head = { .address = address };
	struct vgpu_call c = { .op = VGPU_OP_MEM_FREE, .head = &head, .head_bytes = sizeof(head) };
	struct vgpu_range range;
	vgpu_status status = vgpu_session_check(s);

	if (status || !address)
		return status;
	if (vgpu_ranges_remove(&s->memory, address, &range))
		return vgpu_fail(VGPU_ERROR_CALL_ADDRESS, "free: %#llx is not the start of an allocation",
				 (unsigned long long)address);
	if (range.data) { /* a module's variable: put it back */
		(void)vgpu_ranges_add(&s->memory, range.base, range.bytes, range.data);
		return vgpu_fail(VGPU_ERROR_CALL_ADDRESS, "free: %#llx is a module's variable",
				 (unsigned long long)address);
	}
	return vgpu_fail_host(vgpu_call_wait(s, &c, NULL), "free GPU memory");
}

vgpu_status vgpu_memory_check(struct vgpu_session *s, uint64_t base, uint64_t bytes, const char *what)
{
	if (likely(vgpu_ranges_holds(&s->memory, base, bytes)))
		return VGPU_OK;
	return vgpu_fail(VGPU_ERROR_CALL_ADDRESS, "%s: [%#llx, +%llu) is not inside one allocation of this session",
			 what, (unsigned long long)base, (unsigned long long)bytes);
}

vgpu_status vgpu_memory_info(struct vgpu_session *s, uint64_t *ret_free, uint64_t *ret_total)
{
	__u64 value[6];
	vgpu_status status = vgpu_session_check(s);

	if (status)
		return status;
	status = vgpu_fail_host(vgpu_call_wait(s, &(struct vgpu_call){ .op = VGPU_OP_MEM_INFO }, value),
				"memory information");
	if (status)
		return status;
	if (ret_free)
		*ret_free = value[0];
	if (ret_total)
		*ret_total = value[1];
	return VGPU_OK;
}

/* ---- pinned memory ---- */

/* Gives blocks back that the GPU has finished with. Under pinned.lock. */
static void reclaim(struct vgpu_session *s)
{
	struct vgpu_limbo **at = &s->pinned.limbo;

	while (*at) {
		struct vgpu_limbo *l = *at;

		while (l->streams &&
		       vgpu_stream_covered(s, l->need[l->streams - 1].stream, l->need[l->streams - 1].work))
			l->streams--;
		if (l->streams) {
			at = &l->next;
			continue;
		}
		*at = l->next;
		vgpu_heap_give(&s->pinned.heap, l->block);
		free(l);
	}
}

/* Under grow_lock. */
static vgpu_status grow_by(struct vgpu_session *s, uint64_t bytes, bool patient)
{
	struct vgpu_pinned *p = &s->pinned;
	vgpu_status status = VGPU_OK;
	bool lost = true;
	int rc = 0;

	/* a range of which the host may know or not is left out: again with another */
	for (int tries = 0; lost && tries < (patient ? 3 : 1); tries++) {
		uint64_t at = p->heap.end; /* only changed under grow_lock */

		if (bytes > s->transport->heap_limit || at > s->transport->heap_limit - bytes)
			return vgpu_fail(VGPU_ERROR_CALL_HEAP_FULL,
					 "pinned memory: %llu MiB more, %llu MiB of %llu are in use",
					 (unsigned long long)(bytes >> 20), (unsigned long long)(at >> 20),
					 (unsigned long long)(s->transport->heap_limit >> 20));
		status = s->transport->ops->heap_add(s->transport, at, bytes,
						     patient ? VGPU_GROW_MS : VGPU_GROW_IMPATIENT_MS, &lost);
		pthread_mutex_lock(&p->lock);
		if (!lost && !status)
			rc = vgpu_heap_add(&p->heap, at, bytes);
		if (lost || rc)
			p->heap.end = at + bytes;
		pthread_mutex_unlock(&p->lock);
	}
	if (rc)
		return vgpu_fail(VGPU_ERROR_CALL_NO_MEMORY, "pinned memory: no memory for bookkeeping");
	return status;
}

/* By a quarter of what there is, so that many small requests make few runs; by less when refused. */
static vgpu_status grow(struct vgpu_session *s, uint64_t bytes, bool patient)
{
	uint64_t need = (bytes + VGPU_EXTENT_BYTES - 1) & ~(VGPU_EXTENT_BYTES - 1);
	uint64_t want = (s->pinned.heap.total / 4) & ~(VGPU_EXTENT_BYTES - 1);
	vgpu_status status;

	if (want < 4 * VGPU_EXTENT_BYTES)
		want = 4 * VGPU_EXTENT_BYTES;
	if (want > 32 * VGPU_EXTENT_BYTES)
		want = 32 * VGPU_EXTENT_BYTES;
	if (want <= need)
		return grow_by(s, need, patient);
	status = grow_by(s, want, patient);
	return status == VGPU_ERROR_CALL_HEAP_FULL ? grow_by(s, need, patient) : status;
}

static int take(struct vgpu_session *s, uint64_t bytes, struct vgpu_heap_block **ret)
{
	int rc;

	pthread_mutex_lock(&s->pinned.lock);
	rc = vgpu_heap_take(&s->pinned.heap, bytes, ret);
	if (rc == -ENOSPC && s->pinned.limbo) {
		reclaim(s);
		rc = vgpu_heap_take(&s->pinned.heap, bytes, ret);
	}
	pthread_mutex_unlock(&s->pinned.lock);
	return rc;
}

static bool in_limbo(struct vgpu_session *s)
{
	bool any;

	pthread_mutex_lock(&s->pinned.lock);
	any = s->pinned.limbo;
	pthread_mutex_unlock(&s->pinned.lock);
	return any;
}

/* When the window is used up there are still our own idle buffers, and what was freed and is in
 * use only for a moment more. */
static int take_last(struct vgpu_session *s, uint64_t bytes, struct vgpu_heap_block **ret)
{
	uint64_t until = vgpu_now_ns() + VGPU_LIMBO_WAIT_NS;
	int rc;

	vgpu_staging_trim(s);
	rc = take(s, bytes, ret);
	while (rc == -ENOSPC && in_limbo(s) && vgpu_now_ns() < until && !vgpu_session_check(s)) {
		usleep(50);
		rc = take(s, bytes, ret);
	}
	return rc;
}

vgpu_status vgpu_pinned_take(struct vgpu_session *s, uint64_t bytes, bool patient,
			     struct vgpu_heap_block **ret)
{
	vgpu_status status = VGPU_OK;
	int rc;

	if (bytes > VGPU_ARENA_BYTES)
		return vgpu_fail(VGPU_ERROR_CALL_HEAP_FULL, "pinned memory: %llu bytes, the limit is %llu",
				 (unsigned long long)bytes, VGPU_ARENA_BYTES);
	rc = take(s, bytes, ret);
	if (rc == -ENOSPC) {
		if (patient)
			pthread_mutex_lock(&s->pinned.grow_lock);
		else if (pthread_mutex_trylock(&s->pinned.grow_lock))
			return vgpu_fail(VGPU_ERROR_CALL_HEAP_FULL, "pinned memory: another thread is asking for more");
		/* others may make room meanwhile, or take what was added */
		while (!status && (rc = take(s, bytes, ret)) == -ENOSPC)
			status = grow(s, bytes, patient);
		if (status && patient)
			rc = take_last(s, bytes, ret);
		pthread_mutex_unlock(&s->pinned.grow_lock);
	}
	if (!rc)
		return VGPU_OK;
	return status ? status : vgpu_fail(VGPU_ERROR_CALL_NO_MEMORY, "pinned memory: no memory for bookkeeping");
}

void vgpu_pinned_give(struct vgpu_session *s, struct vgpu_heap_block *b)
{
	pthread_mutex_lock(&s->pinned.lock);
	vgpu_heap_give(&s->pinned.heap, b);
	pthread_mutex_unlock(&s->pinned.lock);
}

vgpu_status vgpu_host_malloc(struct vgpu_session *s, size_t bytes, void **ret_memory)
{
	struct vgpu_heap_block *block;
	vgpu_status status = vgpu_session_check(s);

	if (status)
		return status;
	if (!bytes || !ret_memory)
		return vgpu_fail(VGPU_ERROR_CALL_INVALID, "allocate pinned memory: 0 bytes, or ret_memory is NULL");
	status = vgpu_pinned_take(s, bytes, true, &block);
	if (status)
		return status;
	if (vgpu_ranges_add(&s->pinned.user, vgpu_pinned_address(s, block), bytes, block)) {
		vgpu_pinned_give(s, block);
		return vgpu_fail(VGPU_ERROR_CALL_NO_MEMORY, "allocate pinned memory: no memory for bookkeeping");
	}
	*ret_memory = (void *)(uintptr_t)vgpu_pinned_address(s, block);
	return VGPU_OK;
}

/* The streams that may still use memory freed now; NULL: no memory for the list. */
static struct vgpu_limbo *limbo_new(struct vgpu_session *s, struct vgpu_heap_block *block)
{
	struct vgpu_limbo *l = malloc(sizeof(*l) + VGPU_STREAMS * sizeof(l->need[0]));
	struct vgpu_limbo *fit;

	if (!l)
		return NULL;
	l->next = NULL;
	l->block = block;
	l->streams = 0;
	for (uint32_t i = 0; i < VGPU_STREAMS; i++) {
		uint64_t work;

		/* handles that were never used have no work; destroyed ones may still have some */
		if (!atomic_load_explicit(&s->stream[i].work, memory_order_acquire) ||
		    !vgpu_stream_busy(s, i, &work))
			continue;
		l->need[l->streams].stream = i;
		l->need[l->streams++].work = work;
	}
	fit = realloc(l, sizeof(*l) + l->streams * sizeof(l->need[0]));
	return fit ? fit : l;
}

vgpu_status vgpu_host_free(struct vgpu_session *s, void *memory)
{
	struct vgpu_range range;
	struct vgpu_limbo *l;
	vgpu_status status;

	if (!memory)
		return VGPU_OK;
	if (!s || *vgpu_generation != s->generation)
		return vgpu_session_bad(s);
	if (vgpu_ranges_remove(&s->pinned.user, (uintptr_t)memory, &range))
		return vgpu_fail(VGPU_ERROR_CALL_ADDRESS, "free pinned memory: %p is not from vgpu_host_malloc", memory);
	l = limbo_new(s, range.data);
	if (!l) { /* the other way: wait */
		status = vgpu_synchronize(s);
		if (!status)
			vgpu_pinned_give(s, range.data);
		return status;
	}
	pthread_mutex_lock(&s->pinned.lock);
	l->next = s->pinned.limbo;
	s->pinned.limbo = l;
	reclaim(s);
	pthread_mutex_unlock(&s->pinned.lock);
	return VGPU_OK;
}

void vgpu_pinned_uninit(struct vgpu_session *s)
{
	while (s->pinned.limbo) {
		struct vgpu_limbo *l = s->pinned.limbo;

		s->pinned.limbo = l->next;
		free(l);
	}
	vgpu_heap_uninit(&s->pinned.heap);
	vgpu_ranges_uninit(&s->pinned.user);
}
