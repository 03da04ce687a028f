#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Documentation/debugging.md promises this: statistics in debugfs that come and go with
# their VM, tracepoints for all that happens, and the debug log.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

# shellcheck disable=SC2016 # all that is the board's
ADD="$module $programs/abi $programs/monitor $programs/payload" TIMEOUT=600 on_board '
	fail() { echo "FAILED: $*"; exit 1; }
	events=/sys/kernel/tracing/events/kvm_arm
	[ -d $events ] || mount -t tracefs none /sys/kernel/tracing || fail "no tracefs"
	trace=/sys/kernel/tracing/trace
	debugfs=/sys/kernel/debug/kvm_arm
	parameter=/sys/module/kvm_arm/parameters/debug
	value() { sed -n "s/^$2 //p" $1; }
	# The number of events of a kind in the trace that are like a pattern.
	traced() { grep -E "^[^#]* $1: " /tmp/trace | grep -cE -- "${2:-.}"; }

	# --- debugfs
	[ -d $debugfs ] || fail "no $debugfs"
	[ -z "$(ls $debugfs)" ] || fail "VMs that nobody made"
	monitor payload --payload payload --cpus 2 >/tmp/payload &
	monitor=$!
	vm=
	while [ -z "$vm" ] && kill -0 $monitor; do vm=$(ls $debugfs); done
	case $vm in $monitor-*) ;; *) fail "$vm is not named after $monitor" ;; esac
	while [ "$(value $debugfs/$vm/stats exits)" = 0 ]; do kill -0 $monitor || fail "the monitor ended"; done
	head -n 1 $debugfs/$vm/vcpus | grep -qx "statistic vcpu0 vcpu1" || fail "columns: $(head -n 1 $debugfs/$vm/vcpus)"
	first=$(value $debugfs/$vm/stats exits)
	while second=$(value $debugfs/$vm/stats exits) && [ "$second" = "$first" ]; do
		kill -0 $monitor || fail "the monitor ended"
	done
	[ "$second" -gt "$first" ] || fail "exits went from $first to $second"
	[ "$(value $debugfs/$vm/stats mmio_exit_user)" -gt 0 ] || fail "no MMIO"
	# Opened while the VM is there, read when it is not.
	exec 5<$debugfs/$vm/stats 6<$debugfs/$vm/vcpus
	kill -KILL $monitor
	wait $monitor
	while [ -n "$(ls $debugfs)" ]; do i=$((${i:-0} + 1)); [ $i -lt 10000 ] || fail "the directory stays"; done
	cat <&5 2>/dev/null | grep -q . && fail "statistics of a VM that is gone"
	cat <&6 2>/dev/null | grep -q . && fail "statistics of vCPUs that are gone"
	# Closing them takes the module.
	rmmod kvm_arm 2>/dev/null && fail "rmmod while files of debugfs are open"
	exec 5<&- 6<&-
	echo "debugfs: as it should be"

	# Interrupts of the timer of a guest that runs are no exits.
	monitor payload --payload payload --cpus 1 >/tmp/payload &
	monitor=$!
	while relayed=$(value "$debugfs/$monitor-*/stats" hyp_relayed_timer 2>/dev/null); [ "${relayed:-0}" -lt 100 ]; do
		kill -0 $monitor || fail "the monitor ended, with ${relayed:-no} interrupts of the timer given in HYP mode"
	done
	kill -KILL $monitor
	wait $monitor
	while [ -n "$(ls $debugfs)" ]; do i=$((${i:-0} + 1)); [ $i -lt 10000 ] || fail "the directory stays"; done
	echo "timer: given in HYP mode"

	# VMs come and go while all files are read.
	touch /tmp/reading
	while [ -e /tmp/reading ]; do cat $debugfs/*/* >/dev/null 2>&1; done &
	reader=$!
	abi "100 VMs" "roll-over" "close: all orders" || fail "abi"
	rm /tmp/reading
	wait $reader
	[ -z "$(ls $debugfs)" ] || fail "left behind: $(ls $debugfs)"
	echo "debugfs: read while VMs come and go"

	# --- tracepoints
	for event in $events/kvm_*; do
		grep -q "^[0-9]" $event/id && grep -q "^print fmt" $event/format || fail "$event is incomplete"
	done
	echo 20000 >/sys/kernel/tracing/buffer_size_kb
	# A quiet start: nothing is traced that was not asked for.
	abi "stats: each exit" >/dev/null || fail "abi"
	grep -q "kvm_" $trace && fail "traced without being asked"
	echo 1 >$events/enable
	abi "stats: each exit" "stats: sleep" "stats: pages" || fail "abi"
	echo 0 >$events/enable
	cp $trace /tmp/trace
	for event in kvm_entry kvm_exit kvm_guest_fault kvm_userspace_exit kvm_wfx kvm_vcpu_wakeup kvm_irq_line \
		kvm_map kvm_unmap; do
		[ "$(traced $event)" -gt 0 ] || fail "no $event"
	done
	[ "$(traced kvm_entry)" = "$(traced kvm_exit)" ] || fail "$(traced kvm_entry) entries, $(traced kvm_exit) exits"
	[ "$(traced kvm_exit "HSR_EC: 0x12 \(HVC\)")" = "$(traced kvm_hvc)" ] || fail "HVC"
	[ "$(traced kvm_hvc "r0: 0x84000004")" = 2 ] || fail "not two calls of AFFINITY_INFO"
	[ "$(traced kvm_coprocessor "CP15_32 write opc1 0, crn 3, crm 0, opc2 0, rt 0")" = 5 ] || fail "not five writes of DACR"
	[ "$(traced kvm_coprocessor "CP14_MR read opc1 0, crn 0, crm 0, opc2 0")" = 1 ] || fail "not one read of DBGDIDR"
	[ "$(traced kvm_mmio "mmio unsatisfied-read len 4 gpa 0x10000000")" = 1 ] || fail "no MMIO read"
	[ "$(traced kvm_mmio "mmio read len 4 gpa 0x10000000 val 0x1")" = 1 ] || fail "no answer"
	[ "$(traced kvm_mmio "mmio write len 4 gpa 0x10000000 val 0x1")" -ge 1 ] || fail "no MMIO write"
	[ "$(traced kvm_userspace_exit "KVM_EXIT_SYSTEM_EVENT")" = 2 ] || fail "not two ends"
	[ "$(traced kvm_wfx "guest executed wfi at: 0x80000000")" = 1 ] || fail "not one WFI"
	[ "$(traced kvm_irq_line "CPU interrupt .*num: 0, level: 1")" = 1 ] || fail "not one interrupt"
	echo >$trace
	for event in kvm_vgic_set_level kvm_vgic_flush kvm_vgic_fold kvm_timer_lines; do
		echo 1 >$events/$event/enable
	done
	monitor payload --payload payload --cpus 2 --only SGI --only SPI --only "timer: the" \
		>/tmp/payload || fail "payload"
	grep -q "^not ok" /tmp/payload && fail "payload: $(grep "^not ok" /tmp/payload)"
	echo 0 >$events/enable
	cp $trace /tmp/trace
	for event in kvm_vgic_set_level kvm_vgic_flush kvm_vgic_fold kvm_timer_lines; do
		[ "$(traced $event)" -gt 0 ] || fail "no $event"
	done
	[ "$(traced kvm_exit)" = 0 ] || fail "kvm_exit was off"
	echo "tracepoints: as they should be"

	# The module may go while they are on, and come back.
	echo 1 >$events/enable
	rmmod kvm_arm || fail "rmmod"
	[ -e $events ] && fail "$events is still there"
	[ -e $debugfs ] && fail "$debugfs is still there"
	cat $trace >/dev/null
	insmod kvm_arm.ko || fail "insmod"
	echo 1 >$events/kvm_exit/enable
	abi "stats: each exit" >/dev/null || fail "abi"
	cp $trace /tmp/trace
	[ "$(traced kvm_exit)" -gt 0 ] || fail "no kvm_exit after the module was loaded again"
	echo 0 >$events/enable
	echo "tracepoints: unloaded and loaded"

	# --- the debug log
	[ "$(cat $parameter)" = N ] || fail "debug is $(cat $parameter)"
	lines() { dmesg | grep -c "kvm_arm: ioctl .* of kvm_arm::kvm::"; }
	abi "stats: the capability" >/dev/null || fail "abi"
	[ "$(lines)" = 0 ] || fail "debug lines without debug"
	echo 1 >$parameter || fail "the parameter cannot be written"
	abi "stats: the capability" >/dev/null || fail "abi"
	[ "$(lines)" = 1 ] || fail "$(lines) debug lines for one ioctl that fails"
	echo 0 >$parameter
	abi "stats: the capability" >/dev/null || fail "abi"
	[ "$(lines)" = 1 ] || fail "debug lines after debug"
	echo "debug: as it should be"
	rmmod kvm_arm || fail "rmmod"
' || fail "$(tail -n 1 <<<"$output")"
for part in 'debugfs: as it should be' 'timer: given in HYP mode' 'debugfs: read while VMs come and go' \
	'tracepoints: as they should be' 'tracepoints: unloaded and loaded' 'debug: as it should be'; do
	expect "^$part"
done
