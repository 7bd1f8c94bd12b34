/* SPDX-License-Identifier: MIT */
/*
 * libvgpu: a GPU that this machine shares with others.
 *
 * A program opens a session, loads a module (PTX, cubin or fatbin), moves data, launches kernels
 * and waits. The model is the CUDA driver's: one context a session, streams, events, one legacy
 * default stream that waits for all blocking streams and is waited for by them.
 *
 *     struct vgpu_session *gpu;
 *     if (vgpu_session_open(NULL, &gpu))
 *             die(vgpu_session_error_text());
 *
 * Results. Every call returns 0 (VGPU_OK), a code of the CUDA driver (below 0x10000, as in cuda.h)
 * or one of VGPU_ERROR_* (error.h). The upper 16 bits are the group, and the group says what is
 * lost: this call (1), the session (3), the GPU (4), the host's service (5). After a CUDA error
 * that is sticky (700 illegal address and the like), or a code of group 3, every further call
 * returns the same: close the session and open another. vgpu_session_error_text gives the sentence
 * for this thread's last failure, with the values refused and the limit.
 *
 * Threads. Every call may be made from any thread at any time, with three exceptions that are the
 * caller's duty: an object (session, module, function, stream, event, memory) is not used while
 * or after it is destroyed, a module's functions end with it, and all objects end with their
 * session. When a call has returned, calls made later by any thread come after it.
 *
 * Waiting. Calls marked [posted] hand the request over and return, usually in well under a
 * microsecond; they wait only while the ring or the stream's backlog is full. An error that shows
 * only on the GPU comes with a later call. [waits] means that the call waits for the host's
 * answer, [sleeps] that it may wait for the GPU.
 *
 * fork. A session belongs to the process that opened it. In a forked child every call with it
 * returns VGPU_ERROR_CALL_FORKED; nothing of its memory is there. The child may open its own. Do not
 * fork while another thread opens or closes a session: the child may keep its descriptor, and the
 * session with it, until it exits or calls exec.
 *
 * The library never ends the process, raises no signals and installs no handlers. It starts one
 * thread for a local session, and one more when pageable copies of 2 MiB or more are made.
 *
 * Errors that every call can return and that are not repeated below: CALL_INVALID (a NULL or
 * impossible argument), CALL_FORKED, CALL_NO_MEMORY (this process has none), the session's sticky
 * error.
 */
#ifndef VGPU_H
#define VGPU_H

#include <stddef.h>
#include <stdint.h>

#include "protocol/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VGPU_API_VERSION 1

#if defined(__GNUC__)
#define VGPU_API __attribute__((visibility("default")))
#else
#define VGPU_API
#endif

/* 0, a CUresult, or an enum vgpu_error */
typedef uint32_t vgpu_status;

struct vgpu_session;
struct vgpu_module;
struct vgpu_function;
struct vgpu_stream;
struct vgpu_event;

/* ---- sessions ---- */

/* Set `size` to sizeof(struct vgpu_open_options), every field not wanted to 0. */
struct vgpu_open_options {
	size_t size;
	/*
	 * "device:/dev/vgpu0": in a VM. "local:/run/vgpu/local/vgpu.sock": a host process or container.
	 * NULL: the environment variable VGPU_TRANSPORT where it is set, else /dev/vgpu0 where it
	 * exists, else the local socket.
	 */
	const char *transport;
	uint64_t window_bytes; /* local only: memory shared with the host; 0: as configured there */
	uint32_t timeout_ms;   /* for the host's answer; 0: 30 seconds */
	uint32_t reserved;
};

/*
 * Opens a session. Each has a GPU context of its own on the host, so a program usually opens one.
 * A local session makes its own connection. [sleeps]
 *
 * HOST_NO_MEDIATOR: the host's service does not answer, or the device is not there; HOST_UNKNOWN_VM,
 * HOST_IDENTITY, HOST_SESSION_LIMIT, HOST_WINDOW_LIMIT, HOST_QUARANTINE: refused, see the sentence;
 * HOST_BUSY: the host still ends what was before a reset; CALL_HEAP_FULL: others use up the window;
 * HOST_NO_EXECUTOR, HOST_INTERNAL, GPU_*: the host cannot serve; HOST_VERSION; CALL_UNSUPPORTED: this
 * process has no room for the heap's address range, or `transport` is not understood.
 */
VGPU_API vgpu_status vgpu_session_open(const struct vgpu_open_options *options,
				       struct vgpu_session **ret_session);

/*
 * Ends the session and gives back all that belongs to it; work that was not waited for may be
 * lost. NULL is allowed. Always frees the session; in a forked child only the child's memory.
 * [sleeps]
 */
VGPU_API vgpu_status vgpu_session_close(struct vgpu_session *session);

/* "CALL_QUOTA", "CUDA_ERROR_NOT_READY", never NULL. Valid for ever. */
VGPU_API const char *vgpu_status_name(vgpu_status status);
/* One sentence for a person, never NULL. Valid for ever. */
VGPU_API const char *vgpu_status_text(vgpu_status status);
/*
 * The last failure in the calling thread: what was refused, the values, the limit. "" when there
 * was none. Valid until the thread's next failing call.
 */
VGPU_API const char *vgpu_session_error_text(void);

/* ---- device ---- */

struct vgpu_device_properties {
	char name[128];
	uint8_t uuid[16];
	uint64_t total_bytes; /* this VM's quota of GPU memory */
	int driver_version;   /* 12040 is CUDA 12.4 */
	int compute_major;
	int compute_minor;
	int multiprocessors;
	int warp_threads;
	int clock_khz;
	int max_block_threads;
	int max_block[3];
	int max_grid[3];
	int max_block_shared_bytes;	  /* without vgpu_function_set_attribute */
	int max_block_shared_optin_bytes; /* with it */
	int max_block_registers;
	int reserved[16];
};

/* [waits the first time] */
VGPU_API vgpu_status vgpu_device_properties(struct vgpu_session *session,
					    struct vgpu_device_properties *ret_properties);
/* A CUdevice_attribute by its number. CALL_INVALID: the host's driver does not know it. */
VGPU_API vgpu_status vgpu_device_attribute(struct vgpu_session *session, int attribute,
					   int *ret_value);
/* Free and total bytes of this VM's quota. [waits] */
VGPU_API vgpu_status vgpu_memory_info(struct vgpu_session *session, uint64_t *ret_free,
				      uint64_t *ret_total);

/* ---- memory ---- */

/*
 * GPU memory, aligned to 256 bytes at least. Its address is no address of this process: the range
 * is kept reserved without access. CALL_QUOTA: the VM's quota is used up; 2: the GPU has no room.
 * [waits]
 */
VGPU_API vgpu_status vgpu_malloc(struct vgpu_session *session, size_t bytes, uint64_t *ret_address);
/* Waits for the work that uses it, as cuMemFree. 0 is allowed. CALL_ADDRESS: not from vgpu_malloc.
 * [sleeps] */
VGPU_API vgpu_status vgpu_free(struct vgpu_session *session, uint64_t address);

/*
 * Pinned memory: the GPU copies from and to it at the full speed of its link, and kernels may use
 * the same pointer. Page-aligned from 4 KiB on, else to 256 bytes. CALL_HEAP_FULL: the window has
 * no room. In a VM it is lost when the device is removed, suspended or reset: who touches it then
 * gets SIGBUS. [waits when the heap has to grow]
 */
VGPU_API vgpu_status vgpu_host_malloc(struct vgpu_session *session, size_t bytes, void **ret_memory);
/* Does not wait: the memory is used again when the GPU has finished with all that was posted
 * before. NULL is allowed. CALL_ADDRESS: not from vgpu_host_malloc. */
VGPU_API vgpu_status vgpu_host_free(struct vgpu_session *session, void *memory);

/*
 * Copies; 0 bytes are allowed, any alignment, any size. `h` is memory of this process, `d` GPU
 * memory or a module's variable. Host memory inside one vgpu_host_malloc block is copied directly,
 * other memory through the library's own pinned buffers.
 *
 * Without _async: in the default stream.
 *   h2d  returns when the data have been read: from pinned memory when the copy is complete, from
 *        other memory when it is captured. [posted up to 32 KiB, else sleeps]
 *   d2h  returns when the data are there. [sleeps]
 *   d2d  [posted]
 * With _async: in `stream` (NULL: the default stream).
 *   h2d  pinned: [posted]; the memory must stay as it is until the stream has got there. Other
 *        memory: captured before the return, which may wait for the stream [sleeps].
 *   d2h  pinned: [posted]. Other memory: returns when the data are there [sleeps].
 *
 * CALL_ADDRESS: [address, address + bytes) is not inside one allocation of this session.
 * CALL_HEAP_FULL: no room for even one pinned buffer.
 */
VGPU_API vgpu_status vgpu_copy_h2d(struct vgpu_session *session, uint64_t dst, const void *src,
				   size_t bytes);
VGPU_API vgpu_status vgpu_copy_d2h(struct vgpu_session *session, void *dst, uint64_t src,
				   size_t bytes);
VGPU_API vgpu_status vgpu_copy_d2d(struct vgpu_session *session, uint64_t dst, uint64_t src,
				   size_t bytes);
VGPU_API vgpu_status vgpu_copy_h2d_async(struct vgpu_session *session, uint64_t dst,
					 const void *src, size_t bytes, struct vgpu_stream *stream);
VGPU_API vgpu_status vgpu_copy_d2h_async(struct vgpu_session *session, void *dst, uint64_t src,
					 size_t bytes, struct vgpu_stream *stream);
VGPU_API vgpu_status vgpu_copy_d2d_async(struct vgpu_session *session, uint64_t dst, uint64_t src,
					 size_t bytes, struct vgpu_stream *stream);

/*
 * Sets `count` elements of 1, 2 or 4 bytes; dst is aligned to the element. [posted]
 * CALL_ADDRESS as above; CALL_INVALID: dst is not aligned.
 */
VGPU_API vgpu_status vgpu_memset8(struct vgpu_session *session, uint64_t dst, uint8_t value,
				  size_t count);
VGPU_API vgpu_status vgpu_memset16(struct vgpu_session *session, uint64_t dst, uint16_t value,
				   size_t count);
VGPU_API vgpu_status vgpu_memset32(struct vgpu_session *session, uint64_t dst, uint32_t value,
				   size_t count);
VGPU_API vgpu_status vgpu_memset8_async(struct vgpu_session *session, uint64_t dst, uint8_t value,
					size_t count, struct vgpu_stream *stream);
VGPU_API vgpu_status vgpu_memset16_async(struct vgpu_session *session, uint64_t dst,
					 uint16_t value, size_t count, struct vgpu_stream *stream);
VGPU_API vgpu_status vgpu_memset32_async(struct vgpu_session *session, uint64_t dst,
					 uint32_t value, size_t count, struct vgpu_stream *stream);

/* ---- modules ---- */

/*
 * Loads PTX text, a cubin or a fatbin of `bytes` bytes. With log_bytes not 0 the compiler's
 * messages are written to log, always ending in 0. CUDA's codes for images that do not fit:
 * 200 invalid image, 209 no binary for this GPU, 218 invalid PTX (see the log). CALL_TOO_LARGE:
 * over 512 MiB. CALL_HEAP_FULL: the image does not fit into the window. [sleeps]
 */
VGPU_API vgpu_status vgpu_module_load(struct vgpu_session *session, const void *image, size_t bytes,
				      char *log, size_t log_bytes, struct vgpu_module **ret_module);
/* Unloads it and frees its functions; waits for their work. NULL is allowed. [sleeps] */
VGPU_API vgpu_status vgpu_module_unload(struct vgpu_module *module);
/* A kernel by its name in the image; lives as long as the module. 500: there is none. [waits] */
VGPU_API vgpu_status vgpu_function_get(struct vgpu_module *module, const char *name,
				       struct vgpu_function **ret_function);
/* A __device__ or __constant__ variable: its address and size. 500: there is none. [waits] */
VGPU_API vgpu_status vgpu_global_get(struct vgpu_module *module, const char *name,
				     uint64_t *ret_address, uint64_t *ret_bytes);

struct vgpu_param {
	uint32_t offset; /* in the parameter buffer */
	uint32_t bytes;
};

struct vgpu_function_properties {
	uint32_t max_block_threads;
	uint32_t static_shared_bytes;
	uint32_t const_bytes;
	uint32_t local_bytes;
	uint32_t registers;
	uint32_t ptx_version;
	uint32_t binary_version;
	uint32_t max_dynamic_shared_bytes;
	uint32_t param_bytes; /* of the whole parameter buffer */
	uint32_t param_count;
	const struct vgpu_param *params; /* the library's; as long as the function */
	uint64_t reserved[4];
};

/* What the driver says about the kernel, parameter layout included. Never waits. */
VGPU_API vgpu_status vgpu_function_info(struct vgpu_function *function,
					struct vgpu_function_properties *ret_properties);

enum vgpu_function_attribute {
	VGPU_FUNCTION_MAX_DYNAMIC_SHARED_BYTES = 8,
	VGPU_FUNCTION_SHARED_CARVEOUT = 9, /* percent of shared memory preferred, -1: default */
};
/* 1: the driver refuses the value. [waits] */
VGPU_API vgpu_status vgpu_function_set_attribute(struct vgpu_function *function,
						 enum vgpu_function_attribute attribute, int value);
/* Blocks of that shape that one multiprocessor can hold at once. [waits] */
VGPU_API vgpu_status vgpu_occupancy(struct vgpu_function *function, uint32_t block_threads,
				    size_t dynamic_shared_bytes, int *ret_blocks);

/* ---- launches ---- */

struct vgpu_dim3 {
	uint32_t x, y, z;
};

/*
 * Launches a kernel. `params` points to param_count pointers, each to one argument, in the order
 * of the kernel's declaration; the library copies them by the layout that the driver reports, so
 * any argument types work. May be NULL for a kernel without parameters. stream NULL: the default.
 * [posted; the first launch of a function waits, the driver may have to load its code]
 *
 * CALL_TOO_LARGE: grid, block or shared memory is larger than the GPU or the function allows;
 * CALL_INVALID: a dimension is 0, or stream belongs to another session.
 */
VGPU_API vgpu_status vgpu_launch(struct vgpu_function *function, struct vgpu_dim3 grid,
				 struct vgpu_dim3 block, uint32_t dynamic_shared_bytes,
				 struct vgpu_stream *stream, void **params);
/* The same with the parameter buffer as the kernel sees it; bytes must be its param_bytes. */
VGPU_API vgpu_status vgpu_launch_buffer(struct vgpu_function *function, struct vgpu_dim3 grid,
					struct vgpu_dim3 block, uint32_t dynamic_shared_bytes,
					struct vgpu_stream *stream, const void *buffer, size_t bytes);

/* ---- streams ---- */

enum vgpu_stream_flags {
	VGPU_STREAM_DEFAULT = 0,
	VGPU_STREAM_NON_BLOCKING = 1, /* does not wait for the default stream, nor it for this */
};

/* priority: lower is more urgent, 0 the default, clamped as CUDA does. CALL_LIMIT: 255 streams.
 * [waits] */
VGPU_API vgpu_status vgpu_stream_create(struct vgpu_session *session, uint32_t flags, int priority,
					struct vgpu_stream **ret_stream);
/* Its work is finished all the same. NULL is allowed. [waits] */
VGPU_API vgpu_status vgpu_stream_destroy(struct vgpu_stream *stream);
/* Waits for all work given to the stream so far; NULL needs the session: vgpu_default_synchronize.
 * [sleeps] */
VGPU_API vgpu_status vgpu_stream_synchronize(struct vgpu_stream *stream);
/* 0: all done; 600 (not ready): not yet, and that is no failure. */
VGPU_API vgpu_status vgpu_stream_query(struct vgpu_stream *stream);
/* Work given to the stream later waits for the event. [posted] */
VGPU_API vgpu_status vgpu_stream_wait_event(struct vgpu_session *session,
					    struct vgpu_stream *stream, struct vgpu_event *event);
/* Waits for the default stream, and so for all blocking ones. [sleeps] */
VGPU_API vgpu_status vgpu_default_synchronize(struct vgpu_session *session);
/* Waits for everything that the session was given. [sleeps] */
VGPU_API vgpu_status vgpu_synchronize(struct vgpu_session *session);

/* ---- events ---- */

enum vgpu_event_flags {
	VGPU_EVENT_DEFAULT = 0,
	VGPU_EVENT_BLOCKING_SYNC = 1,
	VGPU_EVENT_DISABLE_TIMING = 2,
};

/* CALL_LIMIT: 4,096 events. [waits] */
VGPU_API vgpu_status vgpu_event_create(struct vgpu_session *session, uint32_t flags,
				       struct vgpu_event **ret_event);
/* NULL is allowed. [waits] */
VGPU_API vgpu_status vgpu_event_destroy(struct vgpu_event *event);
/* stream NULL: the default stream. [posted] */
VGPU_API vgpu_status vgpu_event_record(struct vgpu_event *event, struct vgpu_stream *stream);
/* 0, or 600 while the stream has not got there. [waits] */
VGPU_API vgpu_status vgpu_event_query(struct vgpu_event *event);
/* [sleeps] */
VGPU_API vgpu_status vgpu_event_synchronize(struct vgpu_event *event);
/* Milliseconds between two recorded events. 600: one is not reached; 400: not recorded. [waits] */
VGPU_API vgpu_status vgpu_event_elapsed(struct vgpu_event *start, struct vgpu_event *end,
					float *ret_ms);

/* ---- for measurements and tests ---- */

struct vgpu_session_counters {
	uint64_t waited;	/* calls that waited for an answer */
	uint64_t sleeps;	/* waits that ended asleep, spinning was too short */
	uint64_t doorbells;	/* times that the executor had to be woken */
	uint64_t full;		/* posted calls that had to wait for room */
	uint64_t heap_bytes;	/* of the window in use by this session's heap */
	uint64_t posted_errors; /* as the executor counts them: not 0 is a defect of this library */
	uint32_t posted_error;	/* the first of them */
	uint32_t transport;	/* 1: device, 2: local */
	uint64_t reserved[8];
};
VGPU_API vgpu_status vgpu_session_counters(struct vgpu_session *session,
					   struct vgpu_session_counters *ret_counters);
/* The empty call, waited for or posted: what the transport itself costs. */
VGPU_API vgpu_status vgpu_nop(struct vgpu_session *session);
VGPU_API vgpu_status vgpu_nop_post(struct vgpu_session *session);

#ifdef __cplusplus
}
#endif

#endif /* VGPU_H */
