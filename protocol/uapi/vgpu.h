/* SPDX-License-Identifier: MIT */
/*
 * /dev/vgpuN: the guest's driver as libraries see it. One open file is at most one session.
 * All structures are the same for 32- and 64-bit callers; only 64-bit processes may map.
 *
 * errno of every ioctl: EINVAL (a field is out of range, a reserved one is not 0), EFAULT,
 * ENODEV (device removed, suspended or reset; result says which), EINTR (a signal; repeat),
 * EIO (the host refused: result, value and limit say what), EACCES (another process's session),
 * ENOMEM. README.md beside this file has all of them, and what mappings show after the end.
 */
#ifndef VGPU_PROTOCOL_UAPI_H
#define VGPU_PROTOCOL_UAPI_H

#include "../wire.h"
#include <linux/ioctl.h>

#define VGPU_UAPI_VERSION 1

struct vgpu_uapi_info {
	__u32 version;	      /* out: VGPU_UAPI_VERSION */
	__u32 device_version; /* out: of the vgpu-stub */
	__u32 status;	      /* out: enum vgpu_device_status */
	__u32 error;	      /* out: enum vgpu_error, why there is no link */
	__u64 window_bytes;   /* out */
	__u64 free_bytes;     /* out: extents of the window that nobody uses */
	__u32 sessions;	      /* out: ids of the device */
	__u32 vectors;	      /* out: MSI-X vectors in use */
	__u64 reserved[3];
};
VGPU_WIRE_SIZE(struct vgpu_uapi_info, 64);

/* Opens the file's session: takes a control extent, waits until the host has answered. EBUSY: the
 * file has had its session. */
struct vgpu_uapi_open {
	__u32 arena;	/* in: index of the heap's address arena (session.h) */
	__u32 features; /* in: session features wanted */
	__u32 sid;	/* out */
	__u32 result;	/* out with EIO or ENODEV: enum vgpu_error */
	__u32 value;	/* out with EIO: what was asked */
	__u32 limit;	/* out with EIO: what is allowed, in the same unit */
	__u32 timeout_ms; /* in: 0 is 30,000 */
	__u32 reserved;
};
VGPU_WIRE_SIZE(struct vgpu_uapi_open, 32);

/* Adds window extents to the heap; on success [heap_offset, +bytes) can be mapped and used. */
struct vgpu_uapi_heap_add {
	__u64 heap_offset; /* in: multiple of 2 MiB, not yet part of the heap */
	__u64 bytes;	   /* in: multiple of 2 MiB */
	__u32 result;	   /* out with EIO or ENODEV: enum vgpu_error */
	__u32 value;	   /* out with EIO */
	__u32 limit;	   /* out with EIO */
	__u32 reserved;
};
VGPU_WIRE_SIZE(struct vgpu_uapi_heap_add, 32);

/*
 * Sleeps until the 32-bit word at `offset` of the control area is no longer `expected`, the
 * session has ended (ENODEV), or the time is over (ETIMEDOUT). May return early: look again.
 */
struct vgpu_uapi_wait {
	__u32 offset;
	__u32 expected;
	__u64 timeout_ns; /* relative; ~0: none */
	__u32 result;	  /* out with ENODEV: why the session has ended */
	__u32 reserved;
};
VGPU_WIRE_SIZE(struct vgpu_uapi_wait, 24);

#define VGPU_IOC_INFO _IOWR('G', 0xa0, struct vgpu_uapi_info)
#define VGPU_IOC_OPEN _IOWR('G', 0xa1, struct vgpu_uapi_open)
#define VGPU_IOC_HEAP_ADD _IOWR('G', 0xa2, struct vgpu_uapi_heap_add)
#define VGPU_IOC_WAIT _IOWR('G', 0xa3, struct vgpu_uapi_wait)

/* mmap offsets, MAP_SHARED only, after VGPU_IOC_OPEN */
#define VGPU_MMAP_CONTROL 0x0ull	/* VGPU_CONTROL_BYTES, read and write */
#define VGPU_MMAP_DOORBELL 0x10000000000ull /* 4 KiB, write a 32-bit 0 at offset 0 to ring */
#define VGPU_MMAP_HEAP 0x20000000000ull /* + heap offset; any range of the arena: touching what is
					   not part of the heap gives SIGBUS */
#define VGPU_MMAP_VIEW 0x30000000000ull /* + heap offset: the heap again, for a library's own copies.
					   After the end it is scratch where the heap gives SIGBUS */
#endif
