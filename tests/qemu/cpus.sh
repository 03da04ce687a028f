#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The stock kernel boots under QEMU on the virt board, with 1, 2, 4 and 8 CPUs.

# shellcheck source=tests/qemu/common.sh
. "$(dirname "$0")/common.sh"

on_board_with_qemu '
	for cpus in 1 2 4 8; do
		model=host
		[ $cpus != 2 ] || model=max
		boots none -M virt -accel kvm -cpu $model -smp $cpus -m 128
		must is_over
		must said "guest: user space reached, $cpus CPUs"
		must said "guest: counters of armv7_cortex_a15"
		echo "$cpus CPUs"
	done
	rmmod kvm_arm
'
for cpus in 1 2 4 8; do
	expect "^$cpus CPUs"
done
