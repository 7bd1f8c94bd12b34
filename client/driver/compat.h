/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between kernels 5.15 and today's, so that the other files need not know.
 */
#ifndef VGPU_COMPAT_H
#define VGPU_COMPAT_H

#include <linux/device/class.h>
#include <linux/huge_mm.h>
#include <linux/mm.h>
#include <linux/version.h>
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
#include <linux/pfn_t.h>
#endif

static inline struct class *vgpu_compat_class_create(const char *name)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	return class_create(name);
#else
	return class_create(THIS_MODULE, name);
#endif
}

static inline void vgpu_compat_vm_flags(struct vm_area_struct *vma, unsigned long set,
					unsigned long clear)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_mod(vma, set, clear);
#else
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
#endif
}

/*
 * A whole 2 MiB by one entry. Before 6.12 page tables have no mark for "no struct page" at that
 * level, and get_user_pages_fast() would look for one: there the 512 small entries are written.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0) && defined(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP)
#define VGPU_COMPAT_PMD true
#else
#define VGPU_COMPAT_PMD false
#endif

static inline vm_fault_t vgpu_compat_insert_pmd(struct vm_fault *vmf, unsigned long pfn)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 17, 0) && defined(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP)
	return vmf_insert_pfn_pmd(vmf, pfn, vmf->flags & FAULT_FLAG_WRITE);
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0) && defined(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP)
	return vmf_insert_pfn_pmd(vmf, __pfn_to_pfn_t(pfn, PFN_DEV),
				  vmf->flags & FAULT_FLAG_WRITE);
#else
	return VM_FAULT_FALLBACK;
#endif
}

#endif
