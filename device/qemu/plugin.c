// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * As a shared object: `-plugin file=vgpu-stub.so` makes QEMU load it before it looks at -device.
 * QEMU's plugin interface is used for that alone; the device uses QEMU's own functions and types,
 * so it fits one version of QEMU, and refuses every other one. Not part of a QEMU that has the
 * device compiled in.
 */
#ifdef VGPU_QEMU_PLUGIN_API
#include "device/qemu/internal.h"

#include "qapi/qapi-commands-control.h"
#include "qemu/qemu-plugin.h"

/* Tests of the refusals set these. */
#ifndef VGPU_STUB_FOR_MAJOR
#define VGPU_STUB_FOR_MAJOR QEMU_VERSION_MAJOR
#define VGPU_STUB_FOR_MINOR QEMU_VERSION_MINOR
#endif
#ifndef VGPU_STUB_SIZE_SKEW
#define VGPU_STUB_SIZE_SKEW 0
#endif

QEMU_PLUGIN_EXPORT int qemu_plugin_version = VGPU_QEMU_PLUGIN_API;

/* Newer QEMUs have no such function; there the version alone decides. */
extern size_t object_type_get_instance_size(const char *) __attribute__((weak));

#pragma weak error_report
#pragma weak qmp_query_version

/* build-stub.sh makes all references to QEMU weak, so that we come here without them. */
static bool has_functions(void)
{
	if (error_report && qmp_query_version)
		return true;
	fprintf(stderr,
		"vgpu-stub: this QEMU keeps its functions to itself (it is built without modules): "
		"compile the device into it, as device/qemu/README.md tells\n");
	return false;
}

static bool version_fits(void)
{
	VersionInfo *v = qmp_query_version(NULL);
	bool fits = v->qemu->major == VGPU_STUB_FOR_MAJOR && v->qemu->minor == VGPU_STUB_FOR_MINOR;

	if (!fits)
		error_report("vgpu-stub: this file is made for QEMU %d.%d, this is QEMU %d.%d.%d: "
			     "install or build "
			     "the vgpu-stub for it (tools/build-stub.sh)",
			     VGPU_STUB_FOR_MAJOR, VGPU_STUB_FOR_MINOR, (int)v->qemu->major,
			     (int)v->qemu->minor, (int)v->qemu->micro);
	qapi_free_VersionInfo(v);
	return fits;
}

/* A distribution may change a type without changing the version. */
static bool types_fit(void)
{
	static const struct {
		const char *name;
		size_t bytes;
	} types[] = {
		{ TYPE_DEVICE, sizeof(DeviceState) },
		{ TYPE_PCI_DEVICE, sizeof(PCIDevice) + VGPU_STUB_SIZE_SKEW },
		{ TYPE_MEMORY_REGION, sizeof(MemoryRegion) },
	};

	for (unsigned int i = 0; object_type_get_instance_size && i < ARRAY_SIZE(types); i++) {
		size_t bytes = object_type_get_instance_size(types[i].name);

		if (bytes == types[i].bytes)
			continue;
		error_report("vgpu-stub: '%s' has %zu bytes in this QEMU, this file was built for "
			     "%zu: rebuild the "
			     "vgpu-stub against this QEMU's source package (tools/build-stub.sh)",
			     types[i].name, bytes, types[i].bytes);
		return false;
	}
	return true;
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	if (!has_functions() || !version_fits() || !types_fit())
		return 1;
	if (object_class_by_name(TYPE_VGPU_STUB)) {
		error_report("vgpu-stub: QEMU has this device already, -plugin was given twice or "
			     "is not needed");
		return 1;
	}
	vgpu_stub_register();
	return 0;
}
#endif
