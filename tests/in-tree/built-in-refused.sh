#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A kernel with KVM built in boots as any other where KVM cannot work: the log has the reason, once, and there is no /dev/kvm.

# shellcheck source=tests/in-tree/common.sh
. "$(dirname "$0")/common.sh"

build_kernel y

MACHINE_ARGS=virtualization=off on_board '
	[ -e /dev/kvm ] && { echo "there is a /dev/kvm"; exit 1; }
	grep kvm_arm /proc/interrupts && { echo "an interrupt is there"; exit 1; }
	dmesg | sed -n "s/^\[[^]]*\] kvm_arm: /log: /p"
' || fail "status $?"
[ "$(grep -c '^log: ' <<<"$output")" = 1 ] || fail "not one line of the log is about KVM"
expect '^log: this CPU \(MIDR 0x[0-9a-f]{8}\) has no virtualization extensions: KVM needs Cortex-A15'
