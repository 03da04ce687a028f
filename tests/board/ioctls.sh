#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The program abi uses the ioctls rightly and wrongly, on both cores.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

for board in virt-a15 virt-a7; do
	result=0
	# One of them has VFIO, which KVM's VFIO device asks.
	[ $board = virt-a7 ] && export DRIVERS=vfio
	BOARD=$board ADD=$programs/abi TIMEOUT=600 on_board '
		abi; status=$?; rmmod kvm_arm || exit 1; exit $status
	' || result=$?
	# Each of its lines is a test.
	grep -aE '^(not )?ok ' <<<"$output" | sed "s/ok /&$board: /" >>"$work/subtests" ||
		fail "abi said nothing on $board"
	[ "$result" = 0 ] || failed+=" $board: status $result"
done
[ -z "${failed:-}" ] || fail "$failed"
