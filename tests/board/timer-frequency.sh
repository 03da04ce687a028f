#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The device tree knows the frequency of the timer better than CNTFRQ, which the boot loaders of
# some boards leave zero. Here the tree says eight times what CNTFRQ says. The host's clock
# follows the tree, so a vCPU that waits for its timer sleeps eight times as long unless the
# module follows the tree, too. The test counts instructions.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

export HOST_CPUS=1 ICOUNT=1
virt_tree
edit_tree -t u "$DTB" /timer clock-frequency 500000000
ADD="$programs/monitor $programs/payload" TIMEOUT=${TIMEOUT:-600} on_board "$ciphers_are_tested"'
	echo 0 >/sys/module/kvm_arm/parameters/halt_poll_ns
	dmesg | grep -o "cp15 timer running at 500.00MHz" || exit
	monitor bench --payload payload | sed -n "s/^timer, WFI  *\([0-9]*\) .*/timer, WFI: \1/p"
	rmmod kvm_arm
' || fail "status $? of the board or of rmmod"
expect '^cp15 timer'
cost=$(sed -n 's/^timer, WFI: //p' <<<"$output")
# The timer fires after 16,000, and the rest is the way back.
[ "$cost" -ge 16000 ] || fail "the timer fires too early: $cost"
[ "$cost" -le 64000 ] || fail "a vCPU that waits for its timer comes back after $cost instructions"
