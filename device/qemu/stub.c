// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The vgpu-stub as a QEMU device: PCI, BAR0, the window as RAM, doorbells as ioeventfds. What the
 * device does is in device/core; everything here runs under the big lock, which core relies on.
 */
#include "device/qemu/internal.h"

#define EXPRESS_CAPABILITY 0xa0 /* behind MSI-X, which QEMU puts at 0x40 */

static uint64_t bar0_read(void *opaque, hwaddr offset, unsigned int size)
{
	VgpuStub *s = opaque;

	return vgpu_device_mmio_read(s->core, offset, size);
}

static void bar0_write(void *opaque, hwaddr offset, uint64_t value, unsigned int size)
{
	VgpuStub *s = opaque;

	vgpu_device_mmio_write(s->core, offset, size, value);
}

/* Every access reaches the core, which knows what a wrong one gives. */
static const MemoryRegionOps bar0_ops = {
	.read = bar0_read,
	.write = bar0_write,
	.endianness = DEVICE_LITTLE_ENDIAN,
	.valid = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
	.impl = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
};

static uint64_t op_now_ns(void *opaque)
{
	return (uint64_t)qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

static void op_timer_set(void *opaque, uint64_t deadline_ns)
{
	VgpuStub *s = opaque;

	timer_mod_ns(s->timer, (int64_t)deadline_ns);
}

static void timer_fired(void *opaque)
{
	VgpuStub *s = opaque;

	vgpu_device_timer(s->core);
}

static void socket_ready(void *opaque)
{
	VgpuStub *s = opaque;

	vgpu_device_socket_ready(s->core);
}

static void op_watch(void *opaque, int fd, bool read, bool write)
{
	qemu_set_fd_handler(fd, read ? socket_ready : NULL, write ? socket_ready : NULL, opaque);
}

static void op_log(void *opaque, enum vgpu_device_level level, const char *sentence)
{
	const char *id = DEVICE(opaque)->id ?: DEVICE(opaque)->canonical_path ?: "";

	if (level == VGPU_DEVICE_WARNING)
		warn_report("vgpu-stub '%s': %s", id, sentence);
	else
		info_report("vgpu-stub '%s': %s", id, sentence);
}

static const struct vgpu_device_ops core_ops = {
	.now_ns = op_now_ns,
	.timer_set = op_timer_set,
	.watch = op_watch,
	.irq = vgpu_stub_irq_raise,
	.session_irq_fd = vgpu_stub_irq_session,
	.log = op_log,
};

static bool make_core(VgpuStub *s, Error **errp)
{
	struct vgpu_device_config config = {
		.socket_path = s->socket_path,
		.window_bytes = s->window_bytes,
		.window_addr = s->window_addr,
		.sessions = s->sessions,
	};
	char text[VGPU_DEVICE_TEXT];

	if (qemu_uuid_is_null(&s->uuid) && qemu_uuid_set)
		s->uuid = qemu_uuid;
	memcpy(config.uuid, &s->uuid, sizeof(config.uuid));
	s->timer = timer_new_ns(QEMU_CLOCK_REALTIME, timer_fired, s);
	vgpu_stub_irq_prepare(s);
	if (vgpu_device_create(&config, &core_ops, s, &s->core, text) < 0) {
		error_setg(errp, "vgpu-stub: %s", text);
		return false;
	}
	return true;
}

static bool map_window(VgpuStub *s, Error **errp)
{
	Error *err = NULL;
	int fd = qemu_dup(vgpu_device_window_fd(s->core));

	if (fd < 0) {
		error_setg_errno(errp, errno,
				 "vgpu-stub: the window's descriptor cannot be duplicated");
		return false;
	}
	memory_region_init_ram_from_fd(&s->window, OBJECT(s), "vgpu-window", s->window_bytes,
				       RAM_SHARED, fd, 0, &err);
	if (err) {
		close(fd);
		error_propagate(errp, err);
		return false;
	}
	memory_region_add_subregion(get_system_memory(), s->window_addr, &s->window);
	s->window_mapped = true;
	return true;
}

static bool make_pci(VgpuStub *s, Error **errp)
{
	PCIDevice *pci = PCI_DEVICE(s);

	memory_region_init_io(&s->bar0, OBJECT(s), &bar0_ops, s, "vgpu-bar0",
			      VGPU_DEVICE_BAR0_BYTES);
	pci_register_bar(pci, 0, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->bar0);
	if (msix_init_exclusive_bar(pci, s->sessions + 1, 1, errp) < 0)
		return false;
	s->msix_made = true;
	if (pci_bus_is_express(pci_get_bus(pci))) {
		if (pcie_endpoint_cap_init(pci, EXPRESS_CAPABILITY) < 0) {
			error_setg(errp, "vgpu-stub: no room for the PCI Express capability");
			return false;
		}
		pcie_cap_flr_init(pci);
	}
	return true;
}

static void make_doorbells(VgpuStub *s)
{
	memory_region_transaction_begin();
	for (unsigned int sid = 0; sid < s->sessions; sid++) {
		event_notifier_init_fd(&s->doorbell[sid], vgpu_device_doorbell_fd(s->core, sid));
		memory_region_add_eventfd(&s->bar0,
					  VGPU_DEVICE_DOORBELLS + sid * VGPU_DEVICE_PAGE_BYTES, 4,
					  false, 0, &s->doorbell[sid]);
	}
	memory_region_transaction_commit();
	s->doorbells_made = true;
}

/* Undoes what realize has done, in reverse order, however far it came. */
static void undo(VgpuStub *s)
{
	PCIDevice *pci = PCI_DEVICE(s);

	compat_del_blocker(&s->blocker);
	memory_region_transaction_begin();
	for (unsigned int sid = 0; s->doorbells_made && sid < s->sessions; sid++)
		memory_region_del_eventfd(&s->bar0,
					  VGPU_DEVICE_DOORBELLS + sid * VGPU_DEVICE_PAGE_BYTES, 4,
					  false, 0, &s->doorbell[sid]);
	memory_region_transaction_commit();
	s->doorbells_made = false;
	vgpu_stub_irq_stop(s);
	if (s->msix_made)
		msix_uninit_exclusive_bar(pci);
	s->msix_made = false;
	if (pci->exp.exp_cap)
		pcie_cap_exit(pci);
	if (s->window_mapped) {
		memory_region_del_subregion(get_system_memory(), &s->window);
		object_unparent(OBJECT(&s->window));
	}
	s->window_mapped = false;
	if (s->discards_required)
		ram_block_discard_require(false);
	s->discards_required = false;
	vgpu_device_free(s->core);
	s->core = NULL;
	timer_free(s->timer);
	s->timer = NULL;
}

/* Covers savevm and snapshots too. A VMStateDescription's `unmigratable` would speak first, in
 * general words. */
static bool refuse_migration(VgpuStub *s, Error **errp)
{
	error_setg(&s->blocker,
		   "the VM has a vgpu-stub, whose GPU sessions cannot be saved or moved: unplug "
		   "the device first");
	return compat_add_blocker(&s->blocker, errp) >= 0;
}

/*
 * The mediator punches the pages of ended sessions out of the window. A device with pinned guest
 * memory (VFIO) would go on using the old ones.
 */
static bool require_discards(VgpuStub *s, Error **errp)
{
	s->discards_required = ram_block_discard_require(true) == 0;
	if (!s->discards_required)
		error_setg(errp, "vgpu-stub: another device of this VM (VFIO, or encrypted memory) "
				 "needs all memory "
				 "pinned, the window cannot be");
	return s->discards_required;
}

static void realize(PCIDevice *pci, Error **errp)
{
	VgpuStub *s = VGPU_STUB(pci);

	if (!vgpu_stub_window_place(s, errp))
		return;
	if (!make_core(s, errp) || !require_discards(s, errp) || !map_window(s, errp) ||
	    !make_pci(s, errp) || !vgpu_stub_irq_start(s, errp) || !refuse_migration(s, errp)) {
		undo(s);
		return;
	}
	make_doorbells(s);
	vgpu_device_start(s->core);
}

static void unrealize(PCIDevice *pci)
{
	undo(VGPU_STUB(pci));
}

static void config_write(PCIDevice *pci, uint32_t addr, uint32_t value, int bytes)
{
	pci_default_write_config(pci, addr, value, bytes);
	if (pci->exp.exp_cap)
		pcie_cap_flr_write_config(pci, addr, value, bytes);
}

/* Power-on, reboot, function-level reset and a bus above: QEMU resets MSI-X and configuration. */
static void reset(DeviceState *dev)
{
	vgpu_device_reset(VGPU_STUB(dev)->core);
}

static char *get_link(Object *obj, Error **errp)
{
	VgpuStub *s = VGPU_STUB(obj);

	if (!s->core)
		return g_strdup("not realized");
	if (vgpu_device_status(s->core) & VGPU_STATUS_LINKED)
		return g_strdup("linked");
	return g_strdup_printf("not linked (error 0x%x)", vgpu_device_error(s->core));
}

static COMPAT_PROPERTIES properties[] = {
	DEFINE_PROP_STRING("socket", VgpuStub, socket_path),
	DEFINE_PROP_SIZE("window-size", VgpuStub, window_bytes, 1 * GiB),
	DEFINE_PROP_UINT64("window-gpa", VgpuStub, window_addr, 0),
	DEFINE_PROP_UINT32("sessions", VgpuStub, sessions, VGPU_DEVICE_SESSIONS),
	DEFINE_PROP_UUID_NODEFAULT("uuid", VgpuStub, uuid),
	COMPAT_PROPERTIES_END
};

static void class_init(ObjectClass *class, COMPAT_CLASS_DATA *data)
{
	DeviceClass *dc = DEVICE_CLASS(class);
	PCIDeviceClass *pc = PCI_DEVICE_CLASS(class);

	pc->realize = realize;
	pc->exit = unrealize;
	pc->config_write = config_write;
	pc->vendor_id = VGPU_PCI_VENDOR;
	pc->device_id = VGPU_PCI_DEVICE;
	pc->revision = VGPU_DEVICE_VERSION_MAJOR;
	pc->class_id = VGPU_PCI_CLASS >> 8;
	dc->desc = "part of a GPU of the host";
	compat_set_reset(dc, reset);
	device_class_set_props(dc, properties);
	set_bit(DEVICE_CATEGORY_MISC, dc->categories);
	object_class_property_add_str(class, "link", get_link, NULL);
}

/* Decided before the bus is known; on a conventional bus the larger space does no harm. */
static void instance_init(Object *obj)
{
	PCI_DEVICE(obj)->cap_present |= QEMU_PCI_CAP_EXPRESS;
}

static COMPAT_INTERFACES interfaces[] = {
	{ INTERFACE_PCIE_DEVICE },
	{ INTERFACE_CONVENTIONAL_PCI_DEVICE },
	{},
};

static const TypeInfo type = {
	.name = TYPE_VGPU_STUB,
	.parent = TYPE_PCI_DEVICE,
	.instance_size = sizeof(VgpuStub),
	.instance_init = instance_init,
	.class_init = class_init,
	.interfaces = interfaces,
};

void vgpu_stub_register(void)
{
	type_register_static(&type);
}

#ifndef VGPU_QEMU_PLUGIN_API
type_init(vgpu_stub_register)
#endif
