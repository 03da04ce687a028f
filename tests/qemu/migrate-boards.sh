#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A guest that works moves from one board to another, over a network between the two, and works on
# there: with its registers, and with memory that it goes on changing and checking.

# shellcheck source=tests/qemu/common.sh
. "$(dirname "$0")/common.sh"

# wired ME OTHER: a board with a network card whose wire goes to the other board.
wired() {
	printf '%s' "-netdev dgram,id=wire,local.type=unix,local.path=$work/$1.wire," \
		"remote.type=unix,remote.path=$work/$2.wire -device virtio-net-device,netdev=wire,mac=$3"
}

# shellcheck disable=SC2016 # the boards' shells
both='
	machine="-M virt -accel kvm -cpu host -smp 2 -m 128"
	to=10.0.9.2
	port=4444
'

# shellcheck disable=SC2016
source_board() {
	local work=$work/source
	mkdir -p "$work"
	QEMU_ARGS=$1 on_board_with_qemu "$both"'
		ifconfig eth0 10.0.9.1 netmask 255.255.255.0 up
		boots work $machine
		must wait_for working_or_ended 2
		must runs
		# The other board takes one connection when its QEMU waits for the guest.
		waits() { nc $to 5001 </dev/null 2>/dev/null; }
		must wait_for waits
		migrates "tcp:$to:$port"
		must never "guest: not ok"
		echo "guest went in its round $last"
		tells() { echo $last | nc $to 5002 2>/dev/null; }
		must wait_for tells
		rmmod kvm_arm
	'
	expect '^guest went in its round [0-9]+$'
}

# shellcheck disable=SC2016
target_board() {
	local work=$work/target
	mkdir -p "$work"
	QEMU_ARGS=$1 on_board_with_qemu "$both"'
		ifconfig eth0 $to netmask 255.255.255.0 up
		# The kernel is for the reset: a machine that comes in does not use it.
		boots work $machine -incoming tcp:$to:$port
		must status inmigrate
		nc -l -p 5001 </dev/null
		# Without an end of its own input, it waits for that of the other side.
		mkfifo /tmp/silence
		nc -l -p 5002 <>/tmp/silence >/tmp/last
		must status running
		must wait_for working_or_ended 4
		must runs
		must [ "$(rounds "worker 0" | head -n 1)" -ge "$(cat /tmp/last)" ]
		must never "guest: not ok"
		echo "guest works on"
		monitor system_reset >/dev/null
		must wait_for said_or_ended "guest: user space reached, 2 CPUs"
		must quits
		echo "guest was reset"
		rmmod kvm_arm
	'
	expect '^guest works on$'
	expect '^guest was reset$'
}

target_board "$(wired target source 52:54:00:00:00:02)" &
boards=($!)
source_board "$(wired source target 52:54:00:00:00:01)" &
boards+=($!)
for _ in 1 2; do
	wait -n && continue
	# The other one would wait for it.
	for board in "${boards[@]}"; do
		end_children "$board"
	done
	wait
	fail "on one of the boards"
done
