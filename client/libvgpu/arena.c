// SPDX-License-Identifier: MIT
/* What both transports need: a place for the heap, and a check of the executor's header. */
#include "client/libvgpu/internal.h"

#include <sys/mman.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

vgpu_status vgpu_arena_reserve(uint64_t bytes, uint32_t *ret_arena, uint8_t **ret_base)
{
	for (uint32_t i = 0; i < VGPU_ARENAS; i++) {
		void *want = (void *)(uintptr_t)vgpu_arena_base(i);
		void *got;

		if (!vgpu_may_map(vgpu_arena_base(i)))
			continue;
		got = mmap(want, bytes, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
		if (got == want) {
			*ret_arena = i;
			*ret_base = got;
			return VGPU_OK;
		}
		if (got != MAP_FAILED)
			munmap(got, bytes);
	}
	return vgpu_fail(VGPU_ERROR_CALL_UNSUPPORTED,
			 "open: none of the %d address ranges for pinned memory (%llu MiB each) is free in this "
			 "process; raise its address space limit (ulimit -v) or close other sessions",
			 VGPU_ARENAS, (unsigned long long)(bytes >> 20));
}

void vgpu_arena_keep(void *at, uint64_t bytes)
{
	(void)mmap(at, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

vgpu_status vgpu_control_check(const void *control, uint32_t arena)
{
	const struct vgpu_session_header *h = control;

	if (h->magic != VGPU_SESSION_MAGIC || h->version >> 16 != VGPU_SESSION_VERSION_MAJOR)
		return vgpu_fail(VGPU_ERROR_HOST_VERSION,
				 "open: the host speaks session version %u.%u (magic %#x), this library %u.%u",
				 h->version >> 16, h->version & 0xffff, h->magic,
				 VGPU_SESSION_VERSION_MAJOR, VGPU_SESSION_VERSION_MINOR);
	if (h->arena != arena || h->slots != VGPU_SLOTS || h->streams != VGPU_STREAMS ||
	    h->ring_bytes != VGPU_RING_BYTES)
		return vgpu_fail(VGPU_ERROR_HOST_VERSION,
				 "open: the host's session has arena %u, %u slots, %u streams, a ring of %u bytes; "
				 "expected %u, %u, %u, %u",
				 h->arena, h->slots, h->streams, h->ring_bytes, arena, VGPU_SLOTS, VGPU_STREAMS,
				 VGPU_RING_BYTES);
	return VGPU_OK;
}
