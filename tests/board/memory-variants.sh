#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The memory stress with one thing more in each run: transparent huge pages always, where
# asked for, and never; hugetlbfs; the dirty log switched on and off all the time; slots
# moved all the time.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

seconds=${STRESS_SECONDS:-10}
variants='thp-always thp-madvise thp-never hugetlb log slots'
DRIVERS=zram HOST_MEM=256 ADD=$programs/abi TIMEOUT=$((seconds * 6 + 600)) on_board "
	echo 128M >/sys/block/zram0/disksize || exit
	busybox mkswap /dev/zram0 >/dev/null && busybox swapon /dev/zram0 || exit
	export MALLOC_ARENA_MAX=1
	for variant in $variants; do
		echo \"== \$variant\"
		abi --stress $seconds \$variant || exit
	done
	rmmod kvm_arm
" || fail "status $?"
[ "$(grep -c '^memory as it should be$' <<<"$output")" = 6 ] || fail "a variant did not end"
