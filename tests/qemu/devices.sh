#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A guest uses QEMU's devices: disk, network, serial port, random numbers, a shared folder, and
# memory that is taken away; by MMIO, and by PCI above and below 4 GiB.

# shellcheck source=tests/qemu/common.sh
. "$(dirname "$0")/common.sh"

on_board_with_qemu '
	# devices TRANSPORT MACHINE: TRANSPORT is pci or device (which is MMIO).
	devices() {
		mkdir -p /tmp/share
		seq 13000 | head -c 65536 >/tmp/disk
		dd if=/dev/zero of=/tmp/disk bs=64k seek=1 count=15 2>/dev/null
		seq 4000 >/tmp/share/file
		rm -f /tmp/port /tmp/share/copy
		rom=
		[ $1 != pci ] || rom=,romfile=
		boots devices -M $2 -accel kvm -cpu host -smp 2 -m 160 \
			-drive if=none,id=disk,file=/tmp/disk,format=raw -device virtio-blk-$1,drive=disk \
			-netdev user,id=net,tftp=/tmp/share -device virtio-net-$1,netdev=net$rom \
			-device virtio-serial-$1 -chardev file,id=port,path=/tmp/port \
			-device virtserialport,chardev=port,name=test \
			-device virtio-rng-$1 -device virtio-balloon-$1 \
			-fsdev local,id=share,path=/tmp/share,security_model=none \
			-device virtio-9p-$1,fsdev=share,mount_tag=share
		must wait_for said_or_ended "guest: balloon please"
		must runs
		monitor balloon 120 >/dev/null
		must is_over
		for device in disk network port random folder balloon; do
			must said "guest: ok $device"
		done
		must never "guest: not ok"
		must said "guest: file $(md5sum </tmp/share/file)"
		must cmp /tmp/share/file /tmp/share/copy
		must grep -q "hello from port" /tmp/port
		dd if=/tmp/disk bs=64k skip=1 count=1 of=/tmp/second 2>/dev/null
		dd if=/tmp/disk bs=64k count=1 2>/dev/null | tac | cmp - /tmp/second || exit
		case $1 in
		pci) must said "guest: pci device" 6 ;;
		*) must said "guest: virtio_mmio device" 6 ;;
		esac
		echo "all devices by $1 on $2"
	}
	devices device virt
	devices pci virt
	devices pci virt,highmem=off
	rmmod kvm_arm
'
expect '^all devices by device on virt$'
expect '^all devices by pci on virt$'
expect '^all devices by pci on virt,highmem=off$'
