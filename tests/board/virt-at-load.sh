#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# HYP mode is the module's from the first VM to the end of the last, or, with enable_virt_at_load=1, as long
# as the module is loaded. A module shows whose it is on each CPU, while VMs and CPUs come and go.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

build_host_registers
"$tree/tools/module" pretend
pretend=$target/module-pretend/kvm_arm.ko
mkdir -p "$work/pretend"
cp "$pretend" "$work/pretend/pretend.ko"

LOAD=0 ADD="$module $work/pretend/pretend.ko $registers $programs/monitor $programs/payload" \
	TIMEOUT=${TIMEOUT:-300} on_board '
	fail() { echo "FAILED: $*"; exit 1; }
	insmod /add/host_registers.ko || exit

	# owners WHEN OWNER…: the owner of HYP mode on CPU 0, and on CPU 1 if that is online.
	owners() {
		when=$1 cpu=0
		shift
		for owner; do
			found=$(taskset $((1 << cpu)) cat /proc/hyp_owner)
			[ "$found" = $owner ] || fail "$when: HYP mode of CPU $cpu is that of $found, not of $owner"
			cpu=$((cpu + 1))
		done
		echo "ok $when"
	}
	cpu1() {
		echo $1 >/sys/devices/system/cpu/cpu1/online || fail "CPU 1 does not go to $1"
	}
	# The monitor of a VM whose guest runs.
	start() {
		monitor payload --payload payload --only timer --timer-interrupts 100000000 >/dev/null 2>&1 &
		vm=$!
		until [ -d /sys/kernel/debug/kvm/$vm-* ]; do kill -0 $vm || fail "the monitor ended"; done
	}
	stop() {
		kill -KILL $1
		wait $1
	}
	guest() {
		monitor payload --payload payload --cpus 2 --only VFP --only SGI --only PSCI >/tmp/said || exit
		grep -q "^ok " /tmp/said && echo "ok $1"
	}

	owners "before the module" stub stub
	insmod /add/kvm_arm.ko || exit
	[ $(cat /sys/module/kvm_arm/parameters/enable_virt_at_load) = N ] || fail "another default"
	owners "loaded, no VM" stub stub
	start; first=$vm
	owners "a VM" kvm_arm kvm_arm
	start; second=$vm
	stop $first
	owners "one of two VMs has gone" kvm_arm kvm_arm
	cpu1 0
	owners "CPU 1 has gone" kvm_arm
	cpu1 1
	owners "CPU 1 has come back" kvm_arm kvm_arm
	cpu1 0
	stop $second
	owners "the last VM has gone" stub
	cpu1 1
	owners "CPU 1 has come without a VM" stub stub
	cpu1 0
	start
	owners "a VM without CPU 1" kvm_arm
	cpu1 1
	owners "CPU 1 has come to a VM" kvm_arm kvm_arm
	stop $vm
	owners "no VM again" stub stub
	guest "guest with HYP mode on demand"
	# VMs that come and go on both CPUs at once.
	(for n in $(seq 20); do taskset 1 monitor payload --payload payload --only PSCI; done) >/tmp/one &
	(for n in $(seq 20); do taskset 2 monitor payload --payload payload --only PSCI; done) >/tmp/two
	wait
	for said in /tmp/one /tmp/two; do
		[ $(grep -c "^ok " $said) -ge 20 ] && ! grep "^not ok" $said || fail "VMs that come and go"
	done
	owners "VMs came and went" stub stub
	rmmod kvm_arm || exit
	owners "unloaded" stub stub

	insmod /add/kvm_arm.ko enable_virt_at_load=1 || exit
	owners "at load: no VM" kvm_arm kvm_arm
	guest "guest with HYP mode from load on"
	owners "at load: no VM again" kvm_arm kvm_arm
	cpu1 0
	cpu1 1
	owners "at load: CPU 1 has come" kvm_arm kvm_arm
	rmmod kvm_arm || exit
	owners "at load: unloaded" stub stub

	# CPU 1 cannot be taken over.
	cpu1 0
	insmod /add/pretend.ko pretend_midr=0,0x412fc091 || exit
	guest "guest beside a CPU that is offline"
	cpu1 1
	dmesg -c >/dev/null
	for n in 1 2 3; do
		monitor payload --payload payload --only PSCI >/tmp/said 2>&1 && fail "a VM without CPU 1"
		grep -q "KVM_CREATE_VM: No such device" /tmp/said || { cat /tmp/said; fail "the error"; }
	done
	dmesg | grep "kvm_arm:" | sed "s/^/log: /"
	owners "CPU 1 cannot be taken over" stub stub
	cpu1 0
	guest "guest without that CPU"
	rmmod kvm_arm || exit
	cpu1 1
	owners "the end" stub stub
' || fail "status $?"
[ "$(grep -c '^log: ' <<<"$output")" = 1 ] || fail "not one line in the log"
expect '^log: .*unsupported core \(MIDR 0x412fc091\) of CPU 1: .* stay offline'
grep '^ok ' <<<"$output" >"$work/subtests"
[ "$(wc -l <"$work/subtests")" = 23 ] || fail "too few checks"
