#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What operations cost (make bench): hundreds of slots slow nothing down, what is answered in HYP
# mode costs a fraction of what it costs by way of the host, and nothing costs more than in the C
# implementation but what the stock kernel itself makes dearer. Counted in instructions, which come
# out the same on any machine.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

ICOUNT=1 HOST_CPUS=1 TIMEOUT=300 ADD="$programs/monitor $programs/payload" on_board '
	while pidof cryptomgr_test >/dev/null; do sleep 1; done
	monitor bench --payload payload && rmmod kvm_arm
' || fail "status $? of the board, of the monitor or of rmmod"

# cost OPERATION [COLUMN]: what it costs here, or (2) in the C implementation.
cost() {
	local value
	value=$(awk -v name="$1" -v column="${2:-1}" '
		{ rest = index($0, name) == 1 ? substr($0, length(name) + 1) : "" }
		rest ~ /^ +[0-9]/ { split(rest, costs, " "); print costs[column] }
	' <<<"$output")
	[[ $value =~ ^[0-9]+$ ]] || fail "no cost of \"$1\""
	echo "$value"
}

# at_most PERCENT OPERATION COST: of that.
at_most() {
	local here
	here=$(cost "$2")
	[ $((here * 100)) -le $(($3 * $1)) ] || fail "$2: $here, which is more than $1 % of $3"
}

for slots in 10 500; do
	at_most 110 "KVM_RUN to an MMIO exit, $slots slots" "$(cost 'KVM_RUN to an MMIO exit, 1 slot')"
done
at_most 110 'first touch, resident, 500 slots' "$(cost 'first touch, resident pages')"

for operation in 'hypercall (PSCI_VERSION)' 'trapped CP15 read (ACTLR)'; do
	at_most 40 "$operation" "$(cost "$operation" 2)"
done
# A kernel that looks for defects makes all else dearer.
if [ "${DEBUG_KERNEL:-0}" = 0 ]; then
	for operation in 'distributor read (GICD_TYPER)' 'MMIO read by the monitor' 'SGI to self' \
		'timer, spinning' 'first touch, THP always' 'KVM_RUN to an MMIO exit, 1 slot' \
		'KVM_RUN to an MMIO exit, 10 slots' 'VM create and close' 'VM create, 64 kept alive' \
		'vCPU init'; do
		at_most 100 "$operation" "$(cost "$operation" 2)"
	done
fi
