/* SPDX-License-Identifier: MIT */
/*
 * Mediator and executor, over a SOCK_SEQPACKET pair made by the jailer. The executor's end is fd 3.
 * The mediator's end is kept by the jailer too and given to the next mediator; when nobody holds
 * it any more the executor reads end-of-file and exits.
 *
 * Every message of the mediator carries its epoch; the executor ignores those of an epoch older
 * than the newest that it has seen. The mediator trusts nothing in what an executor says: sizes
 * are checked, texts are display only, numbers are claims.
 */
#ifndef VGPU_PROTOCOL_EXECUTOR_H
#define VGPU_PROTOCOL_EXECUTOR_H

#include "../wire.h"
#include "../error.h"

#define VGPU_EXECUTOR_VERSION 1
#define VGPU_EXECUTOR_SOCKET_FD 3

enum vgpu_executor_limits {
	VGPU_EXECUTOR_MESSAGE_MAX = 1024,
	VGPU_EXECUTOR_FDS_MAX = 5,
	VGPU_EXECUTOR_TEXT = 256,
	VGPU_QUOTA_SLOTS = 64, /* sessions that one VM can have */
};

enum vgpu_executor_type {
	/* mediator to executor */
	VGPU_EXECUTOR_HELLO = 1,  /* answered by READY or, when it has a session, REPORT */
	VGPU_EXECUTOR_ASSIGN = 2, /* fds: window, doorbell, interrupt, gate page, quota page */
	VGPU_EXECUTOR_HEAP_ADD = 3,
	VGPU_EXECUTOR_FINISH = 4, /* free what you can and exit; SIGKILL follows */
	/* executor to mediator */
	VGPU_EXECUTOR_READY = 16, /* context made, sandbox closed */
	VGPU_EXECUTOR_REPORT = 17, /* fds: window, gate page, quota page, as they came with ASSIGN: a new
				      mediator has lost its own, and knows the link by the window */
	VGPU_EXECUTOR_ASSIGNED = 18,
	VGPU_EXECUTOR_HEAP_ADDED = 19,
	VGPU_EXECUTOR_FAILED = 20, /* cannot go on; exits after it */
};

struct vgpu_executor_header {
	__u32 type;
	__u32 bytes;
	__u32 version; /* VGPU_EXECUTOR_VERSION */
	__u32 epoch;   /* the mediator's; the executor echoes the newest */
};
VGPU_WIRE_SIZE(struct vgpu_executor_header, 16);

enum vgpu_sandbox_bit { /* what is in force, in READY and REPORT; the jailer adds its own */
	VGPU_SANDBOX_UID = 1 << 0,
	VGPU_SANDBOX_CGROUP = 1 << 1,
	VGPU_SANDBOX_MOUNT = 1 << 2,
	VGPU_SANDBOX_NET = 1 << 3,
	VGPU_SANDBOX_PID = 1 << 4,
	VGPU_SANDBOX_IPC = 1 << 5,
	VGPU_SANDBOX_NO_NEW_PRIVS = 1 << 6,
	VGPU_SANDBOX_SECCOMP = 1 << 7,
	VGPU_SANDBOX_NOT_DUMPABLE = 1 << 8,
	VGPU_SANDBOX_HMM_OFF = 1 << 9,
	VGPU_SANDBOX_MEMORY_LIMIT = 1 << 10,
};
#define VGPU_SANDBOX_ALL 0x7ffu

/* READY, REPORT */
struct vgpu_executor_ready {
	struct vgpu_executor_header h;
	__u32 error; /* enum vgpu_error: with READY, why there is no context */
	__u32 sandbox;
	__u32 driver_version;
	__u32 software; /* 1: the software GPU */
	__u64 vram_total_bytes;
	__u64 vram_free_bytes; /* of the whole GPU when the context was made */
	__u64 context_bytes;   /* what making the context took */
	char gpu_name[64];
	__u8 gpu_uuid[16];
	/* REPORT: what it was assigned */
	__u8 vm_uuid[16];
	__u32 sid;
	__u32 link_epoch;
	__u64 control_offset;
	__u32 quota_slot;
	__u32 reserved;
	char text[VGPU_EXECUTOR_TEXT];
};
VGPU_WIRE_SIZE(struct vgpu_executor_ready, 176 + VGPU_EXECUTOR_TEXT);

struct vgpu_executor_assign {
	struct vgpu_executor_header h;
	__u8 vm_uuid[16];
	__u32 sid;
	__u32 link_epoch;
	__u64 window_bytes;
	__u64 control_offset;
	__u32 arena;
	__u32 features;
	__u32 wake_futex; /* 1: local client, wake with FUTEX_WAKE; 0: write the interrupt eventfd */
	__u32 quota_slot; /* this session's slot of the quota page */
	__u32 poll_us;	  /* how long to poll before sleeping; 0: never poll */
	__u32 reserved[3];
};
VGPU_WIRE_SIZE(struct vgpu_executor_assign, 88);

struct vgpu_executor_heap {
	struct vgpu_executor_header h;
	__u64 heap_offset;
	__u64 window_offset;
	__u64 bytes;
};
VGPU_WIRE_SIZE(struct vgpu_executor_heap, 40);

/* ASSIGNED, HEAP_ADDED, FAILED */
struct vgpu_executor_result {
	struct vgpu_executor_header h;
	__u32 error;
	__u32 value;
	__u32 limit;
	__u32 reserved;
	__u64 heap_offset; /* HEAP_ADDED: which */
	char text[VGPU_EXECUTOR_TEXT];
};
VGPU_WIRE_SIZE(struct vgpu_executor_result, 40 + VGPU_EXECUTOR_TEXT);

/* HELLO, FINISH: the header alone */

/*
 * The gate page, one a session: a 4 KiB memfd. The executor reads `gate` before each command of
 * the stream class. Its statistics are display only.
 */
struct vgpu_gate_page {
	__u32 gate; /* mediator: 1 open, 0 hold */
	__u32 reserved0[15];
	/* 0x40, executor */
	__u64 commands;
	__u64 launches;
	__u64 bytes_h2d;
	__u64 bytes_d2h;
	__u64 bytes_d2d;
	__u64 faults;
	__u64 vram_bytes;
	__u64 heap_bytes;
	__u8 reserved1[4096 - 128];
};
VGPU_WIRE_SIZE(struct vgpu_gate_page, 4096);

/*
 * The quota page, one a VM. An executor adds to its own slot, then sums all slots; a sum above
 * the quota is taken back and refused. The mediator zeroes the slot of a reaped executor.
 */
struct vgpu_quota_page {
	__u64 quota_bytes; /* mediator; 0: none allowed */
	__u64 reserved[7];
	__u64 used_bytes[VGPU_QUOTA_SLOTS];
	__u8 pad[4096 - 64 - 8 * VGPU_QUOTA_SLOTS];
};
VGPU_WIRE_SIZE(struct vgpu_quota_page, 4096);

#endif
