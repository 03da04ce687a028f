#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The memory of a guest is a file of a file system on a disk, and the host writes it back all the
# time. In the end the disk has all that the guest wrote.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

DRIVERS='zram ext4' HOST_MEM=256 ADD=$programs/abi TIMEOUT=300 on_board '
	echo 32M >/sys/block/zram0/disksize || exit
	busybox mke2fs -b 4096 /dev/zram0 >/dev/null && mkdir /disk && mount -t ext2 /dev/zram0 /disk || exit
	abi --writeback /disk/memory 30 || exit
	umount /disk || exit
	rmmod kvm_arm
' || fail "status $?"
expect 'the disk has it all'
passes=$(sed -n 's/^\([0-9]*\) passes, written back.*/\1/p' <<<"$output")
times=$(sed -n 's/.*written back \([0-9]*\) times.*/\1/p' <<<"$output")
{ [ "$passes" -ge 20 ] && [ "$times" -ge 50 ]; } || fail "too little happened"
