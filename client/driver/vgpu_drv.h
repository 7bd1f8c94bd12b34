/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vgpu.ko: the guest's driver for the vgpu-stub. protocol/device is what lies below, protocol/uapi
 * what lies above.
 *
 * Life of a session. The port is the device's side of it, the file is the process's:
 *
 *      VGPU_IOC_OPEN                                        last close of the file
 *           |   port and control extent taken                       |
 *           v                                                       v
 *   file->opening --- host says yes ---> file->session ------> port->reaping
 *           |                                |                      |  CLOSE, when the device says
 *           | host says no, or time is over  | reset, suspend,      |  OPEN or DEAD; asked again by
 *           v                                v removal              v  events and once a second
 *      port->reaping                  session->ended          device says FREE: the extents go
 *                                     mappings revoked        back, port->session = NULL
 *
 * Extents go back to the allocator in two places only: in the reaper after FREE, and all at once
 * in vgpu_device_end_sessions(), when no mapping is left and the device has been reset (it takes
 * no OPEN before the host has cleared the window, VGPU_STATUS_RESETTING).
 *
 * Life of struct vgpu_device: it is its `dev`, which every open file holds through the cdev. So
 * remove() can return while files and mappings exist: they find `down` set and touch nothing.
 *
 * Order of taking:
 *   dev->srcu (read side: every ioctl and page fault; never held while user memory is copied)
 *   end_lock      one reset, suspend or removal at a time
 *   mm->mmap_lock (page faults come with it)
 *   file->lock    OPEN and HEAP_ADD of one file
 *   dev->lock     ports' owners, extents, list of files; not held while waiting for the host
 *   dev->hw_lock  registers that belong together, and what was last read from them
 * end_lock is never taken inside dev->srcu, since its holder waits for dev->srcu.
 */
#ifndef VGPU_DRV_H
#define VGPU_DRV_H

#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/pm.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "protocol/device/device.h"
#include "protocol/error.h"
#include "protocol/uapi/vgpu.h"

#define VGPU_NAME "vgpu"

enum vgpu_driver_limits {
	VGPU_MINORS = 64,
	VGPU_POLL_MS = 1000,	     /* registers are looked at so often, should an event be lost */
	VGPU_OPEN_TIMEOUT_MS = 30000, /* when the caller names none */
	VGPU_RESET_TIMEOUT_MS = 2000, /* how long suspend waits for the host to end sessions */
	VGPU_REAP_TIMEOUT_MS = 10000, /* HEAP_ADD waits so long for what closed sessions held */
	/* A file may hold this many times what stays free (extent.c), always a small heap. */
	VGPU_EXTENT_SHARE = 8,
	VGPU_EXTENT_FLOOR = 8,
};

struct vgpu_device;

/* A session id on the device, and what the device says about it. */
struct vgpu_port {
	struct vgpu_device *dev;
	wait_queue_head_t wq;	/* for the session's interrupt and for its events */
	/*
	 * Written under hw_lock, `result` last and with release order: who has seen that it is no
	 * longer pending finds the other three as new as it, or newer.
	 */
	u32 state;
	u32 result;
	u32 value;
	u32 limit;
	u32 cause;		/* hw_lock: 0, or why the session is dead; stays until OPEN */
	u32 *sticky;		/* hw_lock: the word that calls read first, while it is open */
	struct vgpu_session *session; /* dev->lock; holds a reference */
	bool reaping;		/* written under dev->lock */
	bool close_asked;	/* dev->lock, while reaping */
	unsigned long close_next; /* dev->lock: jiffies */
	struct delayed_work reap;
};

struct vgpu_vector {
	struct vgpu_device *dev;
	unsigned int index;
	char name[24];
};

struct vgpu_device {
	struct device dev;
	struct cdev cdev;
	int minor;
	struct pci_dev *pdev;

	/* constant between probe and remove */
	void __iomem *regs;
	resource_size_t bar;
	phys_addr_t window_addr;
	u64 window_bytes;
	void *window;
	u32 ports;		/* session ids */
	unsigned int vectors;
	struct vgpu_vector *vector;
	u32 version;

	struct srcu_struct srcu;
	struct mutex end_lock;	/* one end of all sessions at a time */
	struct work_struct restart;

	struct mutex lock;	/* owners of ports, extents, files */
	u32 down;		/* dev->lock, read under srcu: 0, or why every call fails */
	struct list_head files;	/* dev->lock */
	unsigned long *extent_map; /* dev->lock: set bits are taken */
	u32 extents;
	u32 extents_free;	/* dev->lock: neither taken nor promised */
	u32 reaping;		/* written under dev->lock: sessions that the host is to free */
	u32 reaped;		/* written under dev->lock: counts those that it has freed */

	spinlock_t hw_lock;	/* registers, and what was read from them */
	bool present;		/* hw_lock: registers may be touched */
	bool gone;		/* hw_lock: they read all ones */
	u32 status;		/* hw_lock */
	u32 error;		/* hw_lock */
	u32 epoch;		/* hw_lock: of our last reset */
	wait_queue_head_t wq;	/* status changes */
	struct vgpu_port port[VGPU_DEVICE_SESSIONS];
};

/* What a session's heap has at one 2 MiB step: a value entry of session->heap. */
#define VGPU_HEAP_PENDING BIT(0) /* the host has not answered yet */
#define VGPU_HEAP_SPARE BIT(1)	 /* added by a call that failed further on; the next call uses it */
#define VGPU_HEAP_SHIFT 2	 /* extent number */

struct vgpu_session {
	struct kref ref;
	struct vgpu_device *dev;
	struct vgpu_port *port;
	struct mm_struct *mm;	/* who opened it: only compared, held so that it stays unique */
	u32 sid;
	u32 control;		/* extent */
	u32 ended;		/* 0, or why; set once, before the mappings are revoked */
	u32 *tomb;		/* VGPU_TOMB_BYTES that mappings show after the end, see mmap.c */
	struct xarray heap;	/* heap offset >> 21 -> extent and flags; see heap_retire() */
	/* file->lock */
	u32 extents;		/* taken, with the control extent */
	u32 runs;
	u32 pending_first;	/* heap entries of a HEAP_ADD that a signal interrupted */
	u32 pending_count;
};

struct vgpu_file {
	struct vgpu_device *dev;
	struct file *filp;
	struct list_head list;	/* dev->lock */
	struct mutex lock;	/* OPEN and HEAP_ADD */
	struct vgpu_session *opening; /* file->lock */
	struct vgpu_session *session; /* set once, with release order, by a successful OPEN */
};

static inline u64 vgpu_extent_offset(u32 extent)
{
	return (u64)extent << VGPU_EXTENT_SHIFT;
}

/* pci.c */
extern struct workqueue_struct *vgpu_workqueue;

/* power.c */
extern const struct dev_pm_ops vgpu_pm_ops;
extern const struct pci_error_handlers vgpu_error_handlers;
void vgpu_pci_shutdown(struct pci_dev *pdev);

/* device.c */
struct vgpu_device *vgpu_device_create(struct pci_dev *pdev);
int vgpu_device_start(struct vgpu_device *dev);
void vgpu_device_end_sessions(struct vgpu_device *dev, u32 why);
void vgpu_device_settle(struct vgpu_device *dev);
void vgpu_device_cancel_work(struct vgpu_device *dev);
u32 vgpu_device_down(struct vgpu_device *dev);

/* hw.c */
int vgpu_hw_identify(struct vgpu_device *dev);
int vgpu_hw_start(struct vgpu_device *dev);
void vgpu_hw_reset(struct vgpu_device *dev);
void vgpu_hw_stop(struct vgpu_device *dev);
int vgpu_hw_request_irqs(struct vgpu_device *dev);
void vgpu_hw_free_irqs(struct vgpu_device *dev);
u32 vgpu_hw_status(struct vgpu_device *dev, u32 *ret_error);
void vgpu_hw_refresh(struct vgpu_device *dev, u32 sid);
void vgpu_hw_command(struct vgpu_device *dev, u32 sid, enum vgpu_command op, u64 arg0, u64 arg1,
		     u64 arg2);
void vgpu_hw_watch(struct vgpu_device *dev, u32 sid, u32 *sticky);
void vgpu_hw_wake(struct vgpu_device *dev);

/* window.c */
int vgpu_window_map(struct vgpu_device *dev);
void vgpu_window_unmap(struct vgpu_device *dev);
int vgpu_window_touch(struct vgpu_device *dev, u32 extent, u32 count);

/* extent.c */
int vgpu_extent_init(struct vgpu_device *dev);
void vgpu_extent_reset(struct vgpu_device *dev);
bool vgpu_extent_reserve(struct vgpu_device *dev, u32 held, u32 count, u32 *ret_allowed);
void vgpu_extent_unreserve(struct vgpu_device *dev, u32 count);
u32 vgpu_extent_take(struct vgpu_device *dev, u32 count, u32 *ret_first);
void vgpu_extent_give(struct vgpu_device *dev, u32 first, u32 count);

/* session.c */
int vgpu_session_open(struct vgpu_file *file, struct vgpu_uapi_open *arg);
int vgpu_session_wait(struct vgpu_file *file, struct vgpu_uapi_wait *arg);
int vgpu_session_get(struct vgpu_file *file, struct vgpu_session **ret_session);
u32 vgpu_session_end_code(struct vgpu_session *session);
int vgpu_session_await_reaped(struct vgpu_device *dev, u32 reaped, unsigned long deadline);
int vgpu_session_await(struct vgpu_session *session, unsigned long deadline);
void vgpu_session_mark_ended(struct vgpu_session *session, u32 why);
void vgpu_session_close(struct vgpu_session *session);
void vgpu_session_put(struct vgpu_session *session);
void vgpu_session_reap(struct work_struct *work);

/* heap.c */
int vgpu_heap_add(struct vgpu_file *file, struct vgpu_uapi_heap_add *arg);
void vgpu_heap_give(struct vgpu_session *session);

/* mmap.c */
#define VGPU_TOMB_BYTES (2 * PAGE_SIZE)
int vgpu_mmap(struct file *filp, struct vm_area_struct *vma);

/* chardev.c */
int vgpu_chardev_init(void);
void vgpu_chardev_uninit(void);
int vgpu_chardev_add(struct vgpu_device *dev);
void vgpu_chardev_del(struct vgpu_device *dev);
int vgpu_chardev_number(struct vgpu_device *dev);
void vgpu_chardev_release_number(int minor);

/* sysfs.c */
extern const struct attribute_group *vgpu_sysfs_groups[];

#endif
