#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A Linux guest is stopped while it boots, all its state is read out through the ABI and
# written into a new VM, and it goes on there; a hundred times.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

counted
for board in virt-a15 virt-a7; do
	BOARD=$board ADD="$programs/monitor $zimage $guest_initrd" TIMEOUT=300 on_board '
		monitor run --kernel /add/vmlinuz --initrd /add/guest.cpio --cpus 4 --mem 256 \
			--move-every 50 --moves 100 2>&1 || exit
		rmmod kvm_arm
	' || fail "status $? of the monitor, of rmmod or of the board, $board"
	expect 'guest: user space reached'
	expect 'guest: 4 CPUs'
	expect 'guest: shutting down'
	expect 'moved to another machine 100 times'
	! grep -qE 'rcu.*stall|BUG:|Oops|soft lockup' <<<"$output" || fail "the guest suffered"
	echo "ok $board: moved a hundred times" >>"$work/subtests"
done
