#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Guests are debugged as before on a CPU that was offline while HYP mode was the module's. That CPU is taken over before the
# kernel has unlocked its debug registers.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

MODULE_PARAMETERS=enable_virt_at_load=1 HOST_CPUS=2 TIMEOUT=300 ADD=$programs/abi on_board '
	fail() { echo "FAILED: $*"; exit 1; }
	echo 0 >/sys/devices/system/cpu/cpu1/online || fail "CPU 1 does not go offline"
	echo 1 >/sys/devices/system/cpu/cpu1/online || fail "CPU 1 does not come online"
	for mask in 1 2; do
		taskset $mask abi "SET_GUEST_DEBUG: steps over" "debug registers: each" || fail "on the CPU of mask $mask"
	done
	rmmod kvm_arm || fail "rmmod"
' || fail "status $?"
[ "$(grep -c "^ok " <<<"$output")" = 4 ] || fail "not all checks"
