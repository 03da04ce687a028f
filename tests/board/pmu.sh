#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A guest's performance monitors where the host has a driver for its own: with the interrupt of
# the counters, and without.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

# punctual: on a board whose time is a count of instructions, the interrupt comes at once, and does
# not wait for the next tick. Once in a while the host has something else to do.
punctual() {
	ICOUNT=1 ADD=$programs/abi on_board '
		sleep 2
		ok=0
		for try in 1 2 3 4 5; do
			PUNCTUAL=1 abi "PMU: an overflow interrupts a guest that spins" && ok=$((ok + 1))
		done
		[ "$ok" -ge 3 ]
	' || fail "an interrupt is late"
}

export HOST_CPUS=1
punctual
virt_tree
edit_tree -p -t s "$DTB" /pmu compatible arm,cortex-a15-pmu
edit_tree -t x "$DTB" /pmu interrupts 1 7 104
punctual

HOST_CPUS=2
virt_tree
edit_tree -p -t s "$DTB" /pmu compatible arm,cortex-a15-pmu
for interrupts in 'with an interrupt' 'without'; do
	if [ "$interrupts" = without ]; then
		edit_tree -d "$DTB" /pmu interrupts
	else
		edit_tree -t x "$DTB" /pmu interrupts 1 7 304
	fi
	ADD=$programs/abi TIMEOUT=300 on_board '
		ls /sys/bus/event_source/devices
		abi PMU
		status=$?
		rmmod kvm_arm || exit 1
		exit $status
	' || fail "$interrupts: status $?"
	expect '^armv7_cortex_a15$'
	sed -nE "s/^((not )?ok PMU)(: .*)/\1 of the host, $interrupts\3/p" <<<"$output" >>"$work/subtests"
done
