#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# With kernel-irqchip=off the GIC is QEMU's, and the kernel tells it by the lines of each CPU
# when the timers and the PMU interrupt.

# shellcheck source=tests/qemu/common.sh
. "$(dirname "$0")/common.sh"

on_board_with_qemu '
	for cpus in 1 2; do
		boots none -M virt,kernel-irqchip=off -accel kvm -cpu host -smp $cpus -m 128
		must is_over
		must said "guest: user space reached, $cpus CPUs"
		echo "$cpus CPUs"
	done
	rmmod kvm_arm
'
expect '^1 CPUs'
expect '^2 CPUs'
