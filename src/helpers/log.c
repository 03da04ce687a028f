// SPDX-License-Identifier: GPL-2.0
/*
 * Limits of log lines, and addresses as symbols: for src/glue/log.rs.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kconfig.h>
#include <linux/moduleparam.h>
#include <linux/printk.h>
#include <linux/ratelimit.h>
#include "helpers.h"

bool kvm_arm_log_allowed(void)
{
	static DEFINE_RATELIMIT_STATE(state, DEFAULT_RATELIMIT_INTERVAL,
				      DEFAULT_RATELIMIT_BURST);

	return __ratelimit(&state);
}

/* This limit has a state of its own: lines that guests cause must not hide these. */
bool kvm_arm_fault_log_allowed(void)
{
	static DEFINE_RATELIMIT_STATE(state, DEFAULT_RATELIMIT_INTERVAL,
				      DEFAULT_RATELIMIT_BURST);

	return __ratelimit(&state);
}

/* The parameters of the kernel crate cannot change while the module is loaded; this one can. */
static bool kvm_arm_debug = IS_ENABLED(CONFIG_KVM_ARM_DEBUG);
module_param_named(debug, kvm_arm_debug, bool, 0644);
MODULE_PARM_DESC(debug, "Log unusual events of guests and monitors (default: off)");

bool kvm_arm_debug_allowed(void)
{
	static DEFINE_RATELIMIT_STATE(state, DEFAULT_RATELIMIT_INTERVAL, 100);

	return READ_ONCE(kvm_arm_debug) && __ratelimit(&state);
}

/* The kernel crate cannot print symbols. */
void kvm_arm_log_symbol(const char *what, unsigned long address)
{
	pr_err("%s %pS (0x%08lx)\n", what, (void *)address, address);
}
