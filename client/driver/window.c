// SPDX-License-Identifier: GPL-2.0-only
/*
 * The window: memory shared with the host at a guest-physical address that the device names.
 *
 * It must be mapped write-back. Whether it is, is not what was asked for: MTRRs and other users of
 * the range can turn memremap(WB) into an uncached mapping without an error. So the page tables
 * are read.
 */
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/pgtable.h>
#include <linux/sched/signal.h>

#include "vgpu_drv.h"
#include "protocol/session/session.h"

static bool window_is_write_back(struct vgpu_device *dev, u64 offset)
{
	unsigned int level;
	pteval_t bits;
	pte_t *pte;

	pte = lookup_address((unsigned long)dev->window + offset, &level);
	if (!pte) {
		pci_err(dev->pdev, "window byte %#llx has no page table\n", offset);
		return false;
	}
	/* PAT entries 0 and 4 are write-back; the other six have one of these bits. */
	bits = pte_val(*pte) & (_PAGE_PWT | _PAGE_PCD);
	if (!bits)
		return true;
	pci_err(dev->pdev,
		"window at %#llx is not mapped write-back (bits %#lx): an MTRR or another user covers it, move the device's window\n",
		(u64)dev->window_addr + offset, (unsigned long)bits);
	return false;
}

static int window_check_range(struct vgpu_device *dev)
{
	u64 addr = dev->window_addr, bytes = dev->window_bytes;

	if (!addr || !bytes) {
		pci_err(dev->pdev, "the device has no window\n");
		return -ENXIO;
	}
	if ((addr | bytes) & (VGPU_EXTENT_BYTES - 1) || bytes > VGPU_ARENA_BYTES) {
		pci_err(dev->pdev, "window of %#llx bytes at %#llx: must be multiples of 2 MiB, at most %#llx bytes\n",
			bytes, addr, VGPU_ARENA_BYTES);
		return -EPROTO;
	}
	if (addr + bytes - 1 < addr || (addr + bytes - 1) >> boot_cpu_data.x86_phys_bits) {
		pci_err(dev->pdev, "window of %#llx bytes at %#llx is beyond this CPU's %u address bits\n",
			bytes, addr, boot_cpu_data.x86_phys_bits);
		return -ENXIO;
	}
	return 0;
}

int vgpu_window_map(struct vgpu_device *dev)
{
	struct pci_dev *pdev = dev->pdev;
	int ret;

	ret = window_check_range(dev);
	if (ret)
		return ret;
	if (!request_mem_region(dev->window_addr, dev->window_bytes, "vgpu-window")) {
		pci_err(pdev, "window of %#llx bytes at %#llx overlaps memory or another device, see /proc/iomem\n",
			dev->window_bytes, (u64)dev->window_addr);
		return -EBUSY;
	}
	dev->window = memremap(dev->window_addr, dev->window_bytes, MEMREMAP_WB);
	if (!dev->window) {
		pci_err(pdev, "cannot map the window of %#llx bytes\n", dev->window_bytes);
		ret = -ENOMEM;
		goto err_region;
	}
	/* One reservation has one memory type, but its page tables are made in pieces. */
	if (!window_is_write_back(dev, 0) ||
	    !window_is_write_back(dev, dev->window_bytes - PAGE_SIZE)) {
		ret = -ENXIO;
		goto err_map;
	}
	return 0;

err_map:
	memunmap(dev->window);
	dev->window = NULL;
err_region:
	release_mem_region(dev->window_addr, dev->window_bytes);
	return ret;
}

void vgpu_window_unmap(struct vgpu_device *dev)
{
	memunmap(dev->window);
	dev->window = NULL;
	release_mem_region(dev->window_addr, dev->window_bytes);
}

/*
 * The VM's side touches extents first, so that their memory is charged to the VM and not to the
 * process on the host. They are zero, writing 0 changes nothing.
 */
int vgpu_window_touch(struct vgpu_device *dev, u32 extent, u32 count)
{
	u32 i;

	for (i = 0; i < count; i++) {
		char *at = dev->window + vgpu_extent_offset(extent + i);
		u32 byte;

		if (vgpu_device_down(dev))
			return -ENODEV;
		if (fatal_signal_pending(current))
			return -EINTR;
		for (byte = 0; byte < VGPU_EXTENT_BYTES; byte += PAGE_SIZE)
			WRITE_ONCE(*(u64 *)(at + byte), 0);
		cond_resched();
	}
	return 0;
}
