#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A fault inside HYP mode is reported by symbols of the kernel, when KVM is built in, and the next VM runs. (tests/board/hyp-fault.sh
# has the rest of the report.)

# shellcheck source=tests/in-tree/common.sh
. "$(dirname "$0")/common.sh"

build_kernel y

# The log is not searched for alarms: it has one.
output=$(
	LOG=$work/host.log TIMEOUT=300 ADD="$programs/monitor $programs/payload" RUN='
		fail() { echo "FAILED: $*"; exit 1; }
		dmesg -c >/dev/null
		fault=/sys/module/kvm_arm/parameters/pretend_hyp_fault
		echo 1 >$fault || fail "$fault cannot be written"
		monitor payload --payload payload --cpus 1 --only "timer: the" >/tmp/payload 2>&1 && fail "the guest went on after the fault"
		[ "$(cat $fault)" = 0 ] || fail "no entry"
		dmesg
		monitor payload --payload payload --cpus 2 --only SGI --only SPI >/tmp/payload || fail "payload"
		grep "^not ok" /tmp/payload && fail "payload"
		echo "all as before"
	' "$tree/tools/board" | tee "$work/said"
) || fail "status $? of the board"

expect '^all as before$'
expect 'kvm_arm: fault inside HYP mode \(vector 4\) on CPU [01]: data abort in HYP mode: '
expect 'kvm_arm: HYP mode was at guest_enter\+0x[0-9a-f]+/0x[0-9a-f]+ \(0xc[0-9a-f]{7}\)$'
expect 'kvm_arm: host: HYP mode was called by __hyp_call\+0x[0-9a-f]+/0x[0-9a-f]+ \(0xc[0-9a-f]{7}\)$'
expect ' .*from .*kvm_arm3kvm3run'
