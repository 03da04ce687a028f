#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Four Linux guests that want twice the host's memory, which swaps to a disk.

# shellcheck source=tests/board/pressure.bash
. "$(dirname "$0")/pressure.bash"

# A file of this machine as the board's disk.
truncate -s 2G "$work/swap"
trap 'rm -f "$work/swap"' EXIT
QEMU_ARGS="-drive file=$work/swap,format=raw,cache=unsafe,if=none,id=swap -device virtio-blk-device,drive=swap" pressure '
	busybox mkswap /dev/vda >/dev/null && busybox swapon /dev/vda || exit
'
