#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A bare-metal guest checks its machine: on both cores, with one CPU and with four, with
# the interrupt controller made in both ways that the ABI has, and all on one host CPU.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

for board in virt-a15 virt-a7; do
	BOARD=$board ADD="$programs/monitor $programs/payload" on_board '
		for cpus in 1 4; do
			for irqchip in device legacy; do
				monitor payload --payload payload --cpus $cpus --irqchip $irqchip |
					sed "s/ok /&'"$board"' $cpus CPUs $irqchip: /"
			done
		done
		# All on one CPU of the host, where they take turns with the hardware.
		taskset 1 monitor payload --payload payload --cpus 4 |
			sed "s/ok /&'"$board"' 4 CPUs on one: /"
		rmmod kvm_arm
	' || fail "status $? on $board"
	grep -aE '^(not )?ok ' <<<"$output" >>"$work/subtests" || fail "the payload said nothing"
done
! grep '^not ok' "$work/subtests" || fail "some checks"
[ "$(wc -l <"$work/subtests")" -ge 80 ] || fail "too few checks"
