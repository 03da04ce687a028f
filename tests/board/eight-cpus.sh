#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# With max_vcpus=8, as many as GICv2 has, a bare-metal guest and the stock kernel run on eight
# vCPUs on a host with two CPUs. Numbers that cannot be are refused.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

MODULE_PARAMETERS=max_vcpus=8 ADD="$module $programs/monitor $programs/payload $zimage $guest_initrd" \
	TIMEOUT=600 on_board '
	monitor payload --payload payload --cpus 8 --timer-interrupts 500 --skip "CP15: every" --skip "MMIO without syndrome"
	monitor run --kernel vmlinuz --initrd guest.cpio --cpus 8 --mem 256 || exit
	rmmod kvm_arm || exit
	for number in 9 -1 eight; do
		insmod kvm_arm.ko max_vcpus=$number 2>&1 && exit 1
	done
	dmesg | grep "max_vcpus=9: must be" || exit
	insmod kvm_arm.ko max_vcpus=1 || exit
	monitor payload --payload payload --cpus 2 2>&1 && exit 1
	rmmod kvm_arm
' || fail "status $?"
expect 'guest: 8 CPUs'
expect 'guest: shutting down'
grep -aE '^(not )?ok ' <<<"$output" >"$work/subtests" || fail "the payload said nothing"
! grep '^not ok' "$work/subtests" || fail "some checks"
[ "$(grep -c '^ok ' "$work/subtests")" -ge 80 ] || fail "not all checks"
