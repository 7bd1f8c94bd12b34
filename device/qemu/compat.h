/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Everything in which QEMU 7.2 to 11 differ for this device. The other files here know no version.
 * Headers move between versions: which are there decides. Functions change: the version decides.
 */
#ifndef VGPU_STUB_COMPAT_H
#define VGPU_STUB_COMPAT_H

#include "qemu/osdep.h"

#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/event_notifier.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/range.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "qemu/uuid.h"
#include "qom/object.h"

#include "hw/core/cpu.h"
#include "hw/i386/pc.h"
#include "hw/pci/msi.h"
#include "hw/pci/msix.h"
#include "hw/pci/pci.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pcie.h"
#include "migration/blocker.h"

#if __has_include("hw/pci/pci_device.h") /* split off in 8.0 */
#include "hw/pci/pci_device.h"
#endif
#if __has_include("hw/core/qdev-properties.h") /* moved in 11.0 */
#include "hw/core/qdev-properties.h"
#include "hw/core/qdev-properties-system.h"
#else
#include "hw/qdev-properties.h"
#include "hw/qdev-properties-system.h"
#endif
#if __has_include("system/address-spaces.h") /* moved in 10.1 */
#include "system/address-spaces.h"
#include "system/memory.h"
#else
#include "exec/address-spaces.h"
#include "exec/memory.h"
#endif
#if __has_include("system/kvm.h") /* sysemu/ became system/ in 10.0 */
#include "system/kvm.h"
#include "system/system.h"
#else
#include "sysemu/kvm.h"
#include "sysemu/sysemu.h"
#endif

#define COMPAT_QEMU_AT_LEAST(major, minor)                                                         \
	(QEMU_VERSION_MAJOR > (major) ||                                                           \
	 (QEMU_VERSION_MAJOR == (major) && QEMU_VERSION_MINOR >= (minor)))

#if !COMPAT_QEMU_AT_LEAST(7, 2)
#error "the vgpu-stub needs QEMU 7.2 or newer"
#endif

/* Property arrays have an end mark until 9.2, and are const from then on. */
#if COMPAT_QEMU_AT_LEAST(10, 0)
#define COMPAT_PROPERTIES const Property
#define COMPAT_PROPERTIES_END
#else
#define COMPAT_PROPERTIES Property
#define COMPAT_PROPERTIES_END DEFINE_PROP_END_OF_LIST(),
#endif

#if COMPAT_QEMU_AT_LEAST(10, 1)
#define COMPAT_CLASS_DATA const void
#define COMPAT_INTERFACES const InterfaceInfo
#else
#define COMPAT_CLASS_DATA void
#define COMPAT_INTERFACES InterfaceInfo
#endif

static inline void compat_set_reset(DeviceClass *dc, void (*reset)(DeviceState *))
{
#if COMPAT_QEMU_AT_LEAST(9, 2)
	device_class_set_legacy_reset(dc, reset);
#else
	dc->reset = reset;
#endif
}

/* From 8.2 on QEMU owns the reason, and clears it when it refuses. */
static inline int compat_add_blocker(Error **reason, Error **errp)
{
#if COMPAT_QEMU_AT_LEAST(8, 2)
	return migrate_add_blocker(reason, errp);
#else
	int rc = migrate_add_blocker(*reason, errp);

	if (rc < 0) {
		error_free(*reason);
		*reason = NULL;
	}
	return rc;
#endif
}

static inline void compat_del_blocker(Error **reason)
{
#if COMPAT_QEMU_AT_LEAST(8, 2)
	migrate_del_blocker(reason);
#else
	if (*reason) {
		migrate_del_blocker(*reason);
		error_free(*reason);
		*reason = NULL;
	}
#endif
}

#endif
