/* SPDX-License-Identifier: MIT */
/*
 * The vgpu-stub as the guest's driver sees it. See README.md beside this file for the state
 * machines.
 *
 * PCI: vendor 0x1AF4, device 0x10F5 (experimental range), class 0x120000, revision = major
 * version, FLR. BAR0 is 512 KiB, 32-bit registers, then one 4 KiB doorbell page a session.
 * MSI-X is BAR1; vector 0 is control, vector 1 + sid % (VECTORS - 1) belongs to session sid
 * (vector 0 serves all when only one is granted).
 *
 * All accesses are 32 bits wide and aligned. Other widths, unknown registers: reads give 0, writes
 * are ignored. 64-bit values are LO then HI; a pair is latched by nobody: they are constant, or
 * written by the driver alone. A read of all ones from MAGIC means that the device is gone.
 */
#ifndef VGPU_PROTOCOL_DEVICE_H
#define VGPU_PROTOCOL_DEVICE_H

#include "../error.h"
#include "../wire.h"

#define VGPU_PCI_VENDOR 0x1af4
#define VGPU_PCI_DEVICE 0x10f5
#define VGPU_PCI_CLASS 0x120000

#define VGPU_DEVICE_MAGIC 0x55504756u /* "VGPU" */
#define VGPU_DEVICE_VERSION_MAJOR 1
#define VGPU_DEVICE_VERSION_MINOR 0
#define VGPU_DEVICE_VERSION ((VGPU_DEVICE_VERSION_MAJOR << 16) | VGPU_DEVICE_VERSION_MINOR)

enum vgpu_device_limits {
	VGPU_DEVICE_SESSIONS = 64,	   /* one doorbell page each; BAR0 stays at 512 KiB */
	VGPU_DEVICE_BAR0_BYTES = 512 << 10,
	VGPU_DEVICE_PAGE_BYTES = 4096,	   /* a doorbell can be mapped alone into a process */
	VGPU_DEVICE_DOORBELLS = 0x1000,	   /* doorbell of session s: this + s * 4096 */
	VGPU_DEVICE_VECTORS_MAX = 65,	   /* control and one a session */
	VGPU_EXTENT_SHIFT = 21,		   /* the window is given out in 2 MiB extents: one huge page */
	VGPU_CONTROL_BYTES = 1 << 21,	   /* a session's control area: one extent */
	VGPU_SESSION_RUNS_MAX = 512,	   /* heap runs that one session may have; bounds host tables */
};
#define VGPU_EXTENT_BYTES (1ull << VGPU_EXTENT_SHIFT)

/* offset, access, reset value */
enum vgpu_reg {
	VGPU_REG_MAGIC = 0x000,		/* ro  VGPU_DEVICE_MAGIC */
	VGPU_REG_VERSION = 0x004,	/* ro  VGPU_DEVICE_VERSION */
	VGPU_REG_FEATURES = 0x008,	/* ro  enum vgpu_device_feature offered */
	VGPU_REG_DRIVER_FEATURES = 0x00c, /* rw 0  subset that the driver uses; others: unchanged, ERROR says so */
	VGPU_REG_STATUS = 0x010,	/* ro  enum vgpu_device_status */
	VGPU_REG_ERROR = 0x014,		/* ro  enum vgpu_error: why LINKED is not set, or 0 */
	VGPU_REG_EPOCH = 0x018,		/* ro  counts resets; sessions of older epochs are gone */
	VGPU_REG_SESSIONS = 0x01c,	/* ro  number of session ids, <= VGPU_DEVICE_SESSIONS */
	VGPU_REG_WINDOW_ADDR_LO = 0x020, /* ro  guest-physical address of the window, 0: none */
	VGPU_REG_WINDOW_ADDR_HI = 0x024,
	VGPU_REG_WINDOW_SIZE_LO = 0x028, /* ro  bytes, a multiple of 2 MiB */
	VGPU_REG_WINDOW_SIZE_HI = 0x02c,
	VGPU_REG_VECTORS = 0x030,	/* rw 1  MSI-X vectors that the guest granted, 1..65 */
	VGPU_REG_RESET = 0x034,		/* wo  write 1: what a function-level reset does */
	VGPU_REG_EVENT_LO = 0x038,	/* rw1c sessions 0..31 whose STATE or RESULT changed */
	VGPU_REG_EVENT_HI = 0x03c,	/* rw1c sessions 32..63 */
	VGPU_REG_EVENT_DEVICE = 0x040,	/* rw1c bit 0: STATUS or ERROR changed */
	VGPU_REG_ARG0_LO = 0x080,	/* rw 0  arguments of the next command */
	VGPU_REG_ARG0_HI = 0x084,
	VGPU_REG_ARG1_LO = 0x088,
	VGPU_REG_ARG1_HI = 0x08c,
	VGPU_REG_ARG2_LO = 0x090,
	VGPU_REG_ARG2_HI = 0x094,
	VGPU_REG_COMMAND = 0x0a0,	/* wo  VGPU_COMMAND(op, sid): start it with the arguments */
	/* session s: VGPU_REG_SESSION + s * 16, all ro */
	VGPU_REG_SESSION = 0x400,
};
#define VGPU_COMMAND(op, sid) ((__u32)(op) | (__u32)(sid) << 8)
#define VGPU_REG_SESSION_STATE(s) (VGPU_REG_SESSION + (s) * 16 + 0)	/* enum vgpu_session_state */
#define VGPU_REG_SESSION_RESULT(s) (VGPU_REG_SESSION + (s) * 16 + 4)	/* error of the last command */
#define VGPU_REG_SESSION_VALUE(s) (VGPU_REG_SESSION + (s) * 16 + 8)	/* value that was refused (KiB or count) */
#define VGPU_REG_SESSION_LIMIT(s) (VGPU_REG_SESSION + (s) * 16 + 12)	/* the limit, same unit */

enum vgpu_device_status {
	VGPU_STATUS_LINKED = 1 << 0,	 /* a mediator has accepted this VM */
	VGPU_STATUS_RESETTING = 1 << 1,	 /* sessions of older epochs are still being ended: no OPEN */
	VGPU_STATUS_QUARANTINE = 1 << 2, /* the mediator refuses sessions */
};

enum vgpu_device_feature {
	VGPU_DEVICE_FEATURE_BASE = 1 << 0, /* sessions and heap as described here; always offered */
};

/*
 * One command may be under way per session. RESULT is 0xffffffff while it is; then EVENT's bit is
 * set, STATE and RESULT are valid, and vector 0 fires.
 */
#define VGPU_RESULT_PENDING 0xffffffffu
enum vgpu_command {
	/* ARG0 = window offset of the control extent, ARG1 = arena (enum in session.h) | session
	 * features << 32, ARG2 = guest pid (for display only). FREE -> OPENING -> OPEN, FREE, or
	 * DEAD (the link was lost meanwhile, or the session ended at once): CLOSE it then. */
	VGPU_COMMAND_OPEN = 1,
	/* ARG0 = heap offset, ARG1 = window offset, ARG2 = bytes; multiples of 2 MiB. OPEN only. */
	VGPU_COMMAND_HEAP_ADD = 2,
	/* OPENING, OPEN, DEAD -> CLOSING -> FREE: all extents are then zero and may be used again. It
	 * may be given while another command of the session is under way, whose place it takes, and
	 * while there is no link: it is carried out when there is one. */
	VGPU_COMMAND_CLOSE = 3,
};

/*
 * A HEAP_ADD that was refused for one of these reasons has reached no executor: its extents are
 * free at once. After any other refusal they are the session's until it is FREE.
 */
static inline int vgpu_heap_add_unseen(__u32 error)
{
	return VGPU_ERROR_GROUP(error) == VGPU_GROUP_HOST && error != VGPU_ERROR_HOST_INTERNAL;
}

enum vgpu_session_state {
	VGPU_SESSION_FREE = 0,
	VGPU_SESSION_OPENING = 1,
	VGPU_SESSION_OPEN = 2,
	VGPU_SESSION_DEAD = 3,	  /* ended by the host; RESULT says why; extents are still taken */
	VGPU_SESSION_CLOSING = 4,
};

#endif
