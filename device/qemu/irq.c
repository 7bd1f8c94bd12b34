// SPDX-License-Identifier: GPL-2.0-or-later
/* MSI-X: the control vector by the core, session vectors by eventfds. */
#include "device/qemu/internal.h"

void vgpu_stub_irq_raise(void *opaque, unsigned int vector)
{
	PCIDevice *pci = PCI_DEVICE(opaque);

	/* Otherwise it would be pending, and come when the next driver switches MSI-X on. */
	if (msix_enabled(pci))
		msix_notify(pci, vector);
}

static void main_loop_irq(EventNotifier *notifier)
{
	VgpuStubSessionIrq *irq = container_of(notifier, VgpuStubSessionIrq, notifier);
	VgpuStub *s;

	if (!event_notifier_test_and_clear(notifier))
		return;
	/* the notifier's place in the array tells whose it is */
	s = container_of(irq - irq->sid, VgpuStub, irq[0]);
	vgpu_stub_irq_raise(s, irq->vector);
}

static void detach(VgpuStubSessionIrq *irq, int virq)
{
	if (!irq->attached)
		return;
	if (irq->irqfd)
		kvm_irqchip_remove_irqfd_notifier_gsi(kvm_state, &irq->notifier, virq);
	else
		event_notifier_set_handler(&irq->notifier, NULL);
	irq->attached = irq->irqfd = false;
}

/* A signal that arrives while the eventfd changes hands is kept in its counter. */
static void attach(VgpuStubSessionIrq *irq, int virq)
{
	irq->irqfd = virq >= 0 &&
		     kvm_irqchip_add_irqfd_notifier_gsi(kvm_state, &irq->notifier, NULL, virq) == 0;
	if (!irq->irqfd)
		event_notifier_set_handler(&irq->notifier, main_loop_irq);
	irq->attached = true;
}

void vgpu_stub_irq_session(void *opaque, unsigned int sid, int fd, unsigned int vector)
{
	VgpuStub *s = opaque;
	VgpuStubSessionIrq *irq = &s->irq[sid];

	detach(irq, s->virq[irq->vector]);
	event_notifier_init_fd(&irq->notifier, fd);
	irq->sid = sid;
	irq->vector = vector;
	attach(irq, s->virq[vector]);
}

/* Moves the sessions of a vector to another route. */
static void set_route(VgpuStub *s, unsigned int vector, int virq)
{
	int before = s->virq[vector];

	s->virq[vector] = virq;
	for (unsigned int sid = 0; sid < s->sessions; sid++) {
		if (s->irq[sid].vector != vector || !s->irq[sid].attached)
			continue;
		detach(&s->irq[sid], before);
		attach(&s->irq[sid], virq);
	}
	if (before >= 0)
		kvm_irqchip_release_virq(kvm_state, before);
}

/* The guest has unmasked a vector. Must not fail: without a route the main loop delivers. */
static int vector_use(PCIDevice *pci, unsigned int vector, MSIMessage msg)
{
	VgpuStub *s = VGPU_STUB(pci);
	KVMRouteChange change;
	int virq;

	if (vector > s->sessions || !kvm_msi_via_irqfd_enabled())
		return 0;
	change = kvm_irqchip_begin_route_changes(kvm_state);
	virq = kvm_irqchip_add_msi_route(&change, vector, pci);
	if (virq < 0)
		return 0;
	kvm_irqchip_commit_route_changes(&change);
	set_route(s, vector, virq);
	return 0;
}

static void vector_release(PCIDevice *pci, unsigned int vector)
{
	VgpuStub *s = VGPU_STUB(pci);

	if (vector <= s->sessions && s->virq[vector] >= 0)
		set_route(s, vector, -1);
}

void vgpu_stub_irq_prepare(VgpuStub *s)
{
	for (unsigned int vector = 0; vector < ARRAY_SIZE(s->virq); vector++)
		s->virq[vector] = -1;
}

bool vgpu_stub_irq_start(VgpuStub *s, Error **errp)
{
	PCIDevice *pci = PCI_DEVICE(s);

	for (unsigned int vector = 0; vector <= s->sessions; vector++)
		msix_vector_use(pci, vector);
	s->notifiers_set = msix_set_vector_notifiers(pci, vector_use, vector_release, NULL) == 0;
	if (!s->notifiers_set)
		error_setg(errp, "vgpu-stub: MSI-X vectors cannot be watched");
	return s->notifiers_set;
}

void vgpu_stub_irq_stop(VgpuStub *s)
{
	if (s->notifiers_set)
		msix_unset_vector_notifiers(PCI_DEVICE(s));
	s->notifiers_set = false;
	for (unsigned int vector = 0; vector < ARRAY_SIZE(s->virq); vector++)
		vector_release(PCI_DEVICE(s), vector);
	for (unsigned int sid = 0; sid < VGPU_DEVICE_SESSIONS; sid++)
		detach(&s->irq[sid], -1);
}
