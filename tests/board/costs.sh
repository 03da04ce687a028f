#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The costs of operations (make bench) have limits. Nothing costs 3 % more than the baseline says,
# costs.json. Hundreds of slots slow nothing down. An answer in HYP mode costs a fraction of one by the
# host. Nothing costs more than in the C implementation, except where the stock kernel itself has become
# dearer. The costs are counted, so they are the same on any machine.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

output=$(COSTS=$work/costs.json LOG=$work/host.log "$tree/tools/bench" | tee "$work/said") || fail "status $? of tools/bench"

# cost OPERATION [COLUMN]: its cost here, or (2) in the C implementation.
cost() {
	local value
	value=$(awk -v name="$1" -v column="${2:-1}" '
		{ rest = index($0, name) == 1 ? substr($0, length(name) + 1) : "" }
		rest ~ /^ +[0-9]/ { split(rest, costs, " "); print costs[column] }
	' <<<"$output")
	# On standard error, since the caller takes standard output.
	[[ $value =~ ^[0-9]+$ ]] || fail "no cost of \"$1\"" >&2
	echo "$value"
}

# at_most PERCENT OPERATION OTHER [COLUMN]: the operation costs no more than so many percent of
# the other, which is taken here or (2) in the C implementation.
at_most() {
	local here other
	here=$(cost "$2")
	other=$(cost "$3" "${4:-1}")
	[ $((here * 100)) -le $((other * $1)) ] || fail "$2: $here, which is more than $1 % of $other"
}

for slots in 10 500; do
	at_most 110 "KVM_RUN to an MMIO exit, $slots slots" 'KVM_RUN to an MMIO exit, 1 slot'
done
at_most 110 'first touch, resident, 500 slots' 'first touch, resident pages'

for operation in 'hypercall (PSCI_VERSION)' 'trapped CP15 read (ACTLR)'; do
	at_most 40 "$operation" "$operation" 2
done
# On another kernel than the stock one, all else costs something else.
if is_stock; then
	for operation in 'distributor read (GICD_TYPER)' 'MMIO read by the monitor' 'SGI to self' \
		'timer, spinning' 'first touch, THP always, added' 'first touch, THP never, added' \
		'KVM_RUN to an MMIO exit, 1 slot' 'KVM_RUN to an MMIO exit, 10 slots' \
		'VM create and close' 'VM create, 64 kept alive' 'vCPU init'; do
		at_most 100 "$operation" "$operation" 2
	done
	(cd "$tree" && tools/in-root cargo run --quiet --locked --release --package costs -- \
		tests/board/costs.json "$work/costs.json") || fail "a cost has grown"
fi
