#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# On a host without a virtual GIC, the GIC of QEMU's guests is QEMU's own: with kernel-irqchip=off, and
# without it, too, since there is no other.

# shellcheck source=tests/qemu/common.sh
. "$(dirname "$0")/common.sh"

virt_tree
# The tree names GICD and GICC, but neither GICH nor GICV.
read -r -a cells < <(tree_property -t x "$DTB" /intc@8000000 reg)
edit_tree -t x "$DTB" /intc@8000000 reg "${cells[@]:0:8}"
on_board_with_qemu '
	dmesg >/tmp/log
	must grep -q "kvm_arm: .*KVM_CAP_IRQCHIP is 0" /tmp/log
	for machine in virt,kernel-irqchip=off virt; do
		boots none -M $machine -accel kvm -cpu host -smp 2 -m 128
		must is_over
		must said "guest: user space reached, 2 CPUs"
		must said "guest: counters of armv7_cortex_a15"
		echo "booted on $machine"
	done
	rmmod kvm_arm
'
expect '^booted on virt,kernel-irqchip=off$'
expect '^booted on virt$'
