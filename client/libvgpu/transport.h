/* SPDX-License-Identifier: MIT */
/*
 * How a session reaches the host: two real transports, one seam. Everything above it is shared.
 * Results are vgpu_status; refusals leave their sentence with vgpu_fail.
 */
#ifndef VGPU_TRANSPORT_H
#define VGPU_TRANSPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/libvgpu/vgpu.h"

struct vgpu_transport;

struct vgpu_transport_open {
	const char *path;
	uint64_t window_bytes;
	uint32_t timeout_ms;
};

struct vgpu_transport_ops {
	uint32_t kind; /* 1: device, 2: local */
	/* Waits for the host's answer; the control area is then mapped and its header valid. */
	vgpu_status (*open)(const struct vgpu_transport_open *how, struct vgpu_transport **ret);
	/* Makes [heap_offset, + bytes) of the arena usable; multiples of 2 MiB. *ret_lost is always
	 * set: the host may have or has that range, so it must never be asked for again. One caller
	 * at a time. */
	vgpu_status (*heap_add)(struct vgpu_transport *t, uint64_t heap_offset, uint64_t bytes,
				uint32_t timeout_ms, bool *ret_lost);
	/* Sleeps until *word (in the control area) may have changed from `expected`, the session
	 * has died, or the time is over. Returns early at will. */
	void (*wait_word)(struct vgpu_transport *t, uint32_t *word, uint32_t expected,
			  uint64_t timeout_ns);
	/* Wakes the executor; not used when the transport has a doorbell page. */
	void (*doorbell)(struct vgpu_transport *t);
	/* Ends the session, waits until the host has it, unmaps and frees. */
	void (*close)(struct vgpu_transport *t);
	/* The same in a forked child: only what fork has copied. */
	void (*forget)(struct vgpu_transport *t);
	/* In a forked child, at once: closes the descriptors, so that the parent's end is noticed, and
	 * forgets the mappings. */
	void (*forked)(struct vgpu_transport *t);
};

/* The first member of each transport's own structure. */
struct vgpu_transport {
	const struct vgpu_transport_ops *ops;
	void *control;			/* VGPU_CONTROL_BYTES */
	volatile uint32_t *doorbell;	/* page to write to, or NULL */
	uint32_t arena;
	uint8_t *heap;			/* the arena's base; [heap, + heap_limit) is reserved */
	/* The same memory for the library's own reads and writes: after the session's end they do no
	 * harm, where `heap` may be gone. What was read counts only if the session lives after it. */
	uint8_t *view;
	uint64_t heap_limit;
	_Atomic uint32_t dead;		/* why the session has ended, or 0 */
};

extern const struct vgpu_transport_ops vgpu_transport_device;
extern const struct vgpu_transport_ops vgpu_transport_local;

/* arena.c: shared by both */

/* Reserves the first free arena, `bytes` of it, without access. CALL_UNSUPPORTED: none is free. */
vgpu_status vgpu_arena_reserve(uint64_t bytes, uint32_t *ret_arena, uint8_t **ret_base);
/* Part of the arena back to what vgpu_arena_reserve made of it: a failed MAP_FIXED may leave a hole,
 * and nothing else may come to lie there. */
void vgpu_arena_keep(void *at, uint64_t bytes);
/* Checks what the executor has written into the header: version, arena, sizes. */
vgpu_status vgpu_control_check(const void *control, uint32_t arena);

#endif
