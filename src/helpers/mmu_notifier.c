// SPDX-License-Identifier: GPL-2.0
/*
 * MMU notifiers: for src/glue/mmu_notifier.rs.
 */
#include <linux/mmu_notifier.h>
#include "helpers.h"

bool kvm_arm_range_blockable(const struct mmu_notifier_range *range)
{
	return mmu_notifier_range_blockable(range);
}
