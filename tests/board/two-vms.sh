#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Two VMs at once, both to the end.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

ADD="$programs/monitor $zimage $guest_initrd" TIMEOUT=500 on_board '
	for vm in 1 2; do
		{
			monitor run --kernel vmlinuz --initrd guest.cpio --cpus 1 --mem 128 </dev/null
			echo "vm $vm: status $?"
		} >/tmp/vm$vm 2>&1 &
	done
	wait
	cat /tmp/vm1 /tmp/vm2
	rmmod kvm_arm
' || fail "status $? of the board or of rmmod"
expect 'vm 1: status 0'
expect 'vm 2: status 0'
[ "$(grep -c 'guest: shutting down' <<<"$output")" = 2 ] || fail "not both guests came to their end"
