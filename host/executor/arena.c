/* SPDX-License-Identifier: MIT */
/*
 * Address ranges for the heap, the same in client and executor. Reserved before the driver is
 * loaded, so that nothing of it lies there; unused ones stay reserved, which costs nothing.
 */
#include "host/executor/internal.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool arena_reserved[VGPU_ARENAS];

void vx_arena_reserve_all(void)
{
	for (uint32_t i = 0; i < VGPU_ARENAS; i++) {
		void *want = (void *)(uintptr_t)vgpu_arena_base(i);
		/* not the library's mmap: ThreadSanitizer's ends the process where it wants no mapping */
		void *got = (void *)syscall(SYS_mmap, want, VGPU_ARENA_BYTES, PROT_NONE,
					    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
						    MAP_FIXED_NOREPLACE,
					    -1, 0);

		if (got == MAP_FAILED)
			continue;
		/* kernels before 4.17 take the address as a hint */
		if (got != want)
			munmap(got, VGPU_ARENA_BYTES);
		else
			arena_reserved[i] = true;
	}
}

bool vx_arena_has(uint32_t arena)
{
	return arena < VGPU_ARENAS && arena_reserved[arena];
}

int vx_arena_map(uint32_t arena, uint64_t heap_offset, int window, uint64_t window_offset,
		 uint64_t bytes)
{
	void *want = (void *)(uintptr_t)(vgpu_arena_base(arena) + heap_offset);
	void *got = mmap(want, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, window,
			 (off_t)window_offset);

	return got == want ? 0 : -errno;
}
