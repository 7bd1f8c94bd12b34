/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VGPU_STUB_INTERNAL_H
#define VGPU_STUB_INTERNAL_H

#include "device/qemu/compat.h"

#include "device/core/device.h"

#define TYPE_VGPU_STUB "vgpu-stub"
OBJECT_DECLARE_SIMPLE_TYPE(VgpuStub, VGPU_STUB)

/*
 * A session's interrupt eventfd goes to the guest in one of two ways:
 *   irqfd      KVM, while the vector is unmasked: QEMU has no part in it
 *   main loop  else: msix_notify, which marks a masked vector pending
 */
typedef struct VgpuStubSessionIrq {
	EventNotifier notifier; /* the core's descriptor */
	unsigned int sid;
	unsigned int vector;
	bool attached;
	bool irqfd;
} VgpuStubSessionIrq;

struct VgpuStub {
	PCIDevice parent_obj;
	MemoryRegion bar0;
	MemoryRegion window;
	struct vgpu_device *core;
	QEMUTimer *timer;
	Error *blocker;

	/* properties */
	char *socket_path;
	uint64_t window_bytes;
	uint64_t window_addr;
	uint32_t sessions;
	QemuUUID uuid;

	/* how far realize has come */
	bool window_mapped, msix_made, doorbells_made, notifiers_set, discards_required;

	EventNotifier doorbell[VGPU_DEVICE_SESSIONS];
	VgpuStubSessionIrq irq[VGPU_DEVICE_SESSIONS];
	int virq[VGPU_DEVICE_VECTORS_MAX]; /* KVM's route of an unmasked vector, or -1 */
};

/* stub.c */
void vgpu_stub_register(void);

/* window.c */
/* Finds the window's address, or checks the one that was given. Sets errp and returns false. */
bool vgpu_stub_window_place(VgpuStub *s, Error **errp);

/* irq.c */
/* Before the core is made. */
void vgpu_stub_irq_prepare(VgpuStub *s);
/* After MSI-X is there: from now on KVM may deliver. */
bool vgpu_stub_irq_start(VgpuStub *s, Error **errp);
void vgpu_stub_irq_stop(VgpuStub *s);
/* ops of the core */
void vgpu_stub_irq_raise(void *opaque, unsigned int vector);
void vgpu_stub_irq_session(void *opaque, unsigned int sid, int fd, unsigned int vector);

#endif
