#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A kernel with KVM built in has /dev/kvm from the start, with no module. It takes parameters from its command line, runs
# the payload, Debian's kernel as a guest and the tests of the ABI, on both cores, also after its CPUs were offline.

# shellcheck source=tests/in-tree/common.sh
. "$(dirname "$0")/common.sh"

build_kernel y

failed=
for board in virt-a15 virt-a7; do
	result=0
	# HYP mode is KVM's from the start on one of them.
	at_load=N
	[ $board = virt-a15 ] || at_load=Y
	BOARD=$board HOST_CMDLINE="kvm_arm.max_vcpus=8 kvm_arm.enable_virt_at_load=$at_load" TIMEOUT=1500 \
		ADD="$programs/monitor $programs/payload $programs/abi $zimage $guest_initrd" on_board '
		fail() { echo "FAILED: $*"; exit 1; }
		[ -c /dev/kvm ] || fail "there is no /dev/kvm"
		[ -s /proc/modules ] && fail "a module is loaded: $(cat /proc/modules)"
		[ "$(cat /sys/module/kvm_arm/parameters/enable_virt_at_load)" = '$at_load' ] || fail "the parameter enable_virt_at_load"
		grep "kvm_arm" /proc/interrupts || fail "no interrupt of KVM"
		# As many vCPUs as the parameter says.
		monitor payload --payload payload --cpus 8 --timer-interrupts 500 || fail "payload: status $?"
		echo 0 >/sys/devices/system/cpu/cpu1/online || fail "CPU 1 does not go offline"
		monitor payload --payload payload --cpus 2 --only SGI --only timer --timer-interrupts 500 | sed "s/^ok /&offline: /"
		echo 1 >/sys/devices/system/cpu/cpu1/online || fail "CPU 1 does not come online"
		monitor run --kernel vmlinuz --initrd guest.cpio --cpus 2 --mem 256 || fail "the guest: status $?"
		abi; echo "abi: status $?"
	' || result=$?
	# What is wrong on one board must not hide the other.
	(
		[ "$result" = 0 ] || fail "status $result on $board"
		expect 'guest: user space reached'
		expect 'guest: 2 CPUs'
		expect 'guest: shutting down'
		expect_subtests "$board" 400
		expect '^abi: status 0$'
	) || failed+=" $board"
done
[ -z "$failed" ] || fail "on$failed"
