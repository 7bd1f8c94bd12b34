/* SPDX-License-Identifier: MIT */
/*
 * Mediator and jailer, over a SOCK_SEQPACKET Unix socket that only the mediator's uid may connect
 * to; one mediator at a time. The jailer starts executors, keeps the mediator's end of each
 * executor's socket, and reports deaths. It reads nothing else from anybody.
 */
#ifndef VGPU_PROTOCOL_JAILER_H
#define VGPU_PROTOCOL_JAILER_H

#include "../wire.h"

#define VGPU_JAILER_VERSION 1

enum vgpu_jailer_limits {
	VGPU_JAILER_EXECUTORS = 2048, /* 30 VMs with 64 sessions, and warm ones */
};

enum vgpu_jailer_type {
	/* mediator to jailer */
	VGPU_JAILER_HELLO = 1, /* answered by one EXECUTOR for each that lives, then LISTED */
	VGPU_JAILER_SPAWN = 2, /* answered by EXECUTOR or SPAWN_FAILED */
	VGPU_JAILER_KILL = 3,  /* SIGKILL; DIED follows */
	VGPU_JAILER_ADOPT = 4, /* after a restart of the jailer: fd = mediator's end of executor `id` */
	/* jailer to mediator */
	VGPU_JAILER_EXECUTOR = 16, /* fd = mediator's end; none for one that a restarted jailer found */
	VGPU_JAILER_SPAWN_FAILED = 17,
	VGPU_JAILER_DIED = 18, /* reaped: no process of it is left */
	VGPU_JAILER_LISTED = 19,
};

enum vgpu_jailer_death { /* `reason` of DIED */
	VGPU_DEATH_EXIT = 0,   /* status = exit code */
	VGPU_DEATH_SIGNAL = 1, /* status = signal */
	VGPU_DEATH_MEMORY = 2, /* killed by its cgroup's memory limit */
	VGPU_DEATH_UNKNOWN = 3, /* was not our child (started before a restart of the jailer) */
};

struct vgpu_jailer_message {
	__u32 type;
	__u32 bytes;
	__u32 version;
	__u32 tag;     /* SPAWN: given back with EXECUTOR or SPAWN_FAILED */
	__u32 id;      /* executor: 1.., never used again while the jailer's state lives */
	__u32 pid;     /* on the host */
	__u32 uid;
	__u32 sandbox; /* enum vgpu_sandbox_bit that the jailer put in force */
	__u32 gpu;     /* SPAWN: index of the GPU */
	__u32 reason;  /* DIED */
	__s32 status;  /* DIED; SPAWN_FAILED: -errno */
	__u32 reserved;
	char text[208]; /* SPAWN_FAILED: a sentence */
};
VGPU_WIRE_SIZE(struct vgpu_jailer_message, 256);

#endif
