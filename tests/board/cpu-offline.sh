#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A CPU that goes away and comes back is a host again; VMs run before, between, after.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

ADD="$programs/monitor $programs/payload" on_board '
	guests() {
		monitor payload --payload payload --cpus 2 --only VFP --only banked --only SGI --only SPI \
			--only timer --only PSCI --timer-interrupts 500 | sed "s/ok /&$1: /"
	}
	cpu() {
		echo "$1" >/sys/devices/system/cpu/cpu1/online || exit 1
	}
	guests before
	cpu 0
	guests "one CPU offline"
	cpu 1
	guests "online again"
	cpu 0
	rmmod kvm_arm || exit 1
	cpu 1
	insmod /kvm_arm.ko || exit 1
	guests "loaded again"
	rmmod kvm_arm
' || fail "status $?"
grep -aE '^(not )?ok ' <<<"$output" >"$work/subtests" || fail "the payload said nothing"
! grep '^not ok' "$work/subtests" || fail "some checks"
