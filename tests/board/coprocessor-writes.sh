#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A guest writes all ones to every encoding of CP14 and CP15, on both cores. Neither the
# host, whose registers a module shows, nor a second guest on the same CPU may notice.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

registers=$work/host_registers
mkdir -p "$registers"
MAKEFLAGS='' "$tree/tools/in-root" make --no-print-directory -C "$cache/kernel/$version/source" \
	ARCH=arm CROSS_COMPILE=arm-linux-gnueabihf- CC="$compiler" \
	KERNELRELEASE="$release" M="$tree/tests/board/host_registers" MO="$registers" modules \
	>"$work/build.log" 2>&1 || fail "the module with the host's registers: $work/build.log"

for board in virt-a15 virt-a7; do
	BOARD=$board HOST_CPUS=1 ADD="$programs/abi $registers/host_registers.ko" TIMEOUT=${TIMEOUT:-300} \
		on_board '
		insmod /add/host_registers.ko || exit
		abi --coprocessors && rmmod kvm_arm
	' || fail "status $? on $board"
	expect "^the host's registers are looked at$"
	expect ': the host and the other guest are as they were$'
done
