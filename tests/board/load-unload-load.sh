#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The module loads, unloads without a trace, and loads again.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

for HOST_CPUS in 1 4; do
	export HOST_CPUS
	ADD=$module LOAD=0 on_board '
		for turn in 1 2 3; do
			insmod kvm_arm.ko || exit 1
			[ -c /dev/kvm ] || { echo "no /dev/kvm in turn $turn"; exit 1; }
			rmmod kvm_arm || exit 1
			[ -e /dev/kvm ] && { echo "/dev/kvm is still there in turn $turn"; exit 1; }
			grep -q ^kvm_arm /proc/modules && { echo "the module is still there"; exit 1; }
			grep kvm_arm /proc/interrupts && { echo "an interrupt is still there"; exit 1; }
		done
		echo "three turns"
	' || fail "with $HOST_CPUS CPUs"
	expect 'three turns'
done
