#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The same kernel with KVM as a module of its tree: it is not tainted by loading it, runs the payload and Debian's kernel as
# a guest, and the module goes and comes.

# shellcheck source=tests/in-tree/common.sh
. "$(dirname "$0")/common.sh"

build_kernel m

ADD="$in_tree/m/kvm_arm.ko $programs/monitor $programs/payload $zimage $guest_initrd" TIMEOUT=600 on_board '
	fail() { echo "FAILED: $*"; exit 1; }
	[ -e /dev/kvm ] && fail "there is a /dev/kvm before the module"
	for turn in 1 2; do
		insmod kvm_arm.ko || fail "insmod: status $?"
		[ -c /dev/kvm ] || fail "there is no /dev/kvm"
		echo "taint: $(cat /proc/sys/kernel/tainted)"
		monitor payload --payload payload --cpus 4 --timer-interrupts 500 | sed "s/^ok /&turn $turn: /"
		monitor run --kernel vmlinuz --initrd guest.cpio --cpus 2 --mem 256 || fail "the guest: status $?"
		rmmod kvm_arm || fail "rmmod: status $?"
		[ -e /dev/kvm ] && fail "/dev/kvm is still there"
	done
	exit 0
' || fail "status $?"
# Its tree is the one that the kernel comes from.
expect '^taint: 0$'
[ "$(grep -c 'guest: shutting down' <<<"$output")" = 2 ] || fail "the guests have not both shut down"
expect_subtests "virt-a15" 200
