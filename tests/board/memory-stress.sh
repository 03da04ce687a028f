#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A guest of three vCPUs checks its memory while the host swaps it to zram, merges and
# ages it, makes and breaks huge pages, protects and moves it, forks, logs dirty pages;
# then the same with swap on a disk. STRESS_SECONDS makes each of the two longer.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

seconds=${STRESS_SECONDS:-20}
stress() {
	HOST_MEM=256 ADD=$programs/abi TIMEOUT=$((seconds * 2 + 400)) on_board "$1
		export MALLOC_ARENA_MAX=1
		abi --stress $seconds && rmmod kvm_arm
	" || fail "status $?"
	expect '^memory as it should be$'
	grep -E '^[A-Za-z _]+: ' <<<"$output"
}

DRIVERS=zram stress '
	echo 128M >/sys/block/zram0/disksize || exit
	busybox mkswap /dev/zram0 >/dev/null && busybox swapon /dev/zram0 || exit
'
# A file of this machine as the board's disk.
truncate -s 128M "$work/swap"
QEMU_ARGS="-drive file=$work/swap,format=raw,if=none,id=swap -device virtio-blk-device,drive=swap" stress '
	busybox mkswap /dev/vda >/dev/null && busybox swapon /dev/vda || exit
'
rm -f "$work/swap"
