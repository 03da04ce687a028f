#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A guest's kernel ends while timers and the disk are busy, and another goes on with the machine as it
# was left: by kexec, and by a panic into a crash kernel, which reads the dump and resets the machine.
# KEXEC_ROUNDS times each, with 1 and 2 CPUs.

# shellcheck source=tests/qemu/firmware.bash
. "$(dirname "$0")/firmware.bash"

rounds=${KEXEC_ROUNDS:-3}
make_disk
MORE="$disk $work/initrd" TIMEOUT=${TIMEOUT:-$((600 + 120 * rounds))} HOST_CMDLINE=damon_stat.enabled=N \
	on_board_with_qemu "$prompts rounds=$rounds"'
	console_mode=file
	mv /add/disk.img /tmp/
	# power_on CPUS MIB ARGUMENTS
	power_on() {
		start -M virt -accel kvm -cpu host -smp $1 -m $2 -kernel /add/vmlinuz -initrd /add/initrd \
			-append "console=ttyAMA0 panic=-1 quiet cryptomgr.notests=1 $3" \
			-drive if=none,id=disk,file=/tmp/disk.img,format=raw -device virtio-blk-device,drive=disk
	}
	for cpus in 1 2; do
		power_on $cpus 256 "guest=kexec round=0 rounds=$rounds"
		for round in $(seq 0 $rounds); do
			must patiently said_or_ended "guest: round $round$"
			must never "guest: not ok"
		done
		must finishes
		must said "guest: round $rounds$"
		must said "guest: $cpus CPUs" $((rounds + 1))
		must said "guest: round" $((rounds + 1))
		echo "$rounds times kexec with $cpus CPUs"

		# The kernel puts a crash kernel at a multiple of 128 MiB. At the second, QEMU has put the initramfs.
		power_on $cpus 512 "guest=crash crashkernel=96M"
		for round in $(seq $rounds); do
			must patiently said_or_ended "guest: dump of [1-9]" $round
			must never "guest: not ok"
		done
		must quits
		must said "guest: $cpus CPUs.*guest=crash" $rounds
		must said "guest: crash" $rounds
		echo "$rounds panics with $cpus CPUs"
	done
	rmmod kvm_arm
'
for cpus in 1 2; do
	expect "^$rounds times kexec with $cpus CPUs$"
	expect "^$rounds panics with $cpus CPUs$"
done
