#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# QEMU's monitor and its gdbstub with a guest that works: registers and memory, breakpoints,
# watchpoints and steps, stop and cont, system_reset, quit and SIGKILL at any time.

# shellcheck source=tests/qemu/common.sh
. "$(dirname "$0")/common.sh"

on_board_with_qemu '
	kvm="-M virt -accel kvm -cpu host"
	# The start of the kernel is one of the moments.
	loglevel=7

	# gdb PACKET: gives it to the gdbstub, and prints the answer.
	gdb() {
		bytes=$(wc -c </tmp/gdb.log)
		sum=0
		for byte in $(printf %s "$1" | od -A n -v -t u1); do sum=$(((sum + byte) % 256)); done
		printf "+\$%s#%02x" "$1" $sum >/tmp/gdb.in
		wait_for gdb_answered && gdb_answer
	}
	gdb_answer() {
		tail -c +$((bytes + 1)) /tmp/gdb.log | sed -n "s/.*\$\([^#]*\)#...*/\1/p;s/.*\$\([^#]*\)#..\$/\1/p" | head -n 1
	}
	gdb_answered() {
		tail -c +$((bytes + 1)) /tmp/gdb.log | grep -q "#.."
	}
	# swapped WORD: from the order of bytes to a number, or back.
	swapped() {
		echo "$1" | sed "s/\(..\)\(..\)\(..\)\(..\)/\4\3\2\1/"
	}
	register() {
		monitor info registers | sed -n "s/.*$1=\([0-9a-f]*\).*/\1/p" | head -n 1
	}
	word() {
		monitor "x /1wx 0x$1" | sed -n "s/^0*$1: 0x//p"
	}
	more_rounds() {
		rounds=$(console | grep -c "worker 0 round")
		wait_for said "worker 0 round" $((rounds + 2))
	}

	boots work $kvm -smp 2 -m 128
	must wait_for said_or_ended "worker 1 round 1"

	monitor stop >/dev/null
	must status paused
	before=$(wc -c </tmp/a.console)
	monitor info registers -a >/tmp/registers
	must grep -q "CPU#1" /tmp/registers
	must grep -q "R15=" /tmp/registers
	for try in 1 2 3; do monitor info status >/dev/null; done
	must [ "$before" = "$(wc -c </tmp/a.console)" ]
	echo "stopped"

	rm -f /tmp/gdb.*
	mkfifo /tmp/gdb.in /tmp/gdb.out
	: >/tmp/gdb.log
	cat <>/tmp/gdb.out >>/tmp/gdb.log &
	monitor chardev-add pipe,id=gdb,path=/tmp/gdb >/dev/null
	monitor gdbserver chardev:gdb >/dev/null
	pc=$(swapped "$(gdb pf)")
	must [ "$pc" = "$(register R15)" ]
	r0=$(gdb p0)
	must [ "$(gdb P0=78563412)" = OK ]
	must [ "$(register R00)" = 12345678 ]
	must [ "$(gdb "P0=$r0")" = OK ]
	must [ "$(register R00)" = "$(swapped $r0)" ]
	# The instruction at the PC is memory in each mode; the kernel is not for a CPU in user mode.
	at=$(printf %08x $((0x$pc & ~3)))
	old=$(gdb m$at,4)
	must [ "$(swapped $old)" = "$(word $at)" ]
	must [ "$(gdb M$at,4:78563412)" = OK ]
	must [ "$(word $at)" = 12345678 ]
	must [ "$(gdb "M$at,4:$old")" = OK ]
	echo "gdb"

	# goes_on PACKET: gives it to the gdbstub, and prints where the guest has stopped.
	goes_on() {
		case $(gdb "$1") in
		T05*) swapped "$(gdb pf)" ;;
		*) echo "no stop" ;;
		esac
	}
	# The guest, which is of the stock kernel, takes its interrupts by the high vectors.
	irq=ffff0018
	for kind in 1 0; do
		saved=$(gdb m$irq,4)
		must [ "$(gdb Z$kind,$irq,4)" = OK ]
		for round in 1 2 3; do must [ "$(goes_on c)" = $irq ]; done
		must [ "$(gdb z$kind,$irq,4)" = OK ]
		must [ "$(gdb m$irq,4)" = $saved ]
	done
	# The vector is a branch to code that first stores two registers at SP.
	must [ "$(goes_on s)" != $irq ]
	sp=$(swapped "$(gdb pd)")
	must [ "$(gdb Z2,$sp,4)" = OK ]
	watched=$(gdb c)
	case $watched in
	T05*watch:$sp*) ;;
	*) must false ;;
	esac
	must [ "$(gdb z2,$sp,4)" = OK ]
	pc=$(swapped "$(gdb pf)")
	for step in 1 2 3; do
		next=$(goes_on s)
		must [ "$next" != "no stop" ]
		must [ "$next" != "$pc" ]
		pc=$next
	done
	monitor gdbserver none >/dev/null
	echo "breakpoints, a watchpoint, steps"

	monitor cont >/dev/null
	must status running
	must more_rounds
	must never "guest: not ok"
	echo "goes on"

	monitor system_reset >/dev/null
	must wait_for said_or_ended "Booting Linux on physical CPU" 2
	# Now in the middle of its start
	monitor system_reset >/dev/null
	must wait_for said_or_ended "worker 1 round 1$" 2
	must runs
	must said "Booting Linux on physical CPU" 3
	must never "guest: not ok"
	must quits
	echo "reset"

	for line in "Booting Linux" "guest: user space reached" "worker 1 round 1"; do
		case $line in
		guest* | worker*) loglevel=4 ;;
		esac
		boots work $kvm -smp 4 -m 128
		must wait_for said_or_ended "$line"
		must runs
		must quits
		boots work $kvm -smp 4 -m 128
		must wait_for said_or_ended "$line"
		must runs
		kill -KILL $(process)
		must wait_for ended
	done
	no_vm() { [ "$(cat /sys/module/kvm_arm/refcnt)" = 0 ]; }
	must wait_for no_vm
	echo "quit and killed"
	rmmod kvm_arm
'
for line in stopped gdb 'breakpoints, a watchpoint, steps' 'goes on' reset 'quit and killed'; do
	expect "^$line$"
done
