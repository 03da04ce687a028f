#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The stock kernel boots as a guest on Cortex-A17 and on Cortex-A12. The emulator has
# neither: it gives its Cortex-A15 their names, by which host and guest know errata, the
# branch predictor, and the performance monitors.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

counted
for midr in 0x411fc0e1 0x410fc0d1; do
	QEMU_ARGS="-cpu cortex-a15,midr=$midr" expect_guest 2
	case $midr in
	*c0e*) core=armv7_cortex_a17 ;;
	*c0d*) core=armv7_cortex_a12 ;;
	esac
	expect "guest: counters of $core"
	grep -q 'Spectre v2: using BPIALL workaround' "$work/host.log" || fail "the host is no $core"
done

# The ioctls that depend on the core, and the calls of its firmware.
QEMU_ARGS="-cpu cortex-a15,midr=0x411fc0e1" ADD=$programs/abi on_board '
	abi TARGET INIT: PMU firmware invariant L2CTLR && rmmod kvm_arm
' || fail "status $?"
