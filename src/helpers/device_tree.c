// SPDX-License-Identifier: GPL-2.0
/*
 * Nodes of the device tree: for src/glue/device_tree.rs.
 */
#include <linux/of.h>
#include "helpers.h"

/* This is an inline function in kernels whose device tree cannot change. */
void kvm_arm_of_node_put(struct device_node *node)
{
	of_node_put(node);
}
