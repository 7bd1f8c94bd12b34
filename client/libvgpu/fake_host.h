/* SPDX-License-Identifier: MIT */
/*
 * A host in the test's own process: a mediator's side of local links, and for each session an
 * executor that is one thread. Device memory is a buffer; kernels are C functions. Streams can be
 * held, the link can be broken and come back, the executor can die or stand still.
 *
 * Kernels: add(u64 a, u64 b, u64 c, u32 n) adds n 32-bit numbers; params(u64 dst, 4000 bytes)
 * stores what it was given; odd(u8 x, u64 dst, u16 y, u32 z) stores x + y + z.
 */
#ifndef VGPU_FAKE_HOST_H
#define VGPU_FAKE_HOST_H

#include <stdbool.h>
#include <stdint.h>

#define FAKE_DEVICE_BASE 0x300000000000ull
#define FAKE_VARIABLE 0x310000000000ull /* every variable of every module: 256 bytes, without memory */

enum { FAKE_DEVICE_BYTES = 64 << 20, FAKE_PARAMS_BYTES = 4000 };

struct fake_host;

struct fake_host *fake_host_start(const char *path, uint64_t window_bytes);
void fake_host_stop(struct fake_host *h);

/* Entries of that stream handle park until it is released. */
void fake_host_hold(struct fake_host *h, uint32_t stream, bool hold);
/* The executor takes nothing out of the ring. */
void fake_host_stall(struct fake_host *h, bool stall);
/* Breaks all links and listens no more, or listens again; executors live on. */
void fake_host_mediator(struct fake_host *h, bool up);
/* Ends all sessions with that reason. */
void fake_host_end(struct fake_host *h, uint32_t reason);
/* Error of the next session, or 0. */
void fake_host_refuse(struct fake_host *h, uint32_t error);
/* The next n allocations get an address that is taken in this process. */
void fake_host_collide(struct fake_host *h, unsigned int n);
void fake_host_sticky(struct fake_host *h, uint32_t error);

struct fake_host_counters {
	unsigned int links, resumed, sessions, heap_adds;
	uint64_t entries;
	uint64_t backlog_broken; /* entries beyond VGPU_STREAM_BACKLOG */
	uint64_t malformed;
	uint64_t used_bytes; /* device memory */
};
struct fake_host_counters fake_host_counters(struct fake_host *h);

#endif
