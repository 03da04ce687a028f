#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The stock kernel boots under QEMU on the Versatile Express, with a disk.

# shellcheck source=tests/qemu/common.sh
. "$(dirname "$0")/common.sh"

tree_of_board=$cache/kernel/$version/trees/vexpress-v2p-ca15-tc1.dtb
MORE=$tree_of_board on_board_with_qemu '
	for cpus in 1 2; do
		seq 13000 | head -c 131072 >/tmp/disk
		boots none -M vexpress-a15,audiodev=none -audiodev none,id=none -accel kvm -cpu cortex-a15 -smp $cpus -m 192 \
			-dtb /add/vexpress-v2p-ca15-tc1.dtb \
			-drive if=none,id=disk,file=/tmp/disk,format=raw -device virtio-blk-device,drive=disk
		must is_over
		must said "guest: user space reached, $cpus CPUs"
		must said "guest: virtio_mmio device"
		echo "$cpus CPUs"
	done
	rmmod kvm_arm
'
expect '^1 CPUs'
expect '^2 CPUs'
