#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Four Linux guests that want twice the host's memory, which swaps to zram.

# shellcheck source=tests/board/pressure.bash
. "$(dirname "$0")/pressure.bash"

DRIVERS=zram pressure '
	echo 2G >/sys/block/zram0/disksize || exit
	busybox mkswap /dev/zram0 >/dev/null && busybox swapon /dev/zram0 || exit
'
