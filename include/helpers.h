/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Functions of the kernel for which the kernel crate has no binding: src/helpers
 * has one file of them for each file of src/glue that needs some.
 *
 * Most only give a symbol to a static inline function or to a macro. The others
 * do in C the part of a wrapper that bindgen cannot express: they read fields of
 * structures that the bindings do not have, or define variables by macros. The
 * reason is beside each of them.
 */
#ifndef KVM_ARM_HELPERS_H
#define KVM_ARM_HELPERS_H

#include <linux/fs.h>
#include <linux/eventfd.h>
#include <linux/mm_types.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/of.h>
#include <linux/poll.h>
#include <linux/perf_event.h>
#include <linux/rcuwait.h>
#include <linux/spinlock_types.h>
#include <linux/types.h>
#include <linux/wait.h>

/* file.rs: a macro with a cast, which bindgen does not evaluate. */
enum {
	KVM_ARM_FMODE_PREAD = (__force unsigned int)FMODE_PREAD,
};

/* cpu.c */
u64 kvm_arm_local_irq_save(void);
void kvm_arm_local_irq_restore(unsigned long flags);
unsigned int kvm_arm_local_irq_window(unsigned long flags);
unsigned int kvm_arm_smp_processor_id(void);
bool kvm_arm_irqs_disabled(void);
bool kvm_arm_need_resched(void);
void kvm_arm_cond_resched(void);
void kvm_arm_give_way(void);
unsigned int kvm_arm_nr_cpu_ids(void);
bool kvm_arm_cpu_possible(unsigned int cpu);
void kvm_arm_on_each_cpu_if(bool (*wants)(int, void *), void (*func)(void *), void *info);
bool kvm_arm_has_vfp(void);
bool kvm_arm_has_vfp_d32(void);

/* device_tree.c */
void kvm_arm_of_node_put(struct device_node *node);

/* eventfd.c: somebody who hears of it when an eventfd is signalled. */
struct kvm_arm_listener {
	struct wait_queue_entry entry;
	struct poll_table_struct table;
};

unsigned int kvm_arm_listen(struct kvm_arm_listener *listener,
			    struct file *file, wait_queue_func_t wake);
void kvm_arm_unlisten(struct kvm_arm_listener *listener,
		      struct eventfd_ctx *ctx);

/* guest_time.c */
void kvm_arm_guest_timing_enter_irqoff(void);
void kvm_arm_guest_timing_exit_irqoff(void);
void kvm_arm_guest_state_enter_irqoff(void);
void kvm_arm_guest_state_exit_irqoff(void);

/* image.c: what HYP mode maps of this code. */
#define KVM_ARM_IMAGE_TEXT		0
#define KVM_ARM_IMAGE_RODATA		1
#define KVM_ARM_IMAGE_RO_AFTER_INIT	2
#define KVM_ARM_IMAGE_PARTS		3
struct kvm_arm_range {
	unsigned long start;
	unsigned long end;
};

struct kvm_arm_range kvm_arm_image(unsigned int part);
bool kvm_arm_is_own_text(unsigned long address);
phys_addr_t kvm_arm_image_pa(unsigned long address);

/* irq.c */
void __percpu *kvm_arm_alloc_percpu_ptr(void);
void kvm_arm_free_percpu_ptr(void __percpu *ptr);
unsigned int kvm_arm_irq_to_hwirq(unsigned int irq);

/* log.c */
bool kvm_arm_log_allowed(void);
bool kvm_arm_fault_log_allowed(void);
bool kvm_arm_debug_allowed(void);
void kvm_arm_log_symbol(const char *what, unsigned long address);

/* mmu_notifier.c */
bool kvm_arm_range_blockable(const struct mmu_notifier_range *range);

/* mutex.c */
int kvm_arm_mutex_lock_killable(struct mutex *lock);

/* page.c */
phys_addr_t kvm_arm_virt_to_phys(const void *va);
void *kvm_arm_phys_to_virt(phys_addr_t pa);
void *kvm_arm_page_address(struct page *page);
unsigned long kvm_arm_page_to_pfn(struct page *page);
struct page *kvm_arm_pfn_to_page(unsigned long pfn);
struct page *kvm_arm_alloc_pages(gfp_t gfp, unsigned int order);
void kvm_arm_put_page(struct page *page);
void *kvm_arm_kmap_local_page(struct page *page);
void kvm_arm_kunmap_local(const void *va);
void kvm_arm_flush_dcache_to_poc(void *va, size_t size);

/* parameter.c */
bool kvm_arm_enable_virt_at_load(void);
bool kvm_arm_hyp_vgic(void);
unsigned int kvm_arm_halt_poll_ns(void);
unsigned int kvm_arm_halt_poll_ns_grow(void);
unsigned int kvm_arm_halt_poll_ns_grow_start(void);
unsigned int kvm_arm_halt_poll_ns_shrink(void);
#ifdef CONFIG_KVM_ARM_PRETEND
unsigned int kvm_arm_pretended_midr(unsigned int cpu);
bool kvm_arm_pretends_hyp_fault(void);
#endif

/* perf.c */
int kvm_arm_perf_monitors(int cpu, u64 config, bool interrupts);
struct perf_event *kvm_arm_perf_event_create(u32 monitors, u64 config, bool user,
					     bool kernel, bool interrupts);
void kvm_arm_perf_event_release(struct perf_event *event);
void kvm_arm_perf_event_enable(struct perf_event *event);
void kvm_arm_perf_event_disable(struct perf_event *event);
u64 kvm_arm_perf_event_resume(struct perf_event *event, u64 period);
u64 kvm_arm_perf_event_pause(struct perf_event *event);

/* raw_spinlock.c */
void kvm_arm_raw_spin_lock_init(raw_spinlock_t *lock, const char *name,
				struct lock_class_key *key);
void kvm_arm_raw_spin_lock(raw_spinlock_t *lock);
int kvm_arm_raw_spin_trylock(raw_spinlock_t *lock);
void kvm_arm_raw_spin_unlock(raw_spinlock_t *lock);
void kvm_arm_raw_spin_assert_is_held(raw_spinlock_t *lock);

/* signal.c */
sigset_t kvm_arm_sigmask_set(u64 mask);
void kvm_arm_sigmask_restore(sigset_t outer);

/* task.c */
bool kvm_arm_task_waits_for_cpu(struct task_struct *task);
bool kvm_arm_must_do_task_work(void);
bool kvm_arm_has_work(void);
bool kvm_arm_must_return_to_user(void);
bool kvm_arm_fatal_signal_pending(void);

/* user_page.c */
#define KVM_ARM_MEMORY_DEVICE		0
#define KVM_ARM_MEMORY_UNCACHED		1
#define KVM_ARM_MEMORY_WRITEBACK	2
void kvm_arm_mark_page_accessed(struct page *page);
void kvm_arm_mark_page_dirty(struct page *page);
int kvm_arm_get_user_pages_fast_only(unsigned long addr, int n,
				     unsigned int flags, struct page **pages);
unsigned int kvm_arm_user_limit(void);
bool kvm_arm_pfn_valid(unsigned long pfn);
bool kvm_arm_write_resident(unsigned long addr, const void *data, size_t size);
bool kvm_arm_make_writable(unsigned long addr, size_t size);
unsigned int kvm_arm_pgprot_memory(pgprot_t prot);
bool kvm_arm_is_huge_mapping(unsigned long addr);
bool kvm_arm_is_private_memory(struct vm_area_struct *vma);
unsigned int kvm_arm_count_empty(unsigned long addr, unsigned int n);

/* vfio.c */
bool kvm_arm_is_vfio_file(struct file *file);

/* wait.c */
void kvm_arm_rcuwait_init(struct rcuwait *wait);
int kvm_arm_rcuwait_interruptible(struct rcuwait *wait,
				  bool (*ready)(void *), void *arg);

#endif /* KVM_ARM_HELPERS_H */
