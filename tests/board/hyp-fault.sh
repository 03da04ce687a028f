#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A fault inside HYP mode ends the VM, and nothing else: the log has the reason in words, the registers of both
# worlds, and the way to the fault by symbols; the CPU's HYP mode serves the next VM.
#
# The module of this test makes an entry fault on purpose (pretend_hyp_fault): HYP mode gets an address of a vCPU at
# which nothing is mapped.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

"$tree/tools/module" pretend
module=$target/module-pretend/kvm_arm.ko

# The log is not searched for alarms: it has one.
output=$(
	LOG=$work/host.log LOAD=0 HOST_CPUS=2 TIMEOUT=600 ADD="$module $programs/abi $programs/monitor $programs/payload" RUN='
		fail() { echo "FAILED: $*"; exit 1; }
		insmod /add/kvm_arm.ko || exit
		abi "stats: each exit" >/dev/null || fail "a guest without a fault"
		dmesg -c >/dev/null
		fault=/sys/module/kvm_arm/parameters/pretend_hyp_fault
		echo 1 >$fault || fail "$fault cannot be written"
		monitor payload --payload payload --cpus 1 --only "timer: the" >/tmp/payload 2>&1 && fail "the guest went on after the fault"
		sed "s/^/monitor: /" /tmp/payload
		[ "$(cat $fault)" = 0 ] || fail "no entry"
		dmesg
		# Each CPU runs guests as before.
		for cpu in 1 2; do
			taskset $cpu abi "stats: each exit" "stats: sleep" || fail "a guest after the fault, on CPU $((cpu - 1))"
		done
		monitor payload --payload payload --cpus 2 --only SGI --only SPI >/tmp/payload || fail "payload"
		grep "^not ok" /tmp/payload && fail "payload"
		rmmod kvm_arm || fail rmmod
		echo "all as before"
	' "$tree/tools/board" | tee "$work/said"
) || fail "status $? of the board"

expect '^all as before$'
# The first line, and no second fault.
first='kvm_arm: fault inside HYP mode \(vector 4\) on CPU [01]: data abort in HYP mode: translation fault at level [12], by a read: please report this with the lines below$'
expect "$first"
[ "$(grep -cE 'fault inside HYP mode' <<<"$output")" = 1 ] || fail "more than one fault"
# Where HYP mode was, by symbol: the entry of guests.
expect 'kvm_arm: HYP mode was at guest_enter\+0x[0-9a-f]+/0x[0-9a-f]+ \[kvm_arm\] \(0x[0-9a-f]{8}\)$'
registers=$(for n in {0..12}; do printf ' r%s 0x[0-9a-f]{8}' "$n"; done)
expect "kvm_arm: HYP mode: pc 0x[0-9a-f]{8} spsr 0x[0-9a-f]{8} hsr 0x9600000[56] hdfar 0x00001[0-9a-f]{3} hifar 0x[0-9a-f]{8} hpfar 0x[0-9a-f]{8} lr 0x[0-9a-f]{8}$registers\$"
expect 'kvm_arm: host: pc 0x[0-9a-f]{8} cpsr 0x[0-9a-f]{8} sp_usr 0x[0-9a-f]{8} lr_usr 0x[0-9a-f]{8} sp_svc 0x[0-9a-f]{8} .* spsr_fiq 0x[0-9a-f]{8}$'
expect 'kvm_arm: host: Csselr 0x[0-9a-f]{8} Sctlr 0x[0-9a-f]{8} .* Teehbr 0x[0-9a-f]{8}$'
# The guest was at its first instruction, in supervisor mode with all interrupts masked.
expect "kvm_arm: guest, at its last exit: pc 0x8[0-9a-f]{7} cpsr 0x000001d3$registers r13 0x[0-9a-f]{8} r14 0x[0-9a-f]{8}\$"
expect 'kvm_arm: guest: sp_svc 0x[0-9a-f]{8} .* r12_fiq 0x[0-9a-f]{8}$'
expect 'kvm_arm: guest: HCR 0x[0-9a-f]{8} HSTR 0x[0-9a-f]{8} .* VTTBR 0x[0-9a-f]{16} Mpidr 0x80000000 .* Midr 0x41[0-9a-f]fc0f[0-9a-f]$'
# The way there in the host.
expect 'kvm_arm: host: HYP mode was called by __hyp_call\+0x[0-9a-f]+/0x[0-9a-f]+ \[kvm_arm\] \(0x[0-9a-f]{8}\)$'
expect 'CPU: [01] UID: 0 PID: [0-9]+ Comm: [^ ]+ '
# From the report back to the system call, through Rust.
expect ' dump_stack_lvl from .*report_fault.*\[kvm_arm\]$'
expect ' .*from .*kvm_arm3kvm3run.*\[kvm_arm\]$'
expect ' .* from .*sys_ioctl.*$'
