#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A guest writes all ones to every encoding of CP14 and CP15, on both cores. Neither the
# host, whose registers a module shows, nor a second guest on the same CPU may notice.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

build_host_registers

for board in virt-a15 virt-a7; do
	BOARD=$board HOST_CPUS=1 ADD="$programs/abi $registers" TIMEOUT=${TIMEOUT:-300} \
		on_board '
		insmod /add/host_registers.ko || exit
		abi --coprocessors && rmmod kvm_arm
	' || fail "status $? on $board"
	expect "^the host's registers are looked at$"
	expect ': the host and the other guest are as they were$'
done
