/* SPDX-License-Identifier: MIT */
/*
 * What a client and its executor share: the control area (header, ring, reply slots, stream
 * progress) and the heap. README.md beside this file tells how a call travels.
 *
 * The control area is 2 MiB of the window:
 *
 *   0x000000  struct vgpu_session_header
 *   0x001000  reply slots, 64 bytes each
 *   0x008000  stream progress, 64 bytes each
 *   0x010000  stamps: one __u32 per ring cell
 *   0x100000  the ring, 1 MiB of 64-byte cells
 *
 * Trust: the executor believes nothing here. It writes the header's first page part once and never
 * reads it back; its own head, limits and tables are private. The GPU writes `completed`.
 */
#ifndef VGPU_PROTOCOL_SESSION_H
#define VGPU_PROTOCOL_SESSION_H

#include "../wire.h"
#include "../error.h"

#define VGPU_SESSION_MAGIC 0x53535653u /* "SVSS" */
#define VGPU_SESSION_VERSION_MAJOR 1
#define VGPU_SESSION_VERSION_MINOR 0
#define VGPU_SESSION_VERSION ((VGPU_SESSION_VERSION_MAJOR << 16) | VGPU_SESSION_VERSION_MINOR)

enum vgpu_session_limits {
	VGPU_SLOT_OFFSET = 0x1000,
	VGPU_SLOTS = 256,		/* calls waited for at once: one a thread, more threads queue */
	VGPU_STREAM_OFFSET = 0x8000,
	VGPU_STREAMS = 256,		/* stream handles 0..255, 0 is the legacy default stream */
	VGPU_STAMP_OFFSET = 0x10000,
	VGPU_RING_OFFSET = 0x100000,
	VGPU_RING_BYTES = 0x100000,	/* 8,192 launches with 56 bytes of parameters */
	VGPU_CELL_BYTES = 64,		/* a cache line: neighbouring entries never share one */
	VGPU_RING_CELLS = VGPU_RING_BYTES / VGPU_CELL_BYTES,
	VGPU_PARAMS_MAX = 32 << 10,	/* kernel parameters (CUDA allows 32,764 bytes) */
	VGPU_INLINE_MAX = 32 << 10,	/* bytes that COPY_INLINE carries */
	VGPU_ENTRY_MAX = (32 << 10) + 256,
	VGPU_STREAM_BACKLOG = 256 << 10, /* bytes of entries posted to a stream and not issued yet */
	VGPU_PARAM_COUNT_MAX = 4096,	/* kernel parameters described in struct vgpu_function_info */
	VGPU_NAME_MAX = 4096,		/* length of a kernel's or variable's name, with its 0 */
	VGPU_LOG_MAX = 64 << 10,	/* module load log */
	VGPU_EVENTS = 4096,
	VGPU_MODULES = 4096,
	VGPU_FUNCTIONS = 65536,
	VGPU_IMAGE_MAX = 512 << 20,	/* bytes of a module image */
};

/* Where the heap may lie: the same address in the client and the executor, so that a pinned
 * pointer is one number on both sides. The client takes the first that is free in its process. */
#define VGPU_ARENAS 8
#define VGPU_ARENA_BYTES (256ull << 30) /* room for a heap; the window is never larger */
static inline __u64 vgpu_arena_base(__u32 arena)
{
	/* the last lies where ThreadSanitizer allows mappings */
	return arena == VGPU_ARENAS - 1 ? 0x7e8000000000ull : 0x200000000000ull + arena * 0x10000000000ull;
}

enum vgpu_session_feature {
	VGPU_SESSION_FEATURE_BASE = 1 << 0,
};

struct vgpu_session_header {
	/* written by the executor before the session is open, constant after */
	__u32 magic;
	__u32 version;
	__u32 features;
	__u32 arena;
	__u32 slots;
	__u32 streams;
	__u32 ring_bytes;
	__u32 driver_version; /* as cuDriverGetVersion has it */
	__u8 pad0[224];

	/* 0x100, client: end of what producers have reserved, in bytes, only grows */
	__u64 tail;
	__u8 pad1[56];
	/* 0x140, executor: everything before it has been consumed */
	__u64 head;
	__u8 pad2[56];
	/* 0x180, executor: 1 while it sleeps and wants the doorbell */
	__u32 sleeping;
	__u8 pad3[60];
	/* 0x1c0, executor: read by every call */
	__u32 sticky;	     /* 0, or the error that every further call returns */
	__u32 posted_error;  /* the first non-sticky error of a posted call */
	__u64 posted_errors; /* how many there were: 0 unless the client library has a defect */
	__u8 pad4[48];
	/* 0x200, client: threads waiting for ring space or stream backlog sleep on `space_seq` */
	__u32 space_waiters;
	__u32 space_seq; /* executor adds 1 when space_waiters is set and head or issued moved */
	__u8 pad5[56];
	__u8 pad6[0x1000 - 0x240];
};
VGPU_WIRE_SIZE(struct vgpu_session_header, 0x1000);
VGPU_WIRE_AT(struct vgpu_session_header, tail, 0x100);
VGPU_WIRE_AT(struct vgpu_session_header, head, 0x140);
VGPU_WIRE_AT(struct vgpu_session_header, sleeping, 0x180);
VGPU_WIRE_AT(struct vgpu_session_header, sticky, 0x1c0);
VGPU_WIRE_AT(struct vgpu_session_header, space_waiters, 0x200);

/*
 * A reply slot. The client owns it from taking it until seq has become the entry's `seq`. The
 * executor writes status and values, then seq (release), then, when `waiting` is 1, wakes:
 * FUTEX_WAKE for a local client, the interrupt eventfd in a VM.
 */
struct vgpu_slot {
	__u32 seq;
	__u32 waiting;
	__u32 status; /* CUresult or enum vgpu_error */
	__u32 reserved;
	__u64 value[6];
};
VGPU_WIRE_SIZE(struct vgpu_slot, 64);

/* STREAM_CREATE zeroes both before its reply; those of stream 0 start at 0 with the session. */
struct vgpu_stream_progress {
	__u64 completed;    /* GPU: the value of the last STREAM_MARK that it has reached */
	__u64 issued_bytes; /* executor: bytes (whole cells) of this stream's entries of the stream class
			       that the driver has been given or that were refused */
	__u8 pad[48];
};
VGPU_WIRE_SIZE(struct vgpu_stream_progress, 64);

/*
 * Ring. An entry is a whole number of cells, its bytes wrap at the ring's end. A producer reserves
 * cells by adding to `tail` (after making sure that tail + n - head <= ring_bytes), writes the
 * entry, then stores the stamp of its first cell with release order:
 *     stamp[pos / 64 % VGPU_RING_CELLS] = (__u32)(pos / VGPU_RING_BYTES) + 1
 * Only stamps are ever written there, so an old payload cannot look like a new entry. The consumer
 * takes the entry at its head when the stamp is that of its lap.
 */
struct vgpu_entry {
	__u32 bytes;   /* header and payload, not rounded; at most VGPU_ENTRY_MAX */
	__u16 op;      /* enum vgpu_op */
	__u16 flags;   /* 0 */
	__u32 slot;    /* reply slot, VGPU_NO_SLOT: posted */
	__u32 seq;     /* stored in the slot with the reply */
	__u32 stream;  /* stream handle, for the stream class; else 0 */
	__u32 context; /* 0: the session's only context */
	__u32 thread;  /* number of the calling thread, for the per-thread default stream */
	__u32 reserved;
};
VGPU_WIRE_SIZE(struct vgpu_entry, 32);
#define VGPU_NO_SLOT 0xffffffffu

/*
 * Calls. X(name, opcode, class, posted). Classes:
 *   HOST    answered without the GPU's queues, never held by the gate
 *   STREAM  issued in the stream's order; may park in the stream's FIFO
 *   WAIT    may block in the driver: runs on a helper thread, always waited for
 * posted: 1 if the call may be posted (no slot).
 * Addresses: heap addresses are absolute (arena base + heap offset), device addresses are CUDA's.
 */
#define VGPU_OPS(X) \
	X(NOP, 0x0001, HOST, 1) \
	X(DEVICE_INFO, 0x0002, HOST, 0) \
	X(MEM_INFO, 0x0003, HOST, 0) \
	X(MEM_ALLOC, 0x0010, WAIT, 0) \
	X(MEM_FREE, 0x0011, WAIT, 0) \
	X(COPY_H2D, 0x0020, STREAM, 1) \
	X(COPY_D2H, 0x0021, STREAM, 1) \
	X(COPY_D2D, 0x0022, STREAM, 1) \
	X(COPY_INLINE, 0x0023, STREAM, 1) \
	X(MEMSET, 0x0024, STREAM, 1) \
	X(MODULE_LOAD, 0x0030, WAIT, 0) \
	X(MODULE_UNLOAD, 0x0031, WAIT, 0) \
	X(FUNCTION_GET, 0x0032, WAIT, 0) \
	X(GLOBAL_GET, 0x0033, WAIT, 0) \
	X(FUNCTION_SET, 0x0034, WAIT, 0) \
	X(OCCUPANCY, 0x0035, HOST, 0) \
	X(LAUNCH, 0x0040, STREAM, 1) \
	X(LAUNCH_FIRST, 0x0041, WAIT, 0) \
	X(STREAM_CREATE, 0x0050, WAIT, 0) \
	X(STREAM_DESTROY, 0x0051, WAIT, 0) \
	X(STREAM_SYNC, 0x0052, WAIT, 0) \
	X(STREAM_QUERY, 0x0053, HOST, 0) \
	X(STREAM_WAIT_EVENT, 0x0054, STREAM, 1) \
	X(STREAM_MARK, 0x0055, STREAM, 1) \
	X(EVENT_CREATE, 0x0060, HOST, 0) \
	X(EVENT_DESTROY, 0x0061, HOST, 0) \
	X(EVENT_RECORD, 0x0062, STREAM, 1) \
	X(EVENT_QUERY, 0x0063, HOST, 0) \
	X(EVENT_SYNC, 0x0064, WAIT, 0) \
	X(EVENT_ELAPSED, 0x0065, HOST, 0) \
	X(CONTEXT_SYNC, 0x0070, WAIT, 0)

enum vgpu_op {
#define VGPU_OP_ENUM(name, code, class, posted) VGPU_OP_##name = code,
	VGPU_OPS(VGPU_OP_ENUM)
#undef VGPU_OP_ENUM
};

enum vgpu_class { VGPU_CLASS_HOST, VGPU_CLASS_STREAM, VGPU_CLASS_WAIT };

/* MEM_INFO reply: value[0] free, value[1] total bytes, both of the VM's quota */

/* MEM_ALLOC: reply value[0] = device address. MEM_FREE takes the same structure. */
struct vgpu_call_mem {
	__u64 address; /* MEM_FREE: what MEM_ALLOC gave */
	__u64 bytes;   /* MEM_ALLOC */
	__u64 reserved;
};
VGPU_WIRE_SIZE(struct vgpu_call_mem, 24);

/* COPY_H2D, COPY_D2H, COPY_D2D; bytes is not 0 */
struct vgpu_call_copy {
	__u64 dst;
	__u64 src;
	__u64 bytes;
};
VGPU_WIRE_SIZE(struct vgpu_call_copy, 24);

/* COPY_INLINE: the data follow */
struct vgpu_call_inline {
	__u64 dst;
	__u32 bytes; /* 1..VGPU_INLINE_MAX */
	__u32 reserved;
};
VGPU_WIRE_SIZE(struct vgpu_call_inline, 16);

struct vgpu_call_memset {
	__u64 dst;   /* aligned to width */
	__u64 count; /* elements, not 0 */
	__u32 value;
	__u32 width; /* 1, 2 or 4 bytes */
};
VGPU_WIRE_SIZE(struct vgpu_call_memset, 24);

/* Out data go to the heap, at `address`, at most `bytes`; reply value[0] = bytes there would be. */
struct vgpu_call_buffer {
	__u64 address;
	__u64 bytes;
};
VGPU_WIRE_SIZE(struct vgpu_call_buffer, 16);

/* DEVICE_INFO: payload struct vgpu_call_buffer, gives this */
struct vgpu_device_info {
	char name[128];
	__u8 uuid[16];
	__u64 total_bytes; /* the VM's quota */
	__u32 driver_version;
	__u32 attributes;	/* number of valid entries: attribute i is attribute[i], i from 1 */
	__s32 attribute[256];
	__u8 reserved[88];
};
VGPU_WIRE_SIZE(struct vgpu_device_info, 128 + 16 + 8 + 8 + 1024 + 88);

/* MODULE_LOAD: reply value[0] = module handle, value[1] = bytes of log. MODULE_UNLOAD: handle in `module`. */
struct vgpu_call_module {
	__u64 image; /* heap address: PTX text, cubin or fatbin */
	__u64 image_bytes;
	__u64 log; /* heap address for the compiler's log, or 0 */
	__u32 log_bytes; /* at most VGPU_LOG_MAX */
	__u32 module;
};
VGPU_WIRE_SIZE(struct vgpu_call_module, 32);

/* FUNCTION_GET, GLOBAL_GET: the name (without its 0) follows, name_bytes long.
 * FUNCTION_GET: reply value[0] = handle, value[1] = bytes of struct vgpu_function_info and its
 * parameters, written to out as far as they fit. GLOBAL_GET: value[0] address, value[1] bytes. */
struct vgpu_call_name {
	__u32 module;
	__u32 name_bytes;
	struct vgpu_call_buffer out;
};
VGPU_WIRE_SIZE(struct vgpu_call_name, 24);

struct vgpu_param_info {
	__u32 offset;
	__u32 bytes;
};
VGPU_WIRE_SIZE(struct vgpu_param_info, 8);

struct vgpu_function_info {
	__u32 function;
	__u32 max_threads;
	__u32 static_shared_bytes;
	__u32 const_bytes;
	__u32 local_bytes;
	__u32 registers;
	__u32 ptx_version;
	__u32 binary_version;
	__u32 max_dynamic_shared_bytes;
	__u32 param_bytes; /* size of the parameter buffer */
	__u32 param_count; /* struct vgpu_param_info follow */
	__u32 reserved;
};
VGPU_WIRE_SIZE(struct vgpu_function_info, 48);

/* FUNCTION_SET: attribute as CUfunction_attribute (8: max dynamic shared bytes, 9: carve-out) */
struct vgpu_call_function_set {
	__u32 function;
	__u32 attribute;
	__s32 value;
	__u32 reserved;
};
VGPU_WIRE_SIZE(struct vgpu_call_function_set, 16);

/* OCCUPANCY: reply value[0] = blocks per multiprocessor */
struct vgpu_call_occupancy {
	__u32 function;
	__u32 block_threads;
	__u64 dynamic_shared_bytes;
};
VGPU_WIRE_SIZE(struct vgpu_call_occupancy, 16);

/* LAUNCH, LAUNCH_FIRST: param_bytes of the parameter buffer follow */
struct vgpu_call_launch {
	__u32 function;
	__u32 grid[3];
	__u32 block[3];
	__u32 shared_bytes;
	__u32 param_bytes;
	__u32 reserved;
};
VGPU_WIRE_SIZE(struct vgpu_call_launch, 40);

/* STREAM_CREATE: flags 1 = non-blocking; reply value[0] = handle. STREAM_DESTROY, _SYNC, _QUERY:
 * the entry's stream, no payload. */
struct vgpu_call_stream {
	__u32 flags;
	__s32 priority;
};
VGPU_WIRE_SIZE(struct vgpu_call_stream, 8);

/* STREAM_MARK: when the stream has reached it, progress[stream].completed = value */
struct vgpu_call_mark {
	__u64 value;
};
VGPU_WIRE_SIZE(struct vgpu_call_mark, 8);

/* EVENT_*: EVENT_CREATE gives a handle in value[0] (flags as CUevent_flags); EVENT_ELAPSED gives
 * the bits of a float in milliseconds in value[0]; EVENT_QUERY's status is CUDA_ERROR_NOT_READY
 * (600) while it is not reached; EVENT_RECORD and STREAM_WAIT_EVENT use the entry's stream. */
struct vgpu_call_event {
	__u32 event;
	__u32 flags;
	__u32 end; /* EVENT_ELAPSED: the second event */
	__u32 reserved;
};
VGPU_WIRE_SIZE(struct vgpu_call_event, 16);

#endif
