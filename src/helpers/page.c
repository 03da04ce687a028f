// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's own pages: for src/glue/page.rs.
 */
#include <linux/cacheflush.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <asm/memory.h>
#include "helpers.h"

phys_addr_t kvm_arm_virt_to_phys(const void *va)
{
	return virt_to_phys(va);
}

void *kvm_arm_phys_to_virt(phys_addr_t pa)
{
	return phys_to_virt(pa);
}

void *kvm_arm_page_address(struct page *page)
{
	return page_address(page);
}

unsigned long kvm_arm_page_to_pfn(struct page *page)
{
	return page_to_pfn(page);
}

struct page *kvm_arm_pfn_to_page(unsigned long pfn)
{
	return pfn_to_page(pfn);
}

struct page *kvm_arm_alloc_pages(gfp_t gfp, unsigned int order)
{
	return alloc_pages(gfp, order);
}

void kvm_arm_put_page(struct page *page)
{
	put_page(page);
}

void *kvm_arm_kmap_local_page(struct page *page)
{
	return kmap_local_page(page);
}

void kvm_arm_kunmap_local(const void *va)
{
	kunmap_local(va);
}

void kvm_arm_flush_dcache_to_poc(void *va, size_t size)
{
	__cpuc_flush_dcache_area(va, size);
}
