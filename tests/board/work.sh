#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Ordinary work costs a guest little more than a native process (tools/bench-work), with one, two and four vCPUs
# on one CPU of the host. Nothing costs 3 % more than the baseline says, work.json. A vCPU that spins for a lock
# must not do so until the host's next tick. The costs are counted, so they are the same on any machine.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

HOST_CPUS=1 COSTS=$work/work.json LOG=$work/host.log "$tree/tools/bench-work" || fail "status $? of tools/bench-work"

# cost MACHINE WORK: instructions of an operation, by the time that it takes, with all sleep.
cost() {
	local cost
	cost=$(sed -nE "s/^ *\"$1: $2\":.*\"cost\": ?([0-9]+).*/\1/p" "$work/work.json")
	[ -n "$cost" ] || fail "no cost of \"$2\" with $1" >&2
	printf '%s\n' "$cost"
}

# at_most LIMIT MACHINE WORK
at_most() {
	local cost
	cost=$(cost "$2" "$3")
	[ "$cost" -le "$1" ] || fail "$3 with $2: $cost instructions, which is more than $1"
}

# On another kernel than the stock one, all costs something else.
is_stock || exit 0

# The limits are the costs of the C implementation on a small kernel of its own time, but for two.
# To sleep and wake up costs three times as much in the stock kernel as in that one. And a fork's
# cost is that of copying the process, which was a smaller one there (219,710 with 2 CPUs): here the
# same guest with one CPU, where nobody spins, is the measure.
alone=$(cost '1 vCPU' 'fork and wait')
at_most 30391 '2 vCPUs' 'round trip by pipes'
at_most 42000 '4 vCPUs' 'round trip by pipes' # C: 38,092
at_most $((alone * 135 / 100)) '2 vCPUs' 'fork and wait'
at_most $((alone * 135 / 100)) '4 vCPUs' 'fork and wait'
at_most 8964 '2 vCPUs' 'message over a socket pair'
at_most 11212 '4 vCPUs' 'message over a socket pair'

(cd "$tree" && tools/in-root cargo run --quiet --locked --release --package costs -- \
	tests/board/work.json "$work/work.json") || fail "a cost has grown"
