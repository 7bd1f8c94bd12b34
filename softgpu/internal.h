/* SPDX-License-Identifier: MIT */
/*
 * The software GPU's insides.
 *
 *   program ──cu*()──► stream ring ──worker thread──► copy, fill, grid of blocks ──► interpreter (ptx/)
 *                        ▲                                   │
 *                        └── completed counter ◄─────────────┘
 *
 * Each stream has a worker thread and a ring of commands. `submitted` counts commands put in, `completed`
 * those done; both only grow and are futex words, so that "wait for command n of stream s" is one compare.
 * Ordering between streams (events, the legacy default stream) is a WAIT command with such a pair.
 *
 * Handles are addresses of objects in fixed arrays (object.c) that are never unmapped, so that a stale or
 * invented handle is recognised without being followed.
 *
 * Locks in taking order: context lock, stream lock, event lock, range lock, object lock. No lock is held
 * while a worker runs a command.
 */
#ifndef SOFTGPU_INTERNAL_H
#define SOFTGPU_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/cuda_abi.h"
#include "softgpu/ptx/ptx.h"

enum softgpu_limit {
	SOFTGPU_MAX_DEVICES = 16,
	SOFTGPU_MAX_CONTEXTS = 64,	/* a process with more has lost count of them */
	SOFTGPU_MAX_STREAMS = 4096,	/* each has a thread */
	SOFTGPU_MAX_EVENTS = 1 << 17,
	SOFTGPU_MAX_MODULES = 1 << 14,
	SOFTGPU_MAX_FUNCTIONS = 1 << 17,
	SOFTGPU_MAX_CONTEXT_STACK = 64, /* pushed contexts of one thread */
	SOFTGPU_QUEUE_DEPTH = 1024,	/* commands of one stream before a call blocks, as in CUDA's driver */
	SOFTGPU_INLINE_PARAMS = 128,	/* kernel parameters kept inside the command */
	SOFTGPU_MAX_PARAMS = 32764,	/* bytes of kernel parameters, CUDA's limit since 12.1 */
	SOFTGPU_STAGING_MAX = 64 << 10, /* larger copies from pageable memory are waited for */
	SOFTGPU_MAX_SHARED = 227 << 10, /* bytes of shared memory of a block, as on Hopper */
	SOFTGPU_MAX_STATIC_SHARED = 48 << 10,
	SOFTGPU_MAX_BLOCK_THREADS = 1024,
};

/* config.c */

struct softgpu_config {
	uint64_t vram_bytes;
	int devices;
	int driver_version;
	int multiprocessors;
	int threads; /* host threads that run blocks beside the streams' own */
	int spin_us; /* how long waits poll before they sleep */
	/* Faults: 0 or "" is none. Counts begin at 1, per process. */
	uint64_t fault_launch, endless_launch, lost_launch, ecc_launch, fail_alloc;
	uint64_t copy_bytes_per_s;
	char fault_kernel[64], endless_kernel[64];
};

/* Reads SOFTGPU_CONFIG (a file) and then SOFTGPU (the environment); false and a line on stderr when wrong. */
bool softgpu_config_load(struct softgpu_config *ret_config);

/* object.c */

enum softgpu_kind {
	SOFTGPU_CONTEXT,
	SOFTGPU_STREAM,
	SOFTGPU_EVENT,
	SOFTGPU_MODULE,
	SOFTGPU_FUNCTION,
	SOFTGPU_KINDS,
};

struct softgpu_object {
	struct softgpu_object *next_free;
	atomic_bool alive; /* a handle to it is valid */
};

bool softgpu_object_init(void);
/* A zeroed object that is not alive yet, or NULL. */
void *softgpu_object_new(enum softgpu_kind kind);
void softgpu_object_free(enum softgpu_kind kind, void *object);
/* The object if @handle is a live one of that kind, else NULL. */
void *softgpu_object_get(enum softgpu_kind kind, const void *handle);

/* Contexts */

struct softgpu_stream;
struct softgpu_module;

struct softgpu_context {
	struct softgpu_object object;
	int device;
	bool primary;
	unsigned int flags;
	size_t limits[16];
	atomic_int error; /* the sticky CUresult */
	atomic_bool stop; /* the same for running kernels: end now */
	pthread_mutex_t lock;
	struct softgpu_stream *streams; /* lock; all but the legacy one */
	struct softgpu_stream *legacy;
	atomic_uint workers; /* threads of its streams; a futex word */
	struct softgpu_module *modules; /* lock */
	uint64_t id;
};

struct softgpu_device {
	uint64_t vram_used; /* range lock */
	uint64_t arena, arena_size, arena_next;
	atomic_bool lost; /* injected: nothing works on it any more */
	struct softgpu_context *primary; /* gpu lock */
	int primary_refs;
	unsigned int primary_flags;
};

struct softgpu {
	struct softgpu_config config;
	struct softgpu_device devices[SOFTGPU_MAX_DEVICES];
	atomic_bool ready;
	atomic_bool forked; /* the child of a fork has no worker threads: nothing works there */
	pthread_mutex_t lock; /* primary contexts */
	atomic_uint_fast64_t launches, allocs, ids;
};

extern struct softgpu softgpu;

/* context.c */
CUresult softgpu_ready(void);
/* The calling thread's context, after its sticky error. */
CUresult softgpu_current(struct softgpu_context **ret_context);
void softgpu_context_fail(struct softgpu_context *context, CUresult error);
CUresult softgpu_context_wait(struct softgpu_context *context);
static inline CUresult softgpu_context_error(struct softgpu_context *context)
{
	return (CUresult)atomic_load_explicit(&context->error, memory_order_acquire);
}

/* memory.c: the table of all addresses that copies and kernels may touch. */

enum softgpu_memory {
	SOFTGPU_MEM_DEVICE,	/* cuMemAlloc */
	SOFTGPU_MEM_GLOBALS,	/* a module's variables */
	SOFTGPU_MEM_HOST,	/* cuMemHostAlloc */
	SOFTGPU_MEM_REGISTERED, /* cuMemHostRegister */
};

struct softgpu_range {
	uint64_t start, size;
	enum softgpu_memory kind;
	unsigned int flags;
	struct softgpu_context *context;
	uint64_t id;
};

bool softgpu_range_find(uint64_t address, struct softgpu_range *ret_range);
/* Whether @context may touch all of it; host ranges may adjoin. */
bool softgpu_range_covers(struct softgpu_context *context, uint64_t address, uint64_t size);
CUresult softgpu_range_add(const struct softgpu_range *range);
/* Takes out the range that starts there, if it is of that kind. */
bool softgpu_range_remove(uint64_t start, enum softgpu_memory kind, struct softgpu_range *ret_range);
CUresult softgpu_memory_alloc(struct softgpu_context *context, uint64_t size, enum softgpu_memory kind,
			      uint64_t *ret_address);
/* Frees a range of a context without waiting for it. */
bool softgpu_memory_free(uint64_t address, enum softgpu_memory kind);
void softgpu_memory_free_context(struct softgpu_context *context);
/* Whether an address lies where device memory is given out, allocated or not. */
bool softgpu_memory_in_arena(uint64_t address);
static inline bool softgpu_memory_is_host(enum softgpu_memory kind)
{
	return kind == SOFTGPU_MEM_HOST || kind == SOFTGPU_MEM_REGISTERED;
}

/* Modules and functions */

struct softgpu_function {
	struct softgpu_object object;
	struct softgpu_module *module;
	const struct ptx_kernel *kernel;
	int max_dynamic_shared;
	int carveout;
};

struct softgpu_module {
	struct softgpu_object object;
	struct softgpu_context *context;
	struct softgpu_module *next;
	struct ptx_module *ptx;
	uint64_t globals;		       /* one block of memory for all variables; 0: none */
	struct softgpu_function **functions; /* one per kernel */
};

void softgpu_module_free(struct softgpu_module *module);

/* stream.c */

enum softgpu_command_kind {
	SOFTGPU_LAUNCH,
	SOFTGPU_COPY,
	SOFTGPU_FILL,
	SOFTGPU_RECORD,
	SOFTGPU_WAIT,
	SOFTGPU_HOST_FUNCTION,
	SOFTGPU_CALLBACK,
	SOFTGPU_WRITE_VALUE,
	SOFTGPU_WAIT_VALUE,
	SOFTGPU_FREE,
	SOFTGPU_END, /* the worker goes */
};

struct softgpu_event;

struct softgpu_launch {
	const struct ptx_kernel *kernel;
	uint32_t grid[3], block[3];
	uint32_t dynamic_shared;
	uint32_t param_bytes;
	void *big_params; /* malloc, when they do not fit below */
	unsigned char params[SOFTGPU_INLINE_PARAMS];
	uint8_t fault;	  /* enum softgpu_injected */
};

enum softgpu_injected { SOFTGPU_INJECT_NONE, SOFTGPU_INJECT_FAULT, SOFTGPU_INJECT_ENDLESS };

struct softgpu_command {
	enum softgpu_command_kind kind;
	union {
		struct softgpu_launch launch;
		struct {
			uint64_t dst, src, size;
			void *staging; /* malloc: the source was pageable and is copied here */
			bool dst_pageable, src_pageable; /* the caller's word, not in the table */
		} copy;
		struct {
			uint64_t dst, pitch, width, height; /* width in elements */
			uint32_t value;
			uint32_t element_bytes;
		} fill;
		struct {
			struct softgpu_event *event;
			uint64_t generation;
		} record;
		struct {
			struct softgpu_stream *stream;
			uint64_t sequence;
		} wait;
		struct {
			CUhostFn function;
			CUstreamCallback callback;
			void *data;
		} host;
		struct {
			uint64_t address, value;
			unsigned int flags;
			bool wide;
		} value;
		uint64_t free_address;
	};
};

/* The counters have cache lines of their own: who puts in and who takes out do not disturb each other. */
struct softgpu_stream { // NOLINT(clang-analyzer-optin.performance.Padding)
	struct softgpu_object object;
	struct softgpu_context *context;
	struct softgpu_stream *next; /* context lock */
	unsigned int flags;
	int priority;
	bool legacy;
	atomic_int refs; /* the handle, the worker, events and waits that name it */
	pthread_mutex_t lock;
	struct softgpu_command *ring;
	uint64_t legacy_seen; /* lock: the legacy stream's command that this one is already ordered behind */
	bool thread_started;  /* lock */
	/* Futex words by their low halves (little-endian). */
	_Alignas(64) atomic_uint_fast64_t submitted;
	atomic_uint sleeping;
	_Alignas(64) atomic_uint_fast64_t completed;
	atomic_uint waiters;
};

CUresult softgpu_stream_new(struct softgpu_context *context, unsigned int flags, int priority,
			    struct softgpu_stream **ret_stream);
void softgpu_stream_get(struct softgpu_stream *stream);
void softgpu_stream_put(struct softgpu_stream *stream);
/* Ends a stream: its handle is invalid at once, the worker finishes what is queued, leaves the list and goes. */
void softgpu_stream_close(struct softgpu_stream *stream);
/* Takes a stream out of its context's list. */
void softgpu_stream_unlink(struct softgpu_stream *stream);
/* The stream that a handle means in the calling thread's context. */
CUresult softgpu_stream_lookup(CUstream handle, struct softgpu_context **ret_context,
			       struct softgpu_stream **ret_stream);
/* Puts a command in, behind what CUDA's rules demand; blocks while the stream is full. @ret_sequence may be NULL. */
CUresult softgpu_stream_submit(struct softgpu_stream *stream, const struct softgpu_command *command,
			       uint64_t *ret_sequence);
/* Waits until command @sequence is done. */
void softgpu_stream_wait(struct softgpu_stream *stream, uint64_t sequence);
static inline bool softgpu_stream_done(struct softgpu_stream *stream, uint64_t sequence)
{
	return atomic_load_explicit(&stream->completed, memory_order_acquire) >= sequence;
}

/* worker.c */
void *softgpu_worker(void *stream);

/* event.c */

struct softgpu_event {
	struct softgpu_object object;
	struct softgpu_context *context;
	unsigned int flags;
	atomic_int refs;
	pthread_mutex_t lock;
	struct softgpu_stream *stream; /* lock: where it was recorded last, with a reference; NULL: never */
	uint64_t sequence, generation; /* lock */
	uint64_t time_ns;	       /* lock: when the generation below was reached */
	uint64_t time_generation;
};

void softgpu_event_reached(struct softgpu_event *event, uint64_t generation);
void softgpu_event_put(struct softgpu_event *event);

/* transfer.c: what a worker does for copies, fills and values. */
CUresult softgpu_run_copy(struct softgpu_context *context, const struct softgpu_command *command);
CUresult softgpu_run_fill(struct softgpu_context *context, const struct softgpu_command *command);
CUresult softgpu_run_write(struct softgpu_context *context, const struct softgpu_command *command);
CUresult softgpu_run_wait_value(struct softgpu_context *context, const struct softgpu_command *command);

/* grid.c: runs a kernel's blocks on the calling thread and the pool. */
bool softgpu_grid_init(int threads);
CUresult softgpu_run_grid(struct softgpu_context *context, const struct softgpu_launch *launch);

/* futex.c */
void softgpu_futex_wait(void *word, uint32_t value, uint64_t timeout_ns);
void softgpu_futex_wake(void *word);
uint64_t softgpu_now_ns(void);

static inline void softgpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

#endif /* SOFTGPU_INTERNAL_H */
