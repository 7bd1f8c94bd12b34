/* SPDX-License-Identifier: MIT */
/*
 * A link: one vgpu-stub (a VM) or one local client, connected to the mediator by a Unix socket of
 * type SOCK_SEQPACKET; one packet is one message. See README.md beside this file.
 *
 * Every message starts with struct vgpu_link_header; `bytes` is the packet's length. The client
 * sends HELLO first and nothing else until WELCOME. Requests about different sessions overlap;
 * one request a session is under way. A malformed message ends the link.
 */
#ifndef VGPU_PROTOCOL_LINK_H
#define VGPU_PROTOCOL_LINK_H

#include "../wire.h"
#include "../error.h"

#define VGPU_LINK_MAGIC 0x4b4e4c56u /* "VLNK" */
#define VGPU_LINK_VERSION_MAJOR 1
#define VGPU_LINK_VERSION_MINOR 0
#define VGPU_LINK_VERSION ((VGPU_LINK_VERSION_MAJOR << 16) | VGPU_LINK_VERSION_MINOR)
#define VGPU_LINK_VERSION_OLDEST VGPU_LINK_VERSION

enum vgpu_link_limits {
	VGPU_LINK_MESSAGE_MAX = 1024,
	VGPU_LINK_FDS_MAX = 2,
	VGPU_LINK_TEXT = 256,
	VGPU_LINK_SESSIONS = 64,
};

enum vgpu_link_type {
	/* client to mediator */
	VGPU_LINK_HELLO = 1,	/* stub: fd 0 = window memfd; local: fd only when it reconnects */
	VGPU_LINK_OPEN = 2,	/* fd 0 = doorbell eventfd, fd 1 = interrupt eventfd */
	VGPU_LINK_HEAP_ADD = 3,
	VGPU_LINK_CLOSE = 4,	/* answered by CLOSED */
	VGPU_LINK_RESET = 5,	/* answered by RESET_DONE when all sessions of older epochs are gone */
	VGPU_LINK_RESUME = 6,	/* after a reconnect, for each session that holds extents; as OPEN, no fds;
				   followed by its HEAP_ADDs with VGPU_LINK_FLAG_RESUME, not answered */
	VGPU_LINK_RESUMED = 7,	/* end of the RESUMEs; the mediator answers ENDED for each that it does not
				   have, and ends what it has and was not resumed */
	/* mediator to client */
	VGPU_LINK_WELCOME = 16, /* local, first connection: fd 0 = window memfd */
	VGPU_LINK_REFUSED = 17, /* then the mediator closes */
	VGPU_LINK_OPENED = 18,
	VGPU_LINK_HEAP_ADDED = 19,
	VGPU_LINK_ENDED = 20,	/* the session is dead; CLOSE it to have its extents back */
	VGPU_LINK_CLOSED = 21,	/* executor reaped, extents zero */
	VGPU_LINK_RESET_DONE = 22,
	VGPU_LINK_STATUS = 23,	/* quarantine and the like changed */
};

enum vgpu_link_kind { VGPU_LINK_KIND_STUB = 1, VGPU_LINK_KIND_LOCAL = 2 };
enum vgpu_link_feature { VGPU_LINK_FEATURE_BASE = 1 << 0 };
#define VGPU_LINK_FLAG_RESUME 1u

struct vgpu_link_header {
	__u32 type;
	__u32 bytes;
	__u32 epoch; /* the device's epoch; 0 for a local client */
	__u32 sid;   /* session id on this link, or 0 */
};
VGPU_WIRE_SIZE(struct vgpu_link_header, 16);

struct vgpu_link_hello {
	struct vgpu_link_header h;
	__u32 magic;
	__u32 version_oldest;
	__u32 version;
	__u32 kind;
	__u32 features;
	__u32 resume; /* 1: RESUME messages follow WELCOME */
	__u64 window_bytes; /* stub: size of the memfd; local: wanted size, 0 = as configured */
	__u8 uuid[16];	    /* stub: the VM's, all 0 if it does not know; only checked, never trusted */
	__u32 pid;	    /* for display */
	__u32 reserved[3];
};
VGPU_WIRE_SIZE(struct vgpu_link_hello, 80);

struct vgpu_link_welcome {
	struct vgpu_link_header h;
	__u32 version;
	__u32 features;
	__u32 status;	/* enum vgpu_device_status bits that the mediator decides (QUARANTINE) */
	__u32 sessions; /* limit for this VM */
	__u64 window_bytes;
	__u64 reserved;
};
VGPU_WIRE_SIZE(struct vgpu_link_welcome, 48);

/* REFUSED, OPENED, HEAP_ADDED, ENDED, CLOSED, RESET_DONE, STATUS */
struct vgpu_link_result {
	struct vgpu_link_header h;
	__u32 error; /* enum vgpu_error; ENDED: why */
	__u32 value; /* what was asked, where a limit refused it */
	__u32 limit;
	__u32 status; /* STATUS: as in WELCOME */
	char text[VGPU_LINK_TEXT]; /* a sentence, ends in 0 */
};
VGPU_WIRE_SIZE(struct vgpu_link_result, 32 + VGPU_LINK_TEXT);

/* OPEN, RESUME */
struct vgpu_link_open {
	struct vgpu_link_header h;
	__u64 control_offset; /* of the control extent in the window */
	__u32 arena;
	__u32 features; /* session features wanted */
	__u32 pid;	/* client's process, for display */
	__u32 reserved[3];
};
VGPU_WIRE_SIZE(struct vgpu_link_open, 48);

struct vgpu_link_heap {
	struct vgpu_link_header h;
	__u64 heap_offset;
	__u64 window_offset;
	__u64 bytes;
	__u32 flags;
	__u32 reserved;
};
VGPU_WIRE_SIZE(struct vgpu_link_heap, 48);

/* CLOSE, RESET, RESUMED: the header alone */

#endif
