// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Where the window lies. Nobody but this device and the guest's driver knows of it, so it has to
 * stay out of everything that others may use, now or later:
 *
 *   [0, M)        memory, and memory that may be plugged in: M is where pc and q35 let the 64-bit
 *                 PCI hole begin.
 *   [M, F)        where SeaBIOS, and OVMF without trustworthy CPUID, put 64-bit BARs, and what ACPI
 *                 calls the hole: OVMF aligns its 32 GiB to their size.
 *   [7/8 T, T)    where OVMF with trustworthy CPUID puts them; SeaBIOS then goes from T downwards.
 *                 T ends the guest-physical address space; they cap it at 47 and 46 bits.
 *   above 2^46    Linux with four-level page tables has no such physical addresses.
 *
 * The window ends at 3/4 of T (T at most 2^46), or below what is mapped there already, so that
 * several of these devices lie one below the other.
 */
#include "device/qemu/internal.h"

#ifdef __x86_64__
#include <cpuid.h>
#endif

#define FIRMWARE_APERTURE (32 * GiB)
#define ADDRESS_BITS_MOST 46

typedef struct Taken {
	uint64_t start, end; /* end is not part of it */
	char what[64];
} Taken;

static bool overlaps(uint64_t addr, uint64_t bytes, const Taken *t)
{
	return addr < t->end && t->start < addr + bytes;
}

/* 64-bit BARs as they are now, or as ACPI would tell. */
static void current_aperture(Taken *ret)
{
	static const char *const host_types[] = { "q35-pcihost", "i440FX-pcihost" };

	*ret = (Taken){ 0 };
	for (unsigned int i = 0; i < ARRAY_SIZE(host_types); i++) {
		Object *host = object_resolve_path_type("", host_types[i], NULL);

		if (!host)
			continue;
		ret->start = object_property_get_uint(host, PCI_HOST_PROP_PCI_HOLE64_START, NULL);
		ret->end = object_property_get_uint(host, PCI_HOST_PROP_PCI_HOLE64_END, NULL);
	}
	pstrcpy(ret->what, sizeof(ret->what), "the 64-bit PCI hole");
}

static bool is_pc(void)
{
	return object_dynamic_cast(qdev_get_machine(), TYPE_PC_MACHINE) != NULL;
}

/* The first thing found that overlaps [addr, addr + bytes). */
static bool find_overlap(uint64_t addr, uint64_t bytes, Taken *ret)
{
	MemoryRegionSection section;
	uint64_t memory_end;

	if (is_pc()) {
		memory_end = pc_pci_hole64_start();
		*ret = (Taken){ 0, memory_end, "memory, plugged in or to be" };
		if (overlaps(addr, bytes, ret))
			return true;
		*ret = (Taken){ memory_end,
				ROUND_UP(memory_end, FIRMWARE_APERTURE) + FIRMWARE_APERTURE,
				"what firmware uses for 64-bit PCI BARs" };
		if (overlaps(addr, bytes, ret))
			return true;
		current_aperture(ret);
		if (overlaps(addr, bytes, ret))
			return true;
	}
	section = memory_region_find(get_system_memory(), addr, bytes);
	if (!section.mr)
		return false;
	ret->start = section.offset_within_address_space;
	ret->end = ret->start + int128_get64(section.size);
	pstrcpy(ret->what, sizeof(ret->what), memory_region_name(section.mr) ?: "other memory");
	memory_region_unref(section.mr);
	return true;
}

static unsigned int address_bits(void)
{
	CPUState *cpu = qemu_get_cpu(0);
	uint64_t bits = cpu ? object_property_get_uint(OBJECT(cpu), "phys-bits", NULL) : 0;

#ifdef __x86_64__
	unsigned int eax, ebx, ecx, edx;

	/* A guest may be told more than the host has. */
	if (kvm_enabled() && __get_cpuid(0x80000008, &eax, &ebx, &ecx, &edx))
		bits = MIN(bits, eax & 0xff);
#endif
	return MIN(bits, ADDRESS_BITS_MOST);
}

static bool check_given(VgpuStub *s, uint64_t limit, Error **errp)
{
	uint64_t end = s->window_addr + s->window_bytes;
	Taken taken;

	if (end < s->window_addr || end > limit) {
		error_setg(errp,
			   "vgpu-stub: window-gpa: the window 0x%" PRIx64 "-0x%" PRIx64
			   " ends above the guest's physical address space, 0x%" PRIx64,
			   s->window_addr, end - 1, limit - 1);
		return false;
	}
	if (find_overlap(s->window_addr, s->window_bytes, &taken)) {
		error_setg(errp,
			   "vgpu-stub: window-gpa: the window 0x%" PRIx64 "-0x%" PRIx64
			   " overlaps 0x%" PRIx64 "-0x%" PRIx64 " (%s)",
			   s->window_addr, end - 1, taken.start, taken.end - 1, taken.what);
		return false;
	}
	return true;
}

bool vgpu_stub_window_place(VgpuStub *s, Error **errp)
{
	unsigned int bits = address_bits();
	uint64_t limit = 1ull << bits, end = limit / 4 * 3;
	Taken taken;

	if (s->window_addr)
		return check_given(s, limit, errp);
	if (!is_pc()) {
		error_setg(errp,
			   "vgpu-stub: window-gpa is needed on machines other than pc and q35");
		return false;
	}
	while (end > s->window_bytes) {
		s->window_addr = ROUND_DOWN(end - s->window_bytes, GiB);
		if (!s->window_addr)
			break;
		if (!find_overlap(s->window_addr, s->window_bytes, &taken))
			return true;
		end = taken.start;
	}
	s->window_addr = 0;
	error_setg(
		errp,
		"vgpu-stub: no room for a window of %" PRIu64 " MiB in %u bits of guest-physical "
		"addresses (memory and PCI holes end at 0x%" PRIx64
		"): make window-size smaller, give the CPU "
		"more bits (host-phys-bits=on), or choose window-gpa",
		s->window_bytes / MiB, bits,
		(uint64_t)(ROUND_UP(pc_pci_hole64_start(), FIRMWARE_APERTURE) + FIRMWARE_APERTURE));
	return false;
}
