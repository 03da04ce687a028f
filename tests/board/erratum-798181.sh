#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# On revisions of Cortex-A15 with erratum 798181, CPUs that may use invalidated entries of TLBs are
# interrupted, and memory comes and goes under guests as elsewhere. The emulator's own revision,
# r4p0, does not have the erratum, nor has Cortex-A7.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

# r2p1; r3p3, which needs no interrupts; r4p0.
for midr in 0x412fc0f1 0x413fc0f3 0x414fc0f0; do
	result=0
	QEMU_ARGS="-cpu cortex-a15,midr=$midr" ADD=$programs/abi TIMEOUT=600 on_board '
		abi tlb: memory: stats: userfault:; status=$?; rmmod kvm_arm || exit 1; exit $status
	' || result=$?
	grep -aE '^(not )?ok ' <<<"$output" | sed "s/ok /&$midr: /" >>"$work/subtests" ||
		fail "abi said nothing with MIDR $midr"
	[ "$result" = 0 ] || failed+=" $midr: status $result"
done
[ -z "${failed:-}" ] || fail "$failed"
