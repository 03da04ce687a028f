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
	events=/sys/kernel/tracing/events/kvm
	[ -d $events ] || mount -t tracefs none /sys/kernel/tracing || fail "no tracefs"
	trace=/sys/kernel/tracing/trace
	debugfs=/sys/kernel/debug/kvm
	parameter=/sys/module/kvm_arm/parameters/debug
	value() { sed -n "s/^$2 //p" $1; }
	# The names of the directories of VMs.
	vms() { (cd $debugfs && ls -d */ 2>/dev/null | tr -d /); }
	# The number of events of a kind in the trace that are like a pattern.
	traced() { grep -E "^[^#]* $1: " /tmp/trace | grep -cE -- "${2:-.}"; }

	# --- debugfs
	[ -d $debugfs ] || fail "no $debugfs"
	[ -z "$(vms)" ] || fail "VMs that nobody made"
	[ "$(cat $debugfs/exits)" = 0 ] || fail "exits of no VM: $(cat $debugfs/exits)"
	monitor payload --payload payload --cpus 2 >/tmp/payload &
	monitor=$!
	vm=
	while [ -z "$vm" ] && kill -0 $monitor; do vm=$(vms); done
	for descriptor in $(cd /proc/$monitor/fd && ls -l | sed -n "s/.* \([0-9]*\) -> anon_inode:kvm-vm$/\1/p"); do
		[ $vm = $monitor-$descriptor ] || fail "$vm is not $monitor-$descriptor"
	done
	[ -n "$descriptor" ] || fail "the monitor has no VM"
	while [ "$(value $debugfs/$vm/stats exits)" = 0 ]; do kill -0 $monitor || fail "the monitor ended"; done
	head -n 1 $debugfs/$vm/vcpus | grep -qx "statistic vcpu0 vcpu1" || fail "columns: $(head -n 1 $debugfs/$vm/vcpus)"
	first=$(value $debugfs/$vm/stats exits)
	while second=$(value $debugfs/$vm/stats exits) && [ "$second" = "$first" ]; do
		kill -0 $monitor || fail "the monitor ended"
	done
	[ "$second" -gt "$first" ] || fail "exits went from $first to $second"
	[ "$(value $debugfs/$vm/stats mmio_exit_user)" -gt 0 ] || fail "no MMIO"
	# One file for each number, as kvm_stat wants them: the same in the directory of the VM and at the top.
	for file in $debugfs/*; do
		[ -f $file ] || continue
		names="$names ${file##*/}"
		grep -qE "^[0-9]+$" $file || fail "$file: $(cat $file)"
		grep -qE "^[0-9]+$" $debugfs/$vm/${file##*/} || fail "no ${file##*/} of the VM"
		grep -qE "^${file##*/} [0-9]+$" $debugfs/$vm/stats || fail "no line ${file##*/} in stats"
	done
	[ $(echo $names | wc -w) = $(wc -l <$debugfs/$vm/stats) ] || fail "the files are $names"
	[ "$(cat $debugfs/exits)" -gt "$second" ] || fail "no exits of all VMs"
	# The state of the vGIC, all of one moment. The payload has enabled the timer by now.
	while cat $debugfs/$vm/vgic-state >/tmp/vgic && ! grep -qE "^ +PPI   27 +0 [01]{3}11[01]0 +27 +1   0 +[0-9]+ +(-1|0) +(-|P|A|PA)$" /tmp/vgic; do
		kill -0 $monitor || fail "the monitor ended: $(cat /tmp/vgic)"
	done
	head -n 5 /tmp/vgic | tr "\n\t" "| " | grep -qE "^Distributor\|=+\|vgic_model: GICv2\|nr_spis: [0-9]+\|enabled: 1\|$" ||
		fail "vgic-state begins with $(head -n 5 /tmp/vgic)"
	[ "$(grep -c "^VCPU [01] TYP   ID TGT_ID PLAEHCG     HWID   TARGET SRC PRI VCPU_ID LR$" /tmp/vgic)" = 2 ] || fail "not two vCPUs"
	[ "$(grep -c "^ .*PPI " /tmp/vgic)" = 32 ] || fail "not 32 PPIs"
	[ "$(grep -c "^ .*SPI " /tmp/vgic)" = "$(sed -n "s/^nr_spis:.//p" /tmp/vgic)" ] || fail "not all SPIs"
	# Opened while the VM is there, read when it is not.
	exec 5<$debugfs/$vm/exits 6<$debugfs/$vm/vgic-state
	kill -KILL $monitor
	wait $monitor
	while [ -n "$(vms)" ]; do i=$((${i:-0} + 1)); [ $i -lt 10000 ] || fail "the directory stays"; done
	cat <&5 2>/dev/null | grep -q . && fail "statistics of a VM that is gone"
	cat <&6 2>/dev/null | grep -q . && fail "the vGIC of a VM that is gone"
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
	while [ -n "$(vms)" ]; do i=$((${i:-0} + 1)); [ $i -lt 10000 ] || fail "the directory stays"; done
	echo "timer: given in HYP mode"

	# VMs come and go while all files are read.
	touch /tmp/reading
	while [ -e /tmp/reading ]; do cat $debugfs/* $debugfs/*/* >/dev/null 2>&1; done &
	reader=$!
	abi "100 VMs" "roll-over" "close: all orders" || fail "abi"
	rm /tmp/reading
	wait $reader
	[ -z "$(vms)" ] || fail "left behind: $(vms)"
	echo "debugfs: read while VMs come and go"

	# --- tracepoints
	for event in $events/*/; do
		grep -q "^[0-9]" $event/id && grep -q "^print fmt" $event/format || fail "$event is incomplete"
	done
	echo 20000 >/sys/kernel/tracing/buffer_size_kb
	# A quiet start: nothing is traced that was not asked for.
	abi "stats: each exit" >/dev/null || fail "abi"
	grep -qE " (kvm|vgic)_" $trace && fail "traced without being asked"
	echo 1 >$events/enable
	abi "stats: each exit" "stats: sleep" "stats: pages" || fail "abi"
	echo 0 >$events/enable
	cp $trace /tmp/trace
	for event in kvm_entry kvm_exit kvm_guest_fault kvm_userspace_exit kvm_wfx kvm_vcpu_wakeup kvm_irq_line \
		kvm_map kvm_unmap; do
		[ "$(traced $event)" -gt 0 ] || fail "no $event"
	done
	[ "$(traced kvm_entry)" = "$(traced kvm_exit)" ] || fail "$(traced kvm_entry) entries, $(traced kvm_exit) exits"
	[ "$(traced kvm_exit "TRAP: HSR_EC: 0x0012 \(HVC\), PC: 0x8000[0-9a-f]{4}, HSR: 0x4a000000, vcpu: 0$")" = "$(traced kvm_hvc)" ] || fail "HVC"
	[ "$(traced kvm_hvc "HVC at 0x8000[0-9a-f]{4} \(r0: 0x84000004, imm: 0x0\)$")" = 2 ] || fail "not two calls of AFFINITY_INFO"
	[ "$(traced kvm_coprocessor "CP15_32 write opc1 0, crn 3, crm 0, opc2 0, rt 0")" = 5 ] || fail "not five writes of DACR"
	[ "$(traced kvm_coprocessor "CP14_MR read opc1 0, crn 0, crm 0, opc2 0")" = 1 ] || fail "not one read of DBGDIDR"
	[ "$(traced kvm_mmio "mmio unsatisfied-read len 4 gpa 0x10000000")" = 1 ] || fail "no MMIO read"
	[ "$(traced kvm_mmio "mmio read len 4 gpa 0x10000000 val 0x1")" = 1 ] || fail "no answer"
	[ "$(traced kvm_mmio "mmio write len 4 gpa 0x10000000 val 0x1")" -ge 1 ] || fail "no MMIO write"
	[ "$(traced kvm_userspace_exit "reason KVM_EXIT_SYSTEM_EVENT \(24\)$")" = 2 ] || fail "not two ends"
	[ "$(traced kvm_wfx "guest executed wfi at: 0x80000000$")" = 1 ] || fail "not one WFI"
	[ "$(traced kvm_irq_line "Inject CPU interrupt \(0\), vcpu->idx: 0, num: 0, level: 1$")" = 1 ] || fail "not one interrupt"
	[ "$(traced kvm_entry "PC: 0x80000000, vcpu: 0$")" -ge 1 ] || fail "no entry at the start"
	[ "$(traced kvm_guest_fault "ipa 0x10000000, hsr 0x9[0-9a-f]{7}, hxfar 0x10000000, pc 0x8000[0-9a-f]{4}$")" -ge 2 ] || fail "no fault of a device"
	[ "$(traced kvm_vcpu_wakeup "(wait|poll) time [0-9]+ ns, polling valid$")" -ge 1 ] || fail "no end of a wait"
	[ "$(traced kvm_unmap_hva_range "mmu notifier unmap range: 0x[0-9a-f]+ -- 0x[0-9a-f]+$")" -ge 1 ] || fail "no notice of the host"
	echo >$trace
	for event in vgic_update_irq_pending kvm_vgic_flush kvm_vgic_fold kvm_timer_update_irq; do
		echo 1 >$events/$event/enable
	done
	monitor payload --payload payload --cpus 2 --only SGI --only SPI --only "timer: the" \
		>/tmp/payload || fail "payload: $(grep -v "^ok" /tmp/payload)"
	grep -q "^not ok" /tmp/payload && fail "payload: $(grep "^not ok" /tmp/payload)"
	echo 0 >$events/enable
	cp $trace /tmp/trace
	for event in vgic_update_irq_pending kvm_vgic_flush kvm_vgic_fold kvm_timer_update_irq; do
		[ "$(traced $event)" -gt 0 ] || fail "no $event"
	done
	# Most interrupts of the virtual timer are relayed in HYP mode, where nothing can be traced.
	[ "$(traced kvm_timer_update_irq "VCPU: [01], IRQ 30, level 1$")" -ge 1 ] || fail "no physical timer"
	[ "$(traced vgic_update_irq_pending "VCPU: [01], IRQ 30, level: 1$")" -ge 1 ] || fail "no interrupt of it"
	[ "$(traced kvm_exit)" = 0 ] || fail "kvm_exit was off"

	# Events that need more than a small guest: caches that go on and off, an instruction that is decoded, an
	# eventfd, a window of halt polling. (Maintenance by set and way does not trap on the emulator.)
	echo >$trace
	for event in kvm_toggle_cache kvm_mmio_emulate kvm_set_irq kvm_halt_poll_ns; do
		echo 1 >$events/$event/enable
	done
	abi "caches: all is cleaned" "MMIO forms: table branches" "irqfd: a level until" || fail "abi"
	# Each wait that is below this limit, and above the window, makes the window grow.
	was=$(cat /sys/module/kvm_arm/parameters/halt_poll_ns)
	echo 4000000000 >/sys/module/kvm_arm/parameters/halt_poll_ns
	abi "stats: sleep" || fail "abi"
	echo $was >/sys/module/kvm_arm/parameters/halt_poll_ns
	echo 0 >$events/enable
	cp $trace /tmp/trace
	[ "$(traced kvm_toggle_cache "VM op at 0x8[0-9a-f]{7} \(cache was off, now on\)$")" -ge 1 ] || fail "no caches"
	[ "$(traced kvm_mmio_emulate "Emulate MMIO at: 0x8[0-9a-f]{7} \(instr: [0-9a-f]{8}, cpsr: [0-9a-f]{8}\)$")" -ge 1 ] || fail "no decoding"
	[ "$(traced kvm_set_irq "gsi [0-9]+ level 1 source [01]$")" -ge 1 ] || fail "no eventfd"
	[ "$(traced kvm_halt_poll_ns "vcpu 0: halt_poll_ns 10000 \(grow 0\)$")" -ge 1 ] || fail "no growing window"
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
