/* SPDX-License-Identifier: GPL-2.0 */
/* What bindgen reads for src/bindings.rs. */
#include <linux/anon_inodes.h>
#include <linux/cpu_pm.h>
#include <linux/cpuhotplug.h>
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/kvm.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/of_address.h>
#include <linux/of_irq.h>
#include <linux/reboot.h>
#include <linux/sched/stat.h>
#include "world_switch.h"
#include "helpers.h"
#include "trace.h"

/* The default of max_vcpus: of Kconfig inside a kernel tree, else its default. */
#ifdef CONFIG_KVM_ARM_MAX_VCPUS
#define KVM_ARM_DEFAULT_MAX_VCPUS	CONFIG_KVM_ARM_MAX_VCPUS
#else
#define KVM_ARM_DEFAULT_MAX_VCPUS	4
#endif
