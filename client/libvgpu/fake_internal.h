/* SPDX-License-Identifier: MIT */
#ifndef VGPU_FAKE_INTERNAL_H
#define VGPU_FAKE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "client/libvgpu/fake_host.h"
#include "common/ring/ring.h"
#include "protocol/device/device.h"
#include "protocol/session/session.h"

enum { FAKE_BLOCKS = 65536, FAKE_PARKED_MAX = 65536 };

struct fake_block {
	uint64_t at, bytes; /* offset in device memory */
	bool collides;
};

struct fake_parked {
	struct fake_parked *next;
	_Alignas(16) uint8_t entry[VGPU_ENTRY_MAX + 64];
};

struct fake_stream {
	struct fake_parked *first, *last;
	uint64_t issued_bytes, backlog;
	_Atomic bool hold;
	bool used;
};

struct fake_executor {
	struct fake_host *host;
	pthread_t thread;
	struct vgpu_consumer ring;
	void *control;
	bool own_mapping;
	int doorbell;
	_Atomic bool stop;
	struct fake_stream stream[VGPU_STREAMS];
	struct fake_parked *waits; /* synchronise calls on streams that have parked entries */
	bool event_used[VGPU_EVENTS], event_recorded[VGPU_EVENTS];
	uint32_t modules;
	_Alignas(16) uint8_t buffer[VGPU_ENTRY_MAX + 64];
};

struct fake_host {
	char path[100];
	uint64_t window_bytes;
	pthread_mutex_t lock;
	/* under lock */
	int listener, link[64], window[64];
	struct fake_executor *executor[64];
	struct fake_block block[FAKE_BLOCKS];
	unsigned int blocks;
	uint64_t next;
	struct fake_host_counters count;
	uint32_t refuse;
	unsigned int collide;
	bool stop;

	_Atomic bool hold[VGPU_STREAMS];
	_Atomic bool stall;
	_Atomic uint32_t sticky;
	int wake;
	pthread_t thread;
	uint8_t *memory;
};

/* fake_executor.c */
struct fake_executor *fake_executor_start(struct fake_host *h, int window, uint64_t control_offset,
					  uint32_t arena, int doorbell);
void fake_executor_stop(struct fake_executor *x);

#endif
