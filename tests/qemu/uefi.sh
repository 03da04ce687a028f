#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# 32-bit UEFI as a guest, in a flash that it executes from: its shell answers, its variables survive a
# reset, and it starts the stock kernel from a disk. That kernel writes a variable by a call of the
# firmware, and the next QEMU finds it in the flash.

# shellcheck source=tests/qemu/firmware.bash
. "$(dirname "$0")/firmware.bash"

make_disk
MORE="$firmware/uefi-code.fd $firmware/uefi-vars.fd $disk" TIMEOUT=${TIMEOUT:-1800} \
	HOST_CMDLINE=damon_stat.enabled=N on_board_with_qemu "$prompts"'
	mv /add/disk.img /tmp/
	flash uefi-code.fd
	flash uefi-vars.fd
	prompt="[l\\]> "
	guid=5e0f54f8-7d0e-4c24-9c0b-7d7a1f3c2b11
	power_on() {
		start -M virt,highmem=off -accel kvm -cpu host -smp 2 -m 256 \
			-drive if=pflash,format=raw,readonly=on,file=/tmp/uefi-code.fd \
			-drive if=pflash,format=raw,file=/tmp/uefi-vars.fd \
			-drive if=none,id=disk,file=/tmp/disk.img,format=raw -device virtio-blk-device,drive=disk
	}
	power_on
	first_prompt
	asks ver
	must answers "UEFI v2\."
	asks memmap
	must answers "Available  *0000000040000000-"
	asks "set where here"
	types reset
	must patiently said_or_ended "UEFI Interactive Shell" 2
	first_prompt
	asks "set where"
	must answers "where = here"
	echo "kept"

	asks "fs0:"
	types "vmlinuz.efi initrd=\\initrd console=ttyAMA0 panic=-1 quiet cryptomgr.notests=1 guest=disk firmware=uefi variable=test-$guid"
	must finishes
	must said "guest: started by EFI"
	must said "guest: 2 CPUs"
	must said "guest: booted by uefi, 1 boots"
	must never "guest: not ok"
	echo "booted"

	power_on
	first_prompt
	asks "dmpstore test -guid $guid"
	must answers "hello"
	must quits
	echo "written"
	rmmod kvm_arm
'
for line in kept booted written; do
	expect "^$line$"
done
