#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A vCPU that waits for a timer comes back sooner if it polls for a while before it sleeps. The
# parameter for this time can be changed while the module is loaded. Both ways are counted in
# instructions, so they are the same on any machine.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

ICOUNT=1 HOST_CPUS=1 TIMEOUT=600 ADD="$programs/monitor $programs/payload" on_board "$ciphers_are_tested"'
	knob=/sys/module/kvm_arm/parameters/halt_poll_ns
	for ns in 500000 0; do
		echo $ns >$knob
		monitor bench --payload payload | sed -n "s/^timer, WFI  *\([0-9]*\) .*/halt_poll_ns $ns: \1/p"
	done
	rmmod kvm_arm
' || fail "status $? of the board or of rmmod"
awake=$(sed -n 's/^halt_poll_ns 500000: //p' <<<"$output")
asleep=$(sed -n 's/^halt_poll_ns 0: //p' <<<"$output")
[ "$awake" -gt 16000 ] || fail "the timer fires too early"
# Polling saves the way through the scheduler and back.
[ $((asleep - awake)) -gt 1500 ] || fail "$awake instructions by looking out, $asleep by sleeping"
