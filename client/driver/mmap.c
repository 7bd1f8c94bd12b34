// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mappings of the control area, the doorbell and the heap.
 *
 * They have no struct pages: VM_PFNMAP, and VM_IO so that MADV_DOFORK cannot undo VM_DONTCOPY.
 * Everything is mapped by faults, because a fault can look whether the session still lives; it
 * does so within dev->srcu, so that vgpu_device_end_sessions() knows when the last one is through.
 *
 * After the end (reset, suspend, removal) control area and doorbell show the session's "tomb", two
 * pages of ordinary memory: a header whose `sticky` is the error code, and a page of scratch. So a
 * library in the middle of a call finds the error, not a signal. The heap gives SIGBUS: what the
 * program kept there is lost, and it must not go on with wrong data. The view is the heap once
 * more, for a library's own copies: it shows the scratch page, and the library looks at `sticky`
 * after it has read.
 */
#include <linux/compat.h>
#include <linux/mm.h>
#include <linux/sched.h>

#include "vgpu_drv.h"
#include "compat.h"
#include "protocol/session/session.h"

struct insert {
	struct mm_struct *mm;
	unsigned long pfn;
	pgprot_t prot;
};

/* Under the page table's lock. Another thread's fault may have been first. */
static int insert_pte(pte_t *pte, unsigned long addr, void *data)
{
	struct insert *insert = data;

	if (pte_none(*pte))
		set_pte_at(insert->mm, addr, pte,
			   pte_mkspecial(pfn_pte(insert->pfn, insert->prot)));
	insert->pfn++;
	return 0;
}

/*
 * Maps the whole extent, or as much of it as the mapping covers, with one walk of the page tables.
 * The window is write-back in the kernel's mapping (window.c) and so is vm_page_prot.
 */
static vm_fault_t insert_extent(struct vm_fault *vmf, u32 extent)
{
	struct vm_area_struct *vma = vmf->vma;
	u64 at = (u64)vmf->pgoff << PAGE_SHIFT & (VGPU_EXTENT_BYTES - 1);
	unsigned long page = vmf->address & PAGE_MASK;
	unsigned long start = page - min_t(u64, at, page - vma->vm_start);
	unsigned long end = page + min_t(u64, VGPU_EXTENT_BYTES - at, vma->vm_end - page);
	phys_addr_t addr = ((struct vgpu_file *)vma->vm_file->private_data)->dev->window_addr +
			   vgpu_extent_offset(extent);
	struct insert insert = {
		.mm = vma->vm_mm,
		.pfn = (addr + at - (page - start)) >> PAGE_SHIFT,
		.prot = vma->vm_page_prot,
	};
	int ret;

	if (VGPU_COMPAT_PMD && end - start == PMD_SIZE && IS_ALIGNED(start, PMD_SIZE)) {
		pmd_t pmd = READ_ONCE(*vmf->pmd);

		/* Another thread has mapped it; else a page table is left here, and it is used. */
		if (pmd_leaf(pmd))
			return VM_FAULT_NOPAGE;
		if (pmd_none(pmd))
			return vgpu_compat_insert_pmd(vmf, addr >> PAGE_SHIFT);
	}
	ret = apply_to_page_range(vma->vm_mm, start, end - start, insert_pte, &insert);
	return ret ? VM_FAULT_OOM : VM_FAULT_NOPAGE;
}

static vm_fault_t insert_tomb(struct vm_fault *vmf, struct vgpu_session *session, u64 offset)
{
	unsigned long pfn = page_to_pfn(virt_to_page(session->tomb));

	/* Scratch for everything but the header, the doorbell included. */
	if (offset >= PAGE_SIZE)
		pfn++;
	return vmf_insert_pfn_prot(vmf->vma, vmf->address, pfn,
				   vm_get_page_prot(vmf->vma->vm_flags));
}

static vm_fault_t fault_heap(struct vm_fault *vmf, struct vgpu_session *session, u64 offset)
{
	void *entry = xa_load(&session->heap, offset >> VGPU_EXTENT_SHIFT);

	if (!entry || xa_to_value(entry) & (VGPU_HEAP_PENDING | VGPU_HEAP_SPARE))
		return VM_FAULT_SIGBUS;
	return insert_extent(vmf, xa_to_value(entry) >> VGPU_HEAP_SHIFT);
}

static vm_fault_t vgpu_fault(struct vm_fault *vmf)
{
	struct vgpu_file *file = vmf->vma->vm_file->private_data;
	struct vgpu_session *session = file->session;
	u64 offset = (u64)vmf->pgoff << PAGE_SHIFT;
	struct vgpu_device *dev = file->dev;
	vm_fault_t ret;
	bool ended;
	int idx;

	idx = srcu_read_lock(&dev->srcu);
	/* Pairs with vgpu_session_mark_ended(). */
	ended = smp_load_acquire(&session->ended);
	if (offset >= VGPU_MMAP_VIEW && !ended)
		ret = fault_heap(vmf, session, offset - VGPU_MMAP_VIEW);
	else if (offset >= VGPU_MMAP_HEAP && offset < VGPU_MMAP_VIEW)
		ret = ended ? VM_FAULT_SIGBUS : fault_heap(vmf, session, offset - VGPU_MMAP_HEAP);
	else if (ended)
		ret = insert_tomb(vmf, session, offset);
	else if (offset >= VGPU_MMAP_DOORBELL)
		ret = vmf_insert_pfn(vmf->vma, vmf->address,
				     (dev->bar + VGPU_DEVICE_DOORBELLS +
				      session->sid * VGPU_DEVICE_PAGE_BYTES) >> PAGE_SHIFT);
	else
		ret = insert_extent(vmf, session->control);
	srcu_read_unlock(&dev->srcu, idx);
	return ret;
}

static const struct vm_operations_struct vgpu_vm_ops = {
	.fault = vgpu_fault,
};

int vgpu_mmap(struct file *filp, struct vm_area_struct *vma)
{
	struct vgpu_file *file = filp->private_data;
	u64 offset = (u64)vma->vm_pgoff << PAGE_SHIFT;
	u64 bytes = vma->vm_end - vma->vm_start;
	struct vgpu_session *session;
	u64 first, limit;
	int ret;

	if (in_compat_syscall() || !(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	ret = vgpu_session_get(file, &session);
	if (ret)
		return ret;
	if (READ_ONCE(session->ended))
		return -ENODEV;
	if (offset >= VGPU_MMAP_HEAP) {
		first = offset >= VGPU_MMAP_VIEW ? VGPU_MMAP_VIEW : VGPU_MMAP_HEAP;
		limit = VGPU_ARENA_BYTES;
	} else if (offset >= VGPU_MMAP_DOORBELL) {
		first = VGPU_MMAP_DOORBELL;
		limit = VGPU_DEVICE_PAGE_BYTES;
	} else {
		first = VGPU_MMAP_CONTROL;
		limit = VGPU_CONTROL_BYTES;
	}
	if (bytes > limit || offset - first > limit - bytes)
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EPERM;
	vgpu_compat_vm_flags(vma, VM_IO | VM_PFNMAP | VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP,
			     VM_MAYEXEC);
	if (first == VGPU_MMAP_DOORBELL)
		vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	vma->vm_ops = &vgpu_vm_ops;
	return 0;
}
