/* SPDX-License-Identifier: MIT */
/*
 * libvgpu's insides.
 *
 *   vgpu_session_open -> transport open -> session -> modules, functions, streams, events
 *                                             |
 *     call.c     ring, reply slots, waiting, backlog        stream.c   marks, synchronise
 *     heap.c     pinned memory: blocks of the arena         staging.c  buffers for pageable copies
 *     ranges.c   what is an address of this session         copy.c     copies and memsets
 *
 * A call is posted only when everything that the executor could refuse has been checked here:
 * handles are pointers to live objects of the session, addresses are in the tables, dimensions
 * are within the limits that the host has reported.
 *
 * Locks, in taking order: helper.lock, pinned.grow_lock, staging.lock, pinned.lock,
 * stream_state.mark_lock, ranges.lock, module.lock, slot_lock. Of the process: sessions_lock, then
 * that of reserve.c. None is held while waiting for the
 * GPU; grow_lock is held while waiting for the host.
 */
#ifndef VGPU_INTERNAL_H
#define VGPU_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "client/libvgpu/transport.h"
#include "client/libvgpu/vgpu.h"
#include "common/ring/ring.h"
#include "protocol/device/device.h"
#include "protocol/session/session.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

enum vgpu_cuda_code { /* the few CUresults that the library itself gives or knows */
	VGPU_CUDA_OUT_OF_MEMORY = 2,
	VGPU_CUDA_NOT_READY = 600,
};

enum vgpu_client_limits {
	VGPU_SPIN_REPLY_NS = 50000,  /* waiting for an answer: longer than the host needs mostly */
	VGPU_SPIN_MARK_NS = 200000,  /* waiting for the GPU: small kernels and copies */
	VGPU_LINK_BYTES_PER_NS = 64, /* no faster: PCI Express 5 with 16 lanes has 63 */
	VGPU_SPIN_SPACE_NS = 20000,
	VGPU_WAIT_BELT_NS = 1000000000, /* sleepers look again each second, whatever was lost */
	VGPU_OPEN_TIMEOUT_MS = 30000,
	VGPU_LIMBO_WAIT_NS = 100000000, /* for freed pinned memory that transfers still use */
	VGPU_STREAM_WAIT_NS = 1000000000, /* for a destroyed stream's handle */
	VGPU_GROW_MS = 30000,	      /* for the host to make the heap larger */
	VGPU_GROW_IMPATIENT_MS = 200, /* the same when there is another way */
	VGPU_ALLOC_TRIES = 16,	     /* device blocks set aside because their address is taken */
};

/* ---- ranges.c: sorted address ranges ---- */

struct vgpu_range {
	uint64_t base;
	uint64_t bytes;
	void *data;
};

struct vgpu_ranges {
	pthread_rwlock_t lock;
	struct vgpu_range *range;
	size_t count;
	size_t room;
};

void vgpu_ranges_init(struct vgpu_ranges *r);
void vgpu_ranges_uninit(struct vgpu_ranges *r);
/* 0, -EEXIST: overlaps one that is there, -ENOMEM */
int vgpu_ranges_add(struct vgpu_ranges *r, uint64_t base, uint64_t bytes, void *data);
/* Removes the range that starts at base. 0 or -ENOENT */
int vgpu_ranges_remove(struct vgpu_ranges *r, uint64_t base, struct vgpu_range *ret);
/* Removes all ranges with that data. */
void vgpu_ranges_remove_data(struct vgpu_ranges *r, const void *data);
/* Is [base, base + bytes) inside one range? */
bool vgpu_ranges_holds(struct vgpu_ranges *r, uint64_t base, uint64_t bytes);

/* ---- arena.c ---- */

/*
 * What of the address space sanitizers keep for themselves, also when only the program has one:
 * nothing of the program can be there, and we must not map there either.
 */
extern void __tsan_init(void) __attribute__((weak));
extern void __asan_init(void) __attribute__((weak));
static inline bool vgpu_may_map(uint64_t address)
{
	if (__tsan_init)
		return address >= vgpu_arena_base(VGPU_ARENAS - 1);
	return !__asan_init || address >= 0x10007fff8000; /* below is mostly shadow */
}

/* ---- reserve.c: device addresses kept free of host mappings ---- */

/* Each session is a user; with the last one all runs are given back. */
void vgpu_reserve_get(void);
void vgpu_reserve_put(void);
/* Keeps the list whole in a forked child. */
void vgpu_reserve_fork(bool before);
/* 0, also for what another session has reserved; -EEXIST: the process has a mapping there; -ENOMEM */
int vgpu_reserve_add(uint64_t base, uint64_t bytes);

/* ---- heap.c: blocks of the arena, bookkeeping in private memory ---- */

/* A block never crosses from one run into the next: the host registers each run with the GPU by
 * itself, and CUDA refuses a copy across two registrations. */

struct vgpu_heap_block {
	uint64_t at; /* offset in the arena */
	uint64_t bytes;
	uint32_t run;  /* what was added at once: blocks of two runs are never joined */
	bool used;
	struct vgpu_heap_block *prev, *next;   /* by address */
	struct vgpu_heap_block *bin_prev, *bin_next;
};

enum { VGPU_HEAP_BINS = 48, VGPU_HEAP_ALIGN = 256 };

struct vgpu_heap {
	struct vgpu_heap_block *first;
	struct vgpu_heap_block *last;
	struct vgpu_heap_block *bin[VGPU_HEAP_BINS]; /* free blocks by log2 of their size */
	uint64_t end;	/* where the next run goes */
	uint32_t runs;
	uint64_t total; /* bytes usable */
};

void vgpu_heap_uninit(struct vgpu_heap *h);
/* Adds [at, at + bytes), at >= end. 0 or -ENOMEM */
int vgpu_heap_add(struct vgpu_heap *h, uint64_t at, uint64_t bytes);
/* 0, -ENOSPC: no free block is large enough, -ENOMEM */
int vgpu_heap_take(struct vgpu_heap *h, uint64_t bytes, struct vgpu_heap_block **ret);
void vgpu_heap_give(struct vgpu_heap *h, struct vgpu_heap_block *b);

/* ---- the session ---- */

/* What the library knows of one stream handle. A cache line, written by those who post to it. */
struct vgpu_stream_state {
	_Atomic uint64_t posted; /* bytes of entries given to the stream, in whole cells */
	_Atomic uint64_t issued; /* an old value of progress.issued_bytes */
	_Atomic uint64_t work;	 /* entries committed that put work on the stream */
	/* under mark_lock */
	uint64_t mark;	    /* value of the last STREAM_MARK */
	uint64_t mark_work; /* `work` when it was posted: these entries are before it */
	pthread_mutex_t mark_lock;
	/* marks up to it are of earlier lives of the handle, which had all ended before this one */
	_Atomic uint64_t dry;
	_Atomic bool live;
} __attribute__((aligned(64)));

/* A heap block that was freed while the GPU may still use it. */
struct vgpu_limbo {
	struct vgpu_limbo *next;
	struct vgpu_heap_block *block;
	unsigned int streams;
	struct {
		uint32_t stream;
		uint64_t work;
	} need[];
};

struct vgpu_pinned {
	pthread_mutex_t grow_lock;
	pthread_mutex_t lock; /* heap, limbo */
	struct vgpu_heap heap;
	struct vgpu_limbo *limbo;
	struct vgpu_ranges user; /* blocks given out by vgpu_host_malloc; data: the block */
};

/* A buffer for pageable copies; idle ones carry the mark after which they are free. */
struct vgpu_stage {
	struct vgpu_stage *next;
	struct vgpu_heap_block *block;
	uint64_t address; /* for the host */
	uint8_t *data;	  /* for this library: vgpu_pinned_view() */
	uint32_t bytes;
	uint32_t stream;
	uint64_t mark; /* 0: nothing to wait for */
};

enum vgpu_stage_kind { VGPU_STAGE_SMALL, VGPU_STAGE_LARGE, VGPU_STAGE_KINDS };

struct vgpu_staging {
	pthread_mutex_t lock;
	struct {
		struct vgpu_stage *oldest; /* idle ones, oldest first */
		struct vgpu_stage *newest;
	} idle[VGPU_STAGE_KINDS];
	unsigned int busy[VGPU_STAGE_KINDS];
	pthread_cond_t returned;
};

struct vgpu_copy_job;

/* One more thread for pageable copies, started when first wanted. */
struct vgpu_helper {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_cond_t idle;
	pthread_t thread;
	bool started, failed, stop, taken;
	struct vgpu_copy_job *job;
};

/* Fields lie by who writes them, not by size. */
struct vgpu_session { /* NOLINT(clang-analyzer-optin.performance.Padding) */
	/* read by every call */
	struct vgpu_producer producer;
	struct vgpu_transport *transport;
	uint32_t generation;
	bool device_info_known;
	uint32_t spin_max; /* threads that may spin at once */
	uint32_t spin_scale; /* per cent of the spin times */

	struct vgpu_stream_state stream[VGPU_STREAMS];

	_Atomic uint64_t slot_free[VGPU_SLOTS / 64] __attribute__((aligned(64)));
	_Atomic uint32_t slot_waiters;
	pthread_mutex_t slot_lock;
	pthread_cond_t slot_cond;
	_Atomic uint32_t spinners;

	_Atomic uint64_t count_waited, count_sleeps, count_doorbells, count_full;

	struct vgpu_ranges memory; /* device memory; data: the module for its variables, else NULL */
	struct vgpu_pinned pinned;
	struct vgpu_staging staging;
	struct vgpu_helper helper;

	pthread_mutex_t info_lock;
	struct vgpu_device_info info;

	pthread_mutex_t object_lock; /* lists of objects, for close */
	LIST_HEAD(vgpu_module_list, vgpu_module) modules;
	LIST_HEAD(vgpu_stream_list, vgpu_stream) streams;
	LIST_HEAD(vgpu_event_list, vgpu_event) events;
	LIST_ENTRY(vgpu_session) link; /* of all sessions of the process */
};

struct vgpu_function {
	struct vgpu_session *session;
	struct vgpu_module *module;
	struct vgpu_function *next;
	uint32_t handle;
	_Atomic bool launched;
	_Atomic uint32_t max_dynamic_shared_bytes;
	struct vgpu_function_info info;
	struct vgpu_param param[];
};

struct vgpu_module {
	struct vgpu_session *session;
	LIST_ENTRY(vgpu_module) link;
	pthread_mutex_t lock; /* functions */
	struct vgpu_function *functions;
	uint32_t handle;
};

struct vgpu_stream {
	struct vgpu_session *session;
	LIST_ENTRY(vgpu_stream) link;
	uint32_t handle;
};

struct vgpu_event {
	struct vgpu_session *session;
	LIST_ENTRY(vgpu_event) link;
	uint32_t handle;
};

/* ---- status.c ---- */

/* Keeps the thread's sentence. */
void vgpu_fail_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, and gives code. */
#define vgpu_fail(code, ...) \
	({ \
		vgpu_status fail_code_ = (code); \
		vgpu_fail_text(__VA_ARGS__); \
		fail_code_; \
	})
/* For a code that came from the host, and `what` was asked; 0 stays silent. */
static inline vgpu_status vgpu_fail_host(vgpu_status code, const char *what)
{
	if (code)
		vgpu_fail_text("%s: %s (%s, %u)", what, vgpu_status_text(code), vgpu_status_name(code), code);
	return code;
}

/* ---- session.c ---- */

/* A page that fork wipes: the number of the process's life. */
extern const volatile uint32_t *vgpu_generation;
vgpu_status vgpu_session_bad(struct vgpu_session *s);

/* Before everything else in every call: not forked, not dead, no sticky error. */
static inline vgpu_status vgpu_session_check(struct vgpu_session *s)
{
	if (likely(s && *vgpu_generation == s->generation &&
		   !atomic_load_explicit(&s->transport->dead, memory_order_acquire) &&
		   !__atomic_load_n(&s->producer.control.header->sticky, __ATOMIC_RELAXED)))
		return VGPU_OK;
	return vgpu_session_bad(s);
}

/* ---- call.c ---- */

struct vgpu_call {
	uint32_t op;
	uint32_t stream;	/* handle */
	bool stream_class;	/* counts in the stream's backlog */
	const void *head;	/* the operation's structure */
	uint32_t head_bytes;
	uint32_t tail_bytes;
	const void *tail;	/* what follows it */
};

/* Posts; blocks while ring or backlog is full. */
vgpu_status vgpu_call_post(struct vgpu_session *s, const struct vgpu_call *c);
/* Sends and waits; ret_value may be NULL. The status is the executor's, its sentence is not set. */
vgpu_status vgpu_call_wait(struct vgpu_session *s, const struct vgpu_call *c, __u64 ret_value[6]);
/* Room in the ring; the caller writes and commits. With wait false: CUDA_ERROR_NOT_READY when there
 * is none. */
vgpu_status vgpu_call_reserve(struct vgpu_session *s, uint32_t bytes, bool wait, uint64_t *ret_pos);
/* Room in the stream's backlog. With wait false: CUDA_ERROR_NOT_READY when there is none. */
vgpu_status vgpu_call_backlog(struct vgpu_session *s, uint32_t stream, uint32_t bytes, bool wait);
void vgpu_call_commit(struct vgpu_session *s, uint64_t pos);
uint32_t vgpu_call_thread(void);
/* May this thread spin now? Then vgpu_spin_end follows. */
bool vgpu_spin_begin(struct vgpu_session *s);
void vgpu_spin_end(struct vgpu_session *s);
uint64_t vgpu_now_ns(void);

static inline void vgpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

/* ---- stream.c ---- */

static inline uint32_t vgpu_stream_handle(const struct vgpu_stream *stream)
{
	return stream ? stream->handle : 0;
}

/*
 * A mark behind everything given to the stream: its value. With `fresh` false the last mark is
 * used again when nothing came after it. With `wait` false: CUDA_ERROR_NOT_READY instead of
 * waiting for room.
 */
vgpu_status vgpu_stream_mark(struct vgpu_session *s, uint32_t stream, bool fresh, bool wait,
			     uint64_t *ret_value);
bool vgpu_stream_reached(struct vgpu_session *s, uint32_t stream, uint64_t value);
vgpu_status vgpu_stream_wait_mark(struct vgpu_session *s, uint32_t stream, uint64_t value);
/* Marks and waits; `bytes` were copied last, which takes its time. */
vgpu_status vgpu_stream_finish(struct vgpu_session *s, uint32_t stream, uint64_t bytes);
/* Is there work that no completed mark covers? *ret_work: its count. */
bool vgpu_stream_busy(struct vgpu_session *s, uint32_t stream, uint64_t *ret_work);
/* Have the stream's first `work` entries been completed? Posts a mark if that helps. */
bool vgpu_stream_covered(struct vgpu_session *s, uint32_t stream, uint64_t work);

/* ---- memory.c ---- */

/* Not patient: fails rather than wait for the host or another thread for more than a moment. */
vgpu_status vgpu_pinned_take(struct vgpu_session *s, uint64_t bytes, bool patient,
			     struct vgpu_heap_block **ret);
/* The block is idle: nothing posted uses it. */
void vgpu_pinned_give(struct vgpu_session *s, struct vgpu_heap_block *b);
static inline uint64_t vgpu_pinned_address(struct vgpu_session *s, const struct vgpu_heap_block *b)
{
	return (uint64_t)(uintptr_t)s->transport->heap + b->at;
}
/* Where the library itself reads and writes the block. After reading: vgpu_view_check(). */
static inline uint8_t *vgpu_pinned_view(struct vgpu_session *s, const struct vgpu_heap_block *b)
{
	return s->transport->view + b->at;
}
/* What was read through a view before this is the host's data, or the session has ended. */
static inline vgpu_status vgpu_view_check(struct vgpu_session *s)
{
	vgpu_fence();
	return vgpu_session_check(s);
}
void vgpu_pinned_uninit(struct vgpu_session *s);
/* Sentence and code when [base, + bytes) is not device memory of the session. */
vgpu_status vgpu_memory_check(struct vgpu_session *s, uint64_t base, uint64_t bytes, const char *what);

/* ---- staging.c ---- */

/* A buffer for a transfer in `stream`. With wait false none that another thread is using is
 * waited for: who holds one already must not. CALL_HEAP_FULL: there is none. */
vgpu_status vgpu_stage_get(struct vgpu_session *s, enum vgpu_stage_kind kind, uint32_t stream,
			   bool wait, struct vgpu_stage **ret);
/* mark 0: nothing uses it any more */
void vgpu_stage_put(struct vgpu_session *s, enum vgpu_stage_kind kind, struct vgpu_stage *b,
		    uint32_t stream, uint64_t mark);
/* Gives idle buffers back to the heap. */
void vgpu_staging_trim(struct vgpu_session *s);
void vgpu_staging_uninit(struct vgpu_session *s);

/* ---- stream_copy.c ---- */

/* memcpy past the caches; complete for other processors when it returns. */
void vgpu_stream_copy(void *to, const void *from, size_t bytes);

/* ---- copy.c, pipeline.c ---- */

/* Captured when it returns. */
vgpu_status vgpu_pipeline_h2d(struct vgpu_session *s, uint64_t dst, const void *src, size_t bytes,
			      uint32_t stream);
/* Complete when it returns. */
vgpu_status vgpu_pipeline_d2h(struct vgpu_session *s, void *dst, uint64_t src, size_t bytes,
			      uint32_t stream);
/* At most VGPU_INLINE_MAX bytes, carried by the entry itself. */
vgpu_status vgpu_copy_inline(struct vgpu_session *s, uint64_t dst, const void *src, size_t bytes,
			     uint32_t stream);
/* Posts one copy between pinned and device memory, or two device ranges. */
vgpu_status vgpu_copy_post(struct vgpu_session *s, uint32_t op, uint64_t dst, uint64_t src,
			   uint64_t bytes, uint32_t stream);
void vgpu_helper_stop(struct vgpu_session *s);

/* ---- device.c ---- */

/* Fetches attributes once. */
vgpu_status vgpu_device_know(struct vgpu_session *s);
enum vgpu_attribute { /* CUdevice_attribute */
	VGPU_ATTR_MAX_BLOCK_THREADS = 1,
	VGPU_ATTR_MAX_BLOCK_X = 2,
	VGPU_ATTR_MAX_GRID_X = 5,
	VGPU_ATTR_MAX_SHARED = 8,
	VGPU_ATTR_WARP = 10,
	VGPU_ATTR_MAX_REGISTERS = 12,
	VGPU_ATTR_CLOCK = 13,
	VGPU_ATTR_MULTIPROCESSORS = 16,
	VGPU_ATTR_COMPUTE_MAJOR = 75,
	VGPU_ATTR_COMPUTE_MINOR = 76,
	VGPU_ATTR_MAX_SHARED_OPTIN = 97,
};
static inline int vgpu_attribute(const struct vgpu_session *s, enum vgpu_attribute a)
{
	return (uint32_t)a <= s->info.attributes && a < 256 ? s->info.attribute[a] : 0;
}

#endif
