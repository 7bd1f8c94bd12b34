/* SPDX-License-Identifier: MIT */
/*
 * The vgpu-stub without a hypervisor: registers, session commands, the link to the mediator, reset.
 * A front end (QEMU, Xen, a test) gives it a clock, a timer, descriptor watching and interrupts,
 * and maps what it makes: the window's memfd, doorbell and interrupt eventfds. Behaviour as the
 * guest sees it: protocol/device/README.md; towards the mediator: protocol/link/README.md.
 *
 * Threads: none; the caller makes sure that one call at a time is inside (in QEMU: the big lock).
 * Nothing blocks. Memory is allocated by vgpu_device_create alone. Every op may be called from
 * inside every function but vgpu_device_free's; an op must not call back into the device.
 */
#ifndef VGPU_DEVICE_CORE_H
#define VGPU_DEVICE_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/device/device.h"

struct vgpu_device;

enum vgpu_device_level { VGPU_DEVICE_INFO, VGPU_DEVICE_WARNING };

struct vgpu_device_ops {
	/* A monotonic clock. */
	uint64_t (*now_ns)(void *opaque);
	/* Call vgpu_device_timer at this time of that clock, once; replaces the time set before. */
	void (*timer_set)(void *opaque, uint64_t deadline_ns);
	/* Call vgpu_device_socket_ready when fd can be read (`read`) or written (`write`). Replaces
	 * what was said of fd before; both false: forget it, it is about to be closed. */
	void (*watch)(void *opaque, int fd, bool read, bool write);
	/* Fire this MSI-X vector. */
	void (*irq)(void *opaque, unsigned int vector);
	/* From now on each signal of fd, the interrupt eventfd of session sid, fires this vector.
	 * Called once for every sid by vgpu_device_create and again when the vector changes. The
	 * fd stays the device's. */
	void (*session_irq_fd)(void *opaque, unsigned int sid, int fd, unsigned int vector);
	/* A sentence for the administrator. What a guest can cause is limited to one a second. */
	void (*log)(void *opaque, enum vgpu_device_level level, const char *sentence);
};

struct vgpu_device_config {
	const char *socket_path; /* of the mediator; copied */
	uint64_t window_bytes;	 /* a multiple of 2 MiB, from 4 MiB to 256 GiB */
	uint64_t window_addr;	 /* guest-physical, a multiple of 2 MiB */
	unsigned int sessions;	 /* 1..VGPU_DEVICE_SESSIONS */
	uint8_t uuid[16];	 /* the VM's, all 0 if not known */
};

/*
 * Makes the device, its window (a memfd, sealed against shrinking and growing, no page of it
 * touched) and two eventfds a session. All of them at once: the front end then maps doorbells once,
 * and an OPEN cannot fail for want of a descriptor. It does not connect yet: vgpu_device_start.
 *
 * -EINVAL (a value of config), -ENAMETOOLONG (socket_path), -ENOMEM, -EMFILE and the like; in each
 * case ret_text, if not NULL, gets a sentence of at most VGPU_DEVICE_TEXT bytes.
 */
enum { VGPU_DEVICE_TEXT = 256 };
int vgpu_device_create(const struct vgpu_device_config *config, const struct vgpu_device_ops *ops,
		       void *opaque, struct vgpu_device **ret, char *ret_text);
/* Closes the link and every descriptor. NULL is fine. Calls watch, for the socket, and no other op.
 */
void vgpu_device_free(struct vgpu_device *dev);
/* Connects to the mediator, and again whenever the link is lost, for ever. */
void vgpu_device_start(struct vgpu_device *dev);

/* Descriptors stay the device's and live as long as it does. sid < config.sessions. */
int vgpu_device_window_fd(const struct vgpu_device *dev);
int vgpu_device_doorbell_fd(const struct vgpu_device *dev, unsigned int sid);

/* An access of the guest to BAR0: any offset, size and value are fine. */
uint32_t vgpu_device_mmio_read(struct vgpu_device *dev, uint64_t offset, unsigned int size);
void vgpu_device_mmio_write(struct vgpu_device *dev, uint64_t offset, unsigned int size,
			    uint64_t value);
/* Power-on, guest reboot, function-level reset. MSI-X and configuration space are the front end's.
 */
void vgpu_device_reset(struct vgpu_device *dev);

/* As promised to ops->watch and ops->timer_set; calls without a cause do no harm. */
void vgpu_device_socket_ready(struct vgpu_device *dev);
void vgpu_device_timer(struct vgpu_device *dev);

/* enum vgpu_device_status and enum vgpu_error, for the administrator's eyes. */
uint32_t vgpu_device_status(const struct vgpu_device *dev);
uint32_t vgpu_device_error(const struct vgpu_device *dev);

#endif
