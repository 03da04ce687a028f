#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# SIGKILL of the monitor in the middle of KVM_RUN gives all memory back.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

ADD="$programs/monitor $zimage $guest_initrd" TIMEOUT=400 on_board '
	# With the pages that each CPU has put aside, thousands from run to run, which MemFree leaves out.
	free_kib() {
		sync
		echo 3 >/proc/sys/vm/drop_caches
		awk "/^MemFree/ { n += \$2 } /^ +count:/ { n += 4 * \$2 } END { print n }" /proc/meminfo /proc/zoneinfo
	}
	turn() {
		monitor run --kernel vmlinuz --initrd guest.cpio --cpus 2 --mem 256 </dev/null >/tmp/console 2>&1 &
		# In the middle of the guest'"'"'s start: its CPUs run and touch new memory.
		sleep "$1"
		kill -KILL $! || { cat /tmp/console; exit 1; }
		wait $! 2>/dev/null
		sleep 1
	}
	turn 4    # what the first VM costs for ever (slabs, module memory) is not a leak
	before=$(free_kib)
	for seconds in 2 4 6; do turn $seconds; done
	after=$(free_kib)
	echo "free: $before KiB before, $after KiB after three killed VMs"
	[ $((before - after)) -lt 2048 ] || exit 1
	rmmod kvm_arm
' || fail "memory did not come back, or the module could not be unloaded"
