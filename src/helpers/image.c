// SPDX-License-Identifier: GPL-2.0
/*
 * The memory of this code itself: for src/glue/image.rs. A module has memory of
 * its own. Code that is built in lies in sections of the kernel's image, beside
 * code of others; what runs in HYP mode is in the section of code that takes no
 * probes.
 */
#include <linux/errno.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/vmalloc.h>
#include <asm/memory.h>
#include <asm/sections.h>
#include "helpers.h"

static struct kvm_arm_range range_of(unsigned int part)
{
#ifdef MODULE
	static const enum mod_mem_type types[] = {
		[KVM_ARM_IMAGE_TEXT] = MOD_TEXT,
		[KVM_ARM_IMAGE_RODATA] = MOD_RODATA,
		[KVM_ARM_IMAGE_RO_AFTER_INIT] = MOD_RO_AFTER_INIT,
	};
	const struct module_memory *memory = &THIS_MODULE->mem[types[part]];

	return (struct kvm_arm_range) {
		.start = (unsigned long)memory->base,
		.end = (unsigned long)memory->base + memory->size,
	};
#else
	switch (part) {
	case KVM_ARM_IMAGE_TEXT:
		return (struct kvm_arm_range) {
			.start = (unsigned long)__kprobes_text_start,
			.end = (unsigned long)__kprobes_text_end,
		};
	case KVM_ARM_IMAGE_RODATA:
		/* Data that are read-only after init are among them. */
		return (struct kvm_arm_range) {
			.start = (unsigned long)__start_rodata,
			.end = (unsigned long)__end_rodata,
		};
	default:
		return (struct kvm_arm_range) {};
	}
#endif
}

struct kvm_arm_range kvm_arm_image(unsigned int part)
{
	if (part >= KVM_ARM_IMAGE_PARTS)
		return (struct kvm_arm_range) {};
	return range_of(part);
}

bool kvm_arm_is_own_text(unsigned long address)
{
	struct kvm_arm_range text = range_of(KVM_ARM_IMAGE_TEXT);

	return address >= text.start && address < text.end;
}

phys_addr_t kvm_arm_image_pa(unsigned long address)
{
	void *va = (void *)address;

	if (is_vmalloc_or_module_addr(va))
		return PFN_PHYS(vmalloc_to_pfn(va)) | offset_in_page(va);
	return virt_to_phys(va);
}
