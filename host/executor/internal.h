/* SPDX-License-Identifier: MIT */
/*
 * vgpu-executor: one process, one session, one CUDA context. README of the bytes that it speaks:
 * protocol/session, protocol/executor.
 *
 *   main ── arenas reserved ── driver loaded, context made ── sandbox closed
 *    │
 *    ├─ control thread (main's own): fd 3; ASSIGN, HEAP_ADD, FINISH
 *    ├─ issue thread: takes ring entries, owns every table below, never blocks in the driver
 *    └─ helper threads: run the calls that may block
 *
 *   ring ─take─> private copy ─validate─> resolve ─┬─ HOST: answered at once
 *                                                  ├─ STREAM: driver, or parked in its stream
 *                                                  └─ WAIT: job ─> helper ─> done stack ─> issue
 *
 * A job is made and finished by the issue thread; between the two it belongs to one helper (or to
 * the control thread) and touches nothing but itself, the driver, and memory of the session.
 * So no table has a lock. What threads do share: `sticky`, the done stack, the slots' busy marks
 * (all atomic), and the helpers' queue (its own lock).
 */
#ifndef HOST_EXECUTOR_INTERNAL_H
#define HOST_EXECUTOR_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/cuda_abi.h"
#include "common/ring/ring.h"
#include "host/executor/table.h"
#include "host/executor/validate.h"
#include "protocol/executor/executor.h"
#include "protocol/session/session.h"

enum vx_limits {
	/* what the driver has been given and the GPU has not done: the driver blocks its caller at
	 * 1,021 commands or 4 MiB of them in one hardware queue, and streams share queues in a way
	 * that it does not tell (docs/decisions/0004); so all streams together stay below one queue */
	VX_FLYING = 480,	   /* commands of all streams; a stream with none may still give one */
	VX_FLYING_STREAM = 384,	   /* of one stream, less when several are busy */
	VX_FLYING_STREAM_MIN = 16,
	VX_FLYING_BYTES = 2560 << 10,
	VX_FLYING_BYTES_MOST = 3584 << 10, /* with those of streams that had none */
	VX_LAUNCH_BYTES = 2048,	   /* of the queue that a launch takes besides its parameters */
	VX_COMMAND_BYTES = 128,	   /* and any other command */
	VX_MARK_EVERY = 64,	   /* commands; a stream's progress is known this exactly */
	VX_MARK_BYTES = 256 << 10,
	VX_MARKS = 16,		   /* of a stream that are remembered */
	VX_BATCH = 32,		/* entries between two looks at everything else */
	VX_JOBS = VGPU_SLOTS,	/* calls on helpers at once: each has a slot; as many of our own */
	VX_RANGES = 1 << 16,	/* allocations and module variables of a session */
	VX_HEAP_PARTS = 1 << 17,/* 2 MiB parts of the largest arena */
	VX_REGISTER_BYTES = 64 << 20, /* heap registered with the driver at once */
	VX_LOADING_BYTES = 1 << 30, /* module images being loaded at once: all threads together */
	VX_ALIGN = 2 << 20,	/* heap runs are whole huge pages */
	VX_SYNCS = 16,		/* waits in the driver at once; each may take one of 56 places */
	VX_DOZE_NS = 4000,
	VX_DOZE_MAX_NS = 250000,
	VX_WATCH_NS = 1000000,	/* how often outstanding streams are asked for faults */
	VX_WATCH_MAX_NS = 8000000,
	VX_PARKED_NS = 20000,	/* how often parked entries are looked at */
	VX_PARKED_MAX_NS = 250000, /* and when they have been held for long */
};

/* ---- gpu.c: the driver and the context ---- */

struct vx_gpu {
	struct cuda_driver cu;
	CUdevice device;
	CUcontext context;
	struct vgpu_device_info info; /* total_bytes: of the GPU */
	bool software;
	uint32_t error; /* why there is no context; text says it in a sentence */
	char text[VGPU_EXECUTOR_TEXT];
	uint64_t free_bytes;
	uint64_t context_bytes;
	uint64_t *mark; /* a cache line a stream, written by the GPU: commands that are done */
	CUdeviceptr mark_device;
};

/* Makes the context. False: gpu->error and text say why. */
bool vx_gpu_open(struct vx_gpu *gpu, const char *driver, int ordinal);
/* Results after which the context is lost. */
bool vx_result_is_sticky(uint32_t result);

/* ---- driver/hmm.c ---- */

/* True: the kernel module was asked to keep kernels out of this process's pageable memory, and agreed. */
bool vx_hmm_is_off(void);

/* ---- sandbox.c ---- */

struct vx_relax { /* for tests and sanitizers; each is reported by its missing bit */
	bool seccomp;
	bool dumpable;
};

/* Closes the sandbox; returns vgpu_sandbox_bit's of what is in force. Text: what is not, and why. */
uint32_t vx_sandbox_close(const struct vx_relax *relax, char *text, size_t size);

/* ---- arena.c ---- */

/* Reserves all arenas that can be had, before the driver chooses its addresses. */
void vx_arena_reserve_all(void);
bool vx_arena_has(uint32_t arena);
/* Maps window bytes at an arena's offset. 0, -errno. */
int vx_arena_map(uint32_t arena, uint64_t heap_offset, int window, uint64_t window_offset,
		 uint64_t bytes);

/* ---- memory.c: what addresses belong to the session (issue thread) ---- */

struct vx_range {
	uint64_t start;
	uint64_t bytes;
	uint64_t charged;
	uint64_t window_offset; /* of a heap run */
	uint32_t module; /* of a module's variable, else 0 */
	bool dying;	 /* MEM_FREE or MODULE_UNLOAD is under way */
};

struct vx_ranges {
	struct vx_range *range; /* by start */
	uint32_t count, capacity, limit;
	uint32_t last; /* where the last one was found */
};

int vx_ranges_add(struct vx_ranges *r, const struct vx_range *range);
void vx_ranges_remove(struct vx_ranges *r, uint64_t start);
/* The range that contains start, or NULL. Valid until the next add or remove. */
struct vx_range *vx_ranges_find(struct vx_ranges *r, uint64_t start);
/* Whether [start, start+bytes) lies in one living range. */
bool vx_ranges_hold(struct vx_ranges *r, uint64_t start, uint64_t bytes);
/* Whether [start, start+bytes) is covered by ranges without a gap. */
bool vx_ranges_cover(struct vx_ranges *r, uint64_t start, uint64_t bytes);
void vx_ranges_uninit(struct vx_ranges *r);

/* ---- quota.c ---- */

struct vx_quota {
	struct vgpu_quota_page *page;
	uint32_t slot;
};

/* What an allocation of `bytes` takes of the quota: the driver's granularity. 0 when too large. */
uint64_t vx_quota_cost(uint64_t bytes);
/* Charges; false: over the VM's quota, nothing is charged. */
bool vx_quota_charge(const struct vx_quota *q, uint64_t bytes);
void vx_quota_release(const struct vx_quota *q, uint64_t bytes);
void vx_quota_info(const struct vx_quota *q, uint64_t *ret_free, uint64_t *ret_total);

/* ---- objects of the session (issue thread) ---- */

struct vx_parked;

struct vx_event {
	CUevent cu;
	uint32_t flags;
	uint32_t users;	   /* jobs and parked entries that hold it */
	bool destroyed;	   /* its handle is gone; freed with the last user */
	struct vx_parked *first, *last; /* parked entries that name it, in order */
};

struct vx_module {
	CUmodule cu;
	uint32_t users; /* jobs */
	bool dying;
	struct vx_function *functions;
	uint32_t handle;
};

struct vx_function {
	CUfunction cu;
	struct vx_module *module;
	struct vx_function *next; /* of the module */
	uint32_t handle;
	uint32_t param_bytes;
	bool launched; /* so that launching it cannot load or resize anything */
};

/* An entry that its stream could not take yet. */
struct vx_parked {
	struct vx_parked *next;		    /* of the stream */
	struct vx_parked *event_prev, *event_next; /* of the event, when call.object is one */
	uint64_t order;
	struct vx_call call; /* leads into bytes */
	bool on_helper;	     /* a first launch that a helper is doing: stays first until done */
	_Alignas(16) uint8_t bytes[];
};

struct vx_stream {
	CUstream cu;
	bool used, nonblocking;
	bool dying;			/* STREAM_DESTROY has come */
	bool destroyed;			/* and was answered: goes when it has run dry */
	uint32_t users;			/* jobs */
	/* commands given, marks among them; known to be done; before the last mark. And their bytes. */
	uint64_t issued, done, marked;
	uint64_t issued_queue, done_queue, marked_queue;
	struct { uint64_t command, queue; } mark[VX_MARKS]; /* on their way, oldest at mark_first */
	uint32_t mark_first, marks;
	uint64_t issued_bytes;
	uint64_t backlog;		/* bytes parked, of the stream class */
	struct vx_parked *first, *last;
	struct vx_stream *parked_next;	/* session's list of streams with parked entries */
	struct vx_stream *parked_prev;
};

struct vx_session;

/* A call that a helper runs, or news from the control thread. */
struct vx_job {
	struct vx_job *next;
	struct vx_session *session;
	void (*run)(struct vx_job *job);    /* helper; may block */
	void (*finish)(struct vx_job *job); /* issue thread; NULL: reply and nothing else */
	uint64_t order;
	enum vx_after { /* what must have been issued before it runs */
		VX_AFTER_NOTHING,
		VX_AFTER_STREAM,
		VX_AFTER_EVENT,
		VX_AFTER_ALL,
	} after;
	bool alone; /* and only when no other job uses its stream or module */
	/* what the job holds: counted in their users, except the stream of a parked launch */
	struct vx_stream *stream;
	struct vx_event *event;
	struct vx_module *module;
	struct vx_function *function;
	struct vx_parked *parked;
	uint32_t handle;
	uint32_t slot, seq;
	bool reply_early; /* by the helper, which spares the caller a hop */
	bool replied;
	uint32_t status;
	__u64 value[6];
	union {
		struct { uint64_t address, bytes, charged; } mem;
		struct { uint64_t image, image_bytes, log, log_bytes; } load;
		struct { uint64_t out, out_bytes; } get;
		struct { uint32_t attribute; int32_t value; } set;
		struct { uint32_t flags; int32_t priority; } create;
	};
	char *name; /* freed with the job, as are params */
	struct vgpu_param_info *params;
	struct vgpu_function_info info;
	CUmodule cu_module;
	CUfunction cu_function;
	CUstream cu_stream;
	uint64_t issued; /* by the stream, when it is asked */
};

/* ---- session.c ---- */

struct vx_session { /* grouped by thread: NOLINT(clang-analyzer-optin.performance.Padding) */
	/* issue thread */
	struct vgpu_consumer ring;
	struct vx_gpu *gpu;
	struct vgpu_gate_page *gate;
	struct vx_stream *parked; /* streams with parked entries */
	uint64_t order;		  /* entries seen */
	uint64_t flying;	  /* commands given and not known to be done, of all streams */
	uint64_t flying_bytes;
	uint32_t jobs;		  /* made and not finished */
	uint32_t allocs;	  /* of them, that will add a device range */
	uint64_t loading_bytes;	  /* of module images that they have copied */
	bool space_moved;	  /* head or issued bytes since the last look at space_waiters */
	uint64_t moved[VGPU_STREAMS / 64]; /* streams whose issued bytes are to be published */
	bool ended;
	uint64_t busy[VGPU_STREAMS / 64]; /* streams that may have work outstanding */
	uint32_t watch_next;
	bool watching; /* a helper asks a stream */
	uint64_t watch_ns, watch_period_ns;
	uint64_t parked_ns;	  /* how long to sleep while entries are parked */
	struct vgpu_gate_page stats; /* its counters but faults, published now and then */
	struct vx_stream stream[VGPU_STREAMS];
	struct vx_table functions, modules, events;
	struct vx_ranges device, heap;
	struct vx_quota quota;
	struct vx_job *waiting, **waiting_end; /* jobs whose `after` is not met */
	CUdeviceptr control_device;

	/* constant after ASSIGN */
	struct vgpu_executor_assign assign;
	int window, doorbell, interrupt, gate_fd, quota_fd, wake; /* wake: eventfd for the done stack */
	uint64_t poll_ns;

	/* shared by the threads */
	_Alignas(64) _Atomic uint32_t sticky;
	_Alignas(64) _Atomic(struct vx_job *) done;
	_Atomic bool asleep;
	_Atomic bool slot_busy[VGPU_SLOTS];
	_Atomic uint32_t syncs; /* helpers that wait in the driver */

	_Alignas(64) uint8_t entry[(VGPU_ENTRY_MAX + 63) / 64 * 64];
};

/* ASSIGN: maps the control area, registers it, writes the header. 0 or an enum vgpu_error with text. */
uint32_t vx_session_open(struct vx_session *s, struct vx_gpu *gpu,
			 const struct vgpu_executor_assign *assign, const int fds[5], char *text);
/* HEAP_ADD (control thread): maps and registers; the issue thread learns of it and then says HEAP_ADDED. */
uint32_t vx_session_heap_add(struct vx_session *s, const struct vgpu_executor_heap *heap,
			     char *text);
/* The context is lost: every call from now on, and all that are pending, get `result`. Any thread. */
void vx_session_lose(struct vx_session *s, uint32_t result);
/* The client broke the protocol: tells client and mediator, and exits. Issue thread. */
void vx_session_end(struct vx_session *s, uint32_t error, const char *text);
/* Looks at a driver's result; loses the session if it is sticky. Any thread. */
static inline uint32_t vx_check(struct vx_session *s, CUresult result)
{
	if (__builtin_expect(result != CUDA_SUCCESS, 0) && vx_result_is_sticky(result))
		vx_session_lose(s, result);
	return (uint32_t)result;
}

/* ---- control.c ---- */

struct vx_control {
	struct vx_gpu *gpu;
	struct vx_session *session;
	uint32_t sandbox;
	char text[VGPU_EXECUTOR_TEXT];
};

/* Serves fd 3 until FINISH or its end. */
void vx_control_serve(struct vx_control *control);
/* Sends a result of the newest epoch. Any thread. */
void vx_control_result(uint32_t type, uint32_t error, uint64_t heap_offset, const char *text);

/* ---- reply.c ---- */

void vx_reply(struct vx_session *s, uint32_t slot, uint32_t seq, uint32_t status,
	      const __u64 value[6]);
void vx_reply_call(struct vx_session *s, const struct vx_call *call, uint32_t status,
		   const __u64 value[6]);
/* Publishes what streams have consumed, and wakes producers that wait for room. */
void vx_wake_space(struct vx_session *s);

/* ---- issue.c ---- */

void *vx_issue_run(void *session);

/* ---- host.c: calls answered at once ---- */

void vx_host_call(struct vx_session *s, const struct vx_call *call);

/* ---- flying.c: what the driver has been given, so that it never blocks the issue thread ---- */

/* How many commands more of so many bytes in the queue the stream may be given now. */
uint64_t vx_flying_room(struct vx_session *s, struct vx_stream *stream, uint64_t bytes);
/* Bytes of the hardware queue that one command of the call takes. */
uint64_t vx_flying_bytes(const struct vx_call *call);
/* The stream was given so many commands of so many bytes each. */
void vx_flying_add(struct vx_session *s, struct vx_stream *stream, uint64_t commands, uint64_t bytes);
/* The stream has done its commands up to `done`. */
void vx_flying_done(struct vx_session *s, struct vx_stream *stream, uint64_t done);

/* ---- stream.c: order, depth, parking ---- */

void vx_stream_submit(struct vx_session *s, struct vx_call *call);
/* Issues what parked entries can be issued. */
void vx_stream_pump(struct vx_session *s);
/* Answers all parked entries with the session's sticky error. */
void vx_stream_drop(struct vx_session *s);
/* Whether all entries before `order` that concern the job are issued. */
bool vx_stream_reached(struct vx_session *s, const struct vx_job *job);
bool vx_stream_idle(struct vx_session *s, struct vx_stream *stream);
bool vx_stream_event_parked(const struct vx_event *event);
void vx_stream_open(struct vx_session *s, uint32_t handle, CUstream cu, bool nonblocking);
void vx_stream_close(struct vx_session *s, uint32_t handle);
/* Counts a refused or issued entry of the stream class. */
void vx_stream_consumed(struct vx_session *s, const struct vx_call *call);
bool vx_stream_outstanding(const struct vx_session *s);
uint32_t vx_stream_index(const struct vx_session *s, const struct vx_stream *stream);

/* ---- watch.c ---- */

/* Has a helper ask an outstanding stream for faults and progress. */
void vx_stream_watch(struct vx_session *s);
uint64_t vx_now_ns(void);
/* Helper threads that ask until something is done: sleeps a quarter longer than `ns`, which the
 * last call returned (0 at first), and returns how long. */
uint64_t vx_doze(uint64_t ns);

/* ---- command.c: one stream command ---- */

/* Finds handles and checks addresses. 0 or the error. */
uint32_t vx_command_resolve(struct vx_session *s, struct vx_call *call);
/* Gives the command, or of a long copy as much as `budget` commands carry, to the driver. Adds to
 * *commands what it gave. True: all of it. */
bool vx_command_issue(struct vx_session *s, struct vx_call *call, CUstream stream, uint64_t budget,
		      uint64_t *commands, uint32_t *ret_status);
CUresult vx_command_launch(const struct vx_gpu *gpu, const struct vx_call *call, CUstream stream);

/* ---- wait.c: jobs and helpers ---- */

/* A job that will answer the call, or one of our own (call NULL). NULL: there are many already, try
 * again later; with a call NULL means that the session has ended. */
struct vx_job *vx_job_new(struct vx_session *s, const struct vx_call *call);
/* Queues the job for a helper once what it comes after is issued. */
void vx_job_start(struct vx_session *s, struct vx_job *job);
/* Issue thread: starts waiting jobs that may run now; with a lost session, answers them. */
void vx_job_pump(struct vx_session *s);
/* Issue thread: takes back jobs that are done. True if there were any. */
bool vx_job_reap(struct vx_session *s);
/* Helper thread: runs the job and gives it back. */
void vx_job_perform(struct vx_job *job);
/* Any thread: gives a job to the issue thread. */
void vx_job_done(struct vx_job *job);
/* Issue thread: answers and frees. */
void vx_job_close(struct vx_job *job);

/* ---- pool.c: threads ---- */

int vx_pool_init(const struct vx_gpu *gpu);
/* Runs job->run on a thread that waits for work or on a new one. 0, -errno. */
int vx_pool_run(struct vx_job *job);

/* ---- block.c, module.c, event.c: calls that may block ---- */

void vx_wait_call(struct vx_session *s, struct vx_call *call);

void vx_module_load(struct vx_session *s, const struct vx_call *call);
void vx_module_unload(struct vx_session *s, const struct vx_call *call);
void vx_module_function(struct vx_session *s, const struct vx_call *call);
void vx_module_global(struct vx_session *s, const struct vx_call *call);
void vx_module_set(struct vx_session *s, const struct vx_call *call);

void vx_event_create(struct vx_session *s, const struct vx_call *call);
void vx_event_destroy(struct vx_session *s, const struct vx_call *call);
void vx_event_query(struct vx_session *s, const struct vx_call *call);
void vx_event_elapsed(struct vx_session *s, const struct vx_call *call);
void vx_event_sync(struct vx_session *s, const struct vx_call *call);
void vx_event_put(struct vx_session *s, struct vx_event *event);

/* ---- image.c ---- */

/* Whether a module image's own lengths stay inside `bytes`. Pure. */
bool vx_image_plausible(const void *image, size_t bytes);

#endif
