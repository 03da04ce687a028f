#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# SIGKILL of the monitor in the middle of KVM_RUN gives all memory back.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

ADD="$programs/monitor $zimage $guest_initrd" TIMEOUT=400 on_board "$free_memory"'
	# wait_for COMMAND: until it succeeds, but not for ever.
	wait_for() {
		local tries=$((900 * TIMEOUT_FACTOR))
		until "$@"; do
			tries=$((tries - 1))
			[ $tries -gt 0 ] || return
			usleep 100000
		done
	}
	says() { grep -q "$1" /tmp/console; }
	no_vm() { [ "$(cat /sys/module/kvm_arm/refcnt)" = 0 ]; }
	turn() {
		: >/tmp/console
		monitor run --kernel vmlinuz --initrd guest.cpio --cpus 2 --mem 256 </dev/null >/tmp/console 2>&1 &
		# In the middle of the guest'"'"'s start: its CPUs run and touch new memory.
		wait_for says "$1" && kill -KILL $! || { cat /tmp/console; exit 1; }
		wait $! 2>/dev/null
		wait_for no_vm || { echo "the VM is still there"; exit 1; }
	}
	# Some memory is freed only when nobody can use it any more, which takes some seconds.
	is_back() {
		after=$(free_kib)
		[ $((before - after)) -lt 2048 ]
	}
	turn "Run /init"    # the lasting costs of the first VM (slabs, module memory) are no leak
	before=$(free_kib)
	for line in "Booting Linux" "Brought up .* 2 CPUs" "Run /init"; do turn "$line"; done
	wait_for is_back
	status=$?
	echo "free: $before KiB before, $after KiB after three killed VMs"
	[ $status = 0 ] || exit
	rmmod kvm_arm
' || fail "memory did not come back, or the module could not be unloaded"
