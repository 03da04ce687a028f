// SPDX-License-Identifier: GPL-2.0
/*
 * Symbols for static inline functions and macros of the kernel, in the manner
 * of rust/helpers/ in the kernel tree. Nothing here decides anything.
 */
#include <linux/compiler.h>
#include <linux/context_tracking.h>
#include <linux/cpumask.h>
#include <linux/eventfd.h>
#include <linux/ftrace.h>
#include <linux/highmem.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/poll.h>
#include <linux/perf_event.h>
#include <linux/ratelimit.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/smp.h>
#include <linux/swap.h>
#include <linux/task_work.h>
#include <linux/vfio.h>
#include <linux/vtime.h>
#include <linux/wait.h>
#include <asm/cacheflush.h>
#include <asm/hwcap.h>
#include <asm/memory.h>
#include "helpers.h"

/* As <linux/kvm_host.h> has them, with the default of Linux 5.6 for Arm. */
#define HALT_POLL_NS_DEFAULT	500000

static unsigned int halt_poll_ns = HALT_POLL_NS_DEFAULT;
module_param(halt_poll_ns, uint, 0644);
MODULE_PARM_DESC(halt_poll_ns, "The longest time for which a vCPU looks out for an interrupt before it sleeps (0: never)");

static unsigned int halt_poll_ns_grow = 2;
module_param(halt_poll_ns_grow, uint, 0644);
MODULE_PARM_DESC(halt_poll_ns_grow, "The factor by which that time grows (0: never)");

static unsigned int halt_poll_ns_grow_start = 10000;
module_param(halt_poll_ns_grow_start, uint, 0644);
MODULE_PARM_DESC(halt_poll_ns_grow_start, "From where it grows");

static unsigned int halt_poll_ns_shrink = 2;
module_param(halt_poll_ns_shrink, uint, 0644);
MODULE_PARM_DESC(halt_poll_ns_shrink, "The divisor by which it shrinks (0: to nothing)");

unsigned int kvm_arm_halt_poll_ns(void)
{
	return READ_ONCE(halt_poll_ns);
}

unsigned int kvm_arm_halt_poll_ns_grow(void)
{
	return READ_ONCE(halt_poll_ns_grow);
}

unsigned int kvm_arm_halt_poll_ns_grow_start(void)
{
	return READ_ONCE(halt_poll_ns_grow_start);
}

unsigned int kvm_arm_halt_poll_ns_shrink(void)
{
	return READ_ONCE(halt_poll_ns_shrink);
}

/* Restores the state of the interrupts for a moment. */
void kvm_arm_local_irq_window(unsigned long flags)
{
	local_irq_restore(flags);
	/* An interrupt that is pending is taken at the latest here (B1.8.5). */
	isb();
	local_irq_disable();
}

unsigned long kvm_arm_local_irq_save(void)
{
	unsigned long flags;

	local_irq_save(flags);
	return flags;
}

void kvm_arm_local_irq_restore(unsigned long flags)
{
	local_irq_restore(flags);
}

void kvm_arm_preempt_disable(void)
{
	preempt_disable();
}

void kvm_arm_preempt_enable(void)
{
	preempt_enable();
}

bool kvm_arm_task_waits_for_cpu(struct task_struct *task)
{
	return task_is_running(task) && !READ_ONCE(task->on_cpu);
}

bool kvm_arm_need_resched(void)
{
	return need_resched();
}

void kvm_arm_cond_resched(void)
{
	cond_resched();
}

/*
 * The next four are what <linux/kvm_host.h> has inline for every
 * architecture; it cannot be included without an asm/kvm_host.h.
 */
void kvm_arm_guest_timing_enter_irqoff(void)
{
	vtime_account_guest_enter();
}

void kvm_arm_guest_timing_exit_irqoff(void)
{
	vtime_account_guest_exit();
}

void kvm_arm_guest_state_enter_irqoff(void)
{
	trace_hardirqs_on_prepare();
	lockdep_hardirqs_on_prepare();
	if (!context_tracking_guest_enter())
		rcu_virt_note_context_switch();
	lockdep_hardirqs_on(CALLER_ADDR0);
}

void kvm_arm_guest_state_exit_irqoff(void)
{
	lockdep_hardirqs_off(CALLER_ADDR0);
	context_tracking_guest_exit();
	trace_hardirqs_off_finish();
}

bool kvm_arm_must_do_task_work(void)
{
	if (!task_work_pending(current))
		return false;
	set_thread_flag(TIF_NOTIFY_SIGNAL);
	return true;
}

bool kvm_arm_is_over_memory_high(void)
{
#ifdef CONFIG_MEMCG
	return current->memcg_nr_pages_over_high;
#else
	return false;
#endif
}

bool kvm_arm_is_vfio_file(struct file *file)
{
	/* Nobody has such a file while VFIO is not loaded. */
	bool (*is_valid)(struct file *file) = symbol_get(vfio_file_is_valid);
	bool result;

	if (!is_valid)
		return false;
	result = is_valid(file);
	symbol_put(vfio_file_is_valid);
	return result;
}

int kvm_arm_mutex_lock_killable(struct mutex *lock)
{
	return mutex_lock_killable(lock);
}

bool kvm_arm_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

#ifdef CONFIG_PREEMPT_RT
#error "kvm_arm takes spinlocks with interrupts off"
#endif

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

void kvm_arm_free_pages(struct page *page, unsigned int order)
{
	__free_pages(page, order);
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

bool kvm_arm_range_blockable(const struct mmu_notifier_range *range)
{
	return mmu_notifier_range_blockable(range);
}

void kvm_arm_init_waitqueue(struct wait_queue_head *wq)
{
	init_waitqueue_head(wq);
}

void kvm_arm_wake_up(struct wait_queue_head *wq)
{
	wake_up(wq);
}

static void kvm_arm_listener_queue(struct file *file,
				   struct wait_queue_head *wq,
				   struct poll_table_struct *table)
{
	struct kvm_arm_listener *listener =
		container_of(table, struct kvm_arm_listener, table);

	add_wait_queue(wq, &listener->entry);
}

unsigned int kvm_arm_listen(struct kvm_arm_listener *listener,
			    struct file *file, wait_queue_func_t wake)
{
	init_waitqueue_func_entry(&listener->entry, wake);
	init_poll_funcptr(&listener->table, kvm_arm_listener_queue);
	return (__force unsigned int)vfs_poll(file, &listener->table);
}

void kvm_arm_unlisten(struct kvm_arm_listener *listener,
		      struct eventfd_ctx *ctx)
{
	u64 count;

	eventfd_ctx_remove_wait_queue(ctx, &listener->entry, &count);
}

int kvm_arm_wait_interruptible(struct wait_queue_head *wq,
			       bool (*ready)(void *), void *arg)
{
	return wait_event_interruptible(*wq, ready(arg));
}

void __percpu *kvm_arm_alloc_percpu_ptr(void)
{
	return alloc_percpu(void *);
}

void kvm_arm_free_percpu_ptr(void __percpu *ptr)
{
	free_percpu(ptr);
}

int kvm_arm_on_each_cpu(void (*func)(void *), void *info)
{
	on_each_cpu(func, info, 1);
	return 0;
}

unsigned int kvm_arm_nr_cpu_ids(void)
{
	return nr_cpu_ids;
}

bool kvm_arm_cpu_possible(unsigned int cpu)
{
	return cpu_possible(cpu);
}

unsigned int kvm_arm_smp_processor_id(void)
{
	return smp_processor_id();
}

bool kvm_arm_has_vfp(void)
{
	return elf_hwcap & HWCAP_VFP;
}

bool kvm_arm_has_vfp_d32(void)
{
	return elf_hwcap & HWCAP_VFPD32;
}

/*
 * A thread waits with a mask of its own, as in pselect(). Its real mask is kept
 * where the kernel looks for it; the previous content of that place is the
 * result, so that calls can be nested.
 */
sigset_t kvm_arm_sigmask_set(u64 mask)
{
	sigset_t outer = current->real_blocked;
	sigset_t set;

	set.sig[0] = mask;
	set.sig[1] = mask >> 32;
	BUILD_BUG_ON(_NSIG_WORDS != 2);
	sigdelsetmask(&set, sigmask(SIGKILL) | sigmask(SIGSTOP));
	sigprocmask(SIG_SETMASK, &set, &current->real_blocked);
	return outer;
}

void kvm_arm_sigmask_restore(sigset_t outer)
{
	sigprocmask(SIG_SETMASK, &current->real_blocked, NULL);
	current->real_blocked = outer;
}

unsigned int kvm_arm_irq_to_hwirq(unsigned int irq)
{
	struct irq_data *data = irq_get_irq_data(irq);

	return data ? irqd_to_hwirq(data) : 0;
}

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
	return !fault_in_safe_writeable((const char __user *)addr, size);
}

/* Both formats of the host's tables have these names for the memory type. */
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

/* A state of its own: what guests can log must not hide it. */
bool kvm_arm_fault_log_allowed(void)
{
	static DEFINE_RATELIMIT_STATE(state, DEFAULT_RATELIMIT_INTERVAL,
				      DEFAULT_RATELIMIT_BURST);

	return __ratelimit(&state);
}

bool kvm_arm_log_allowed(void)
{
	static DEFINE_RATELIMIT_STATE(state, DEFAULT_RATELIMIT_INTERVAL,
				      DEFAULT_RATELIMIT_BURST);

	return __ratelimit(&state);
}

/*
 * A parameter of the module that can be changed while it is loaded, which those
 * of Rust cannot.
 */
static bool kvm_arm_debug;
module_param_named(debug, kvm_arm_debug, bool, 0644);
MODULE_PARM_DESC(debug, "Log what is unusual about guests and monitors (default: off)");

bool kvm_arm_debug_allowed(void)
{
	static DEFINE_RATELIMIT_STATE(state, DEFAULT_RATELIMIT_INTERVAL, 100);

	return READ_ONCE(kvm_arm_debug) && __ratelimit(&state);
}

bool kvm_arm_is_huge_mapping(unsigned long addr)
{
	unsigned long flags;
	bool huge = false;
	pgd_t *pgd;
	pud_t pud;
	pmd_t pmd;

	/*
	 * Entries are read once: that the tables are not freed does not keep
	 * another CPU from clearing what leads to them. p4d and pud are folded
	 * into pgd, so there is one entry above the pmd.
	 */
	BUILD_BUG_ON(!mm_p4d_folded(NULL) || !mm_pud_folded(NULL));
	local_irq_save(flags);
	pgd = pgd_offset(current->mm, addr);
	pud = READ_ONCE(*pud_offset(p4d_offset(pgd, addr), addr));
	if (pud_none(pud))
		goto out;
	pmd = pmdp_get(pmd_offset(&pud, addr));
	huge = pmd_present(pmd) && pmd_leaf(pmd);
out:
	local_irq_restore(flags);
	return huge;
}

#ifdef CONFIG_PERF_EVENTS
/* A period that nothing reaches, and that the perf core accepts. */
#define NO_OVERFLOW	(1ULL << 62)

/* The guest comes out for the interrupt itself, and its counters are read then. */
static void ignore_overflow(struct perf_event *event, struct perf_sample_data *data,
			    struct pt_regs *regs)
{
}

struct perf_event *kvm_arm_perf_event_create(u64 config, bool user, bool kernel,
					     bool interrupts)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_RAW,
		.size = sizeof(attr),
		.config = config,
		.sample_period = interrupts ? NO_OVERFLOW : 0,
		.exclude_user = !user,
		.exclude_kernel = !kernel,
		.exclude_hv = 1,
	};

	return perf_event_create_kernel_counter(&attr, -1, current, ignore_overflow, NULL);
}

void kvm_arm_perf_event_release(struct perf_event *event)
{
	perf_event_release_kernel(event);
}

void kvm_arm_perf_event_enable(struct perf_event *event)
{
	perf_event_enable(event);
}

void kvm_arm_perf_event_disable(struct perf_event *event)
{
	perf_event_disable(event);
}

static bool is_on_this_cpu(struct perf_event *event)
{
	return READ_ONCE(event->state) == PERF_EVENT_STATE_ACTIVE &&
	       READ_ONCE(event->oncpu) == smp_processor_id();
}

static void stop(struct perf_event *event)
{
	if (!(event->hw.state & PERF_HES_STOPPED))
		event->pmu->stop(event, PERF_EF_UPDATE);
}

/* Takes effect when the event is started. */
static void set_period(struct perf_event *event, u64 period)
{
	if (!event->attr.sample_period)
		return;
	event->attr.sample_period = period;
	event->hw.sample_period = period;
	event->hw.last_period = period;
	local64_set(&event->hw.period_left, period);
}

u64 kvm_arm_perf_event_resume(struct perf_event *event, u64 period)
{
	u64 count;

	if (!is_on_this_cpu(event))
		return local64_read(&event->count);
	/* The scheduler starts it when it brings the thread back. */
	stop(event);
	count = local64_read(&event->count);
	set_period(event, period ? min(period, NO_OVERFLOW) : NO_OVERFLOW);
	event->pmu->start(event, PERF_EF_RELOAD);
	return count;
}

u64 kvm_arm_perf_event_pause(struct perf_event *event)
{
	if (is_on_this_cpu(event)) {
		stop(event);
		set_period(event, NO_OVERFLOW);
	}
	return local64_read(&event->count);
}
#else
struct perf_event *kvm_arm_perf_event_create(u64 config, bool user, bool kernel,
					     bool interrupts)
{
	return ERR_PTR(-EOPNOTSUPP);
}

void kvm_arm_perf_event_release(struct perf_event *event)
{
}

void kvm_arm_perf_event_enable(struct perf_event *event)
{
}

void kvm_arm_perf_event_disable(struct perf_event *event)
{
}

u64 kvm_arm_perf_event_resume(struct perf_event *event, u64 period)
{
	return 0;
}

u64 kvm_arm_perf_event_pause(struct perf_event *event)
{
	return 0;
}
#endif
