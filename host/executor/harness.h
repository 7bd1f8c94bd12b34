/* SPDX-License-Identifier: MIT */
/*
 * Plays the mediator and the client towards a real vgpu-executor, for its tests. What runs is set
 * by the environment: VGPU_TEST_EXECUTOR (the program), VGPU_TEST_DRIVER (a CUDA driver library),
 * VGPU_TEST_KERNELS (the folder of tests/kernels), VGPU_TEST_RELAX (extra options, for sanitizers).
 */
#ifndef HOST_EXECUTOR_HARNESS_H
#define HOST_EXECUTOR_HARNESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/ring/ring.h"
#include "protocol/executor/executor.h"

enum {
	H_MIB = 1 << 20,
	H_HEAP = 32 * H_MIB,
	H_WINDOW = 2 * H_MIB + H_HEAP,
	H_QUOTA = 64 * H_MIB,
};

struct harness {
	pid_t pid;
	int sock, window, doorbell, interrupt, gate_fd, quota_fd;
	uint8_t *map; /* the window: control area, then heap */
	struct vgpu_producer producer;
	struct vgpu_gate_page *gate;
	struct vgpu_quota_page *quota;
	struct vgpu_executor_ready ready;
	uint32_t arena;
	uint32_t seq;
	uint64_t mark;
	uint64_t posted[VGPU_STREAMS]; /* bytes given to each stream, whole cells */
};

struct h_reply {
	uint32_t status;
	__u64 value[6];
};

/* Starts the executor and waits for READY. `extra`: environment "NAME=value" or NULL. */
void h_spawn(struct harness *h, const char *extra);
/* ASSIGN and one heap run of H_HEAP bytes. */
void h_assign(struct harness *h, uint32_t poll_us);
void h_start(struct harness *h, const char *extra);
/* Sends FINISH and reaps; the executor must exit with 0. */
void h_stop(struct harness *h);
/* Reaps after an end that the test has caused; returns waitpid's status. */
int h_reap(struct harness *h);
void h_send(struct harness *h, const void *message, uint32_t type, uint32_t bytes, const int *fds,
	    unsigned int count);
/* The next message, which must be of that type. */
void h_expect(struct harness *h, void *message, size_t size, uint32_t type);

static inline uint64_t h_address(const struct harness *h, uint64_t heap_offset)
{
	return vgpu_arena_base(h->arena) + heap_offset;
}

static inline uint8_t *h_heap(const struct harness *h, uint64_t heap_offset)
{
	return h->map + 2 * H_MIB + heap_offset;
}

struct h_call {
	uint16_t op;
	uint32_t stream;
	uint32_t slot; /* VGPU_NO_SLOT: posted */
	const void *head;
	uint32_t head_bytes;
	const void *tail;
	uint32_t tail_bytes;
};

/* Puts an entry into the ring; returns its seq. */
uint32_t h_put(struct harness *h, const struct h_call *c);
/* Waits for the slot (20 s, then the test fails). */
struct h_reply h_wait(struct harness *h, uint32_t slot, uint32_t seq);
bool h_replied(const struct harness *h, uint32_t slot, uint32_t seq);

/* Waited calls on slot 0. */
struct h_reply h_call(struct harness *h, uint16_t op, uint32_t stream, const void *head,
		      uint32_t head_bytes, const void *tail, uint32_t tail_bytes);
uint64_t h_alloc(struct harness *h, uint64_t bytes);
uint32_t h_free(struct harness *h, uint64_t address);
uint32_t h_copy(struct harness *h, uint16_t op, uint32_t stream, uint64_t dst, uint64_t src,
		uint64_t bytes);
/* Posts a mark and waits until the GPU has written it. Returns 0 or the sticky error. */
uint32_t h_finish(struct harness *h, uint32_t stream);
uint32_t h_module(struct harness *h, const char *file);
uint32_t h_function(struct harness *h, uint32_t module, const char *name,
		    struct vgpu_function_info *ret_info);
uint32_t h_launch(struct harness *h, uint16_t op, uint32_t slot, uint32_t stream, uint32_t function,
		  uint32_t blocks, uint32_t threads, const void *params, uint32_t bytes);
uint32_t h_stream(struct harness *h, uint32_t flags);
void h_post(struct harness *h, uint16_t op, uint32_t stream, const void *head, uint32_t head_bytes);

#endif
