#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A guest reads and writes its virtio disk, and the file on the host shows it.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

counted
ADD="$programs/monitor $zimage $guest_initrd" TIMEOUT=300 on_board '
	seq 13000 | head -c 65536 >/tmp/disk
	echo "host: disk $(md5sum </tmp/disk)"
	dd if=/dev/zero of=/tmp/disk bs=64k seek=1 count=15 2>/dev/null
	monitor run --kernel vmlinuz --initrd guest.cpio --mem 128 --disk /tmp/disk \
		--cmdline "console=ttyS0 earlycon guest=disk" </dev/null || exit
	dd if=/tmp/disk bs=64k skip=1 count=1 of=/tmp/second 2>/dev/null
	dd if=/tmp/disk bs=64k count=1 2>/dev/null | tac | cmp - /tmp/second || exit 1
	rmmod kvm_arm
' || fail "status $?"
expect 'guest: disk written'
[ "$(grep -o 'disk [0-9a-f]\{32\}' <<<"$output" | sort -u | wc -l)" = 1 ] || fail "the guest read something else"
