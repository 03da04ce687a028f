// SPDX-License-Identifier: GPL-2.0
/*
 * The pages at addresses of a process: for src/glue/user_page.rs.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>
#include <linux/swap.h>
#include <linux/uaccess.h>
#include <linux/userfaultfd_k.h>
#include "helpers.h"

void kvm_arm_mark_page_accessed(struct page *page)
{
	/* The zero page and other reserved pages have no such state. */
	if (!PageReserved(page))
		mark_page_accessed(page);
}

void kvm_arm_mark_page_dirty(struct page *page)
{
	if (!PageReserved(page))
		SetPageDirty(page);
}

int kvm_arm_get_user_pages_fast_only(unsigned long addr, int n,
				     unsigned int flags, struct page **pages)
{
	return get_user_pages_fast_only(addr, n, flags, pages);
}

unsigned int kvm_arm_user_limit(void)
{
	return TASK_SIZE;
}

bool kvm_arm_pfn_valid(unsigned long pfn)
{
	return pfn_valid(pfn);
}

bool kvm_arm_write_resident(unsigned long addr, const void *data, size_t size)
{
	return !copy_to_user_nofault((void __user *)addr, data, size);
}

bool kvm_arm_make_writable(unsigned long addr, size_t size)
{
	if (!current->mm)
		return false;
	return !fault_in_safe_writeable((const char __user *)addr, size);
}

/* Both formats of the host's page tables have these names for memory types. */
unsigned int kvm_arm_pgprot_memory(pgprot_t prot)
{
	pteval_t type = pgprot_val(prot) & L_PTE_MT_MASK;

	if (type == L_PTE_MT_WRITEALLOC || type == L_PTE_MT_WRITEBACK)
		return KVM_ARM_MEMORY_WRITEBACK;
	if (type == L_PTE_MT_BUFFERABLE || type == L_PTE_MT_DEV_WC ||
	    type == L_PTE_MT_WRITETHROUGH)
		return KVM_ARM_MEMORY_UNCACHED;
	return KVM_ARM_MEMORY_DEVICE;
}

/*
 * The entry of the second level for an address of the current process, empty if
 * there is none. Interrupts are off, so that no table is freed. But another CPU
 * may clear an entry at any time, so each entry is read only once. p4d and pud
 * are folded into pgd, so there is one entry above the pmd.
 */
static pmd_t read_pmd(unsigned long addr)
{
	pgd_t *pgd;
	pud_t pud;

	BUILD_BUG_ON(!mm_p4d_folded(NULL) || !mm_pud_folded(NULL));
	if (!current->mm)
		return __pmd(0);
	pgd = pgd_offset(current->mm, addr);
	pud = READ_ONCE(*pud_offset(p4d_offset(pgd, addr), addr));
	if (pud_none(pud))
		return __pmd(0);
	return pmdp_get(pmd_offset(&pud, addr));
}

bool kvm_arm_is_huge_mapping(unsigned long addr)
{
	unsigned long flags;
	pmd_t pmd;

	local_irq_save(flags);
	pmd = read_pmd(addr);
	local_irq_restore(flags);
	return pmd_present(pmd) && pmd_leaf(pmd);
}

/* Memory that a page fault makes out of nothing, without anybody else. */
bool kvm_arm_is_private_memory(struct vm_area_struct *vma)
{
	return vma_is_anonymous(vma) && !userfaultfd_armed(vma);
}

/*
 * The number of pages from an address on, up to n, that the process has never
 * touched. All are in one table. The answer may be old at once.
 */
unsigned int kvm_arm_count_empty(unsigned long addr, unsigned int n)
{
	unsigned long flags;
	unsigned int empty = 0;
	pmd_t pmd;
	pte_t *ptes;

	local_irq_save(flags);
	pmd = read_pmd(addr);
	if (pmd_present(pmd) && !pmd_leaf(pmd)) {
		n = min_t(unsigned int, n, PTRS_PER_PTE - pte_index(addr));
		ptes = __pte_map(&pmd, addr);
		while (empty < n && pte_none(ptep_get(ptes + empty)))
			empty++;
		kunmap_local(ptes);
	}
	local_irq_restore(flags);
	return empty;
}
