#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# hackbench and cyclictest in two guests with two CPUs each, at once, while the host swaps and merges their memory. What lies in the memory
# of the guests must not change, and all that was to run has run.

# shellcheck source=tests/guests/common.sh
. "$(dirname "$0")/common.sh"

rm -f "$work/swap.img"
truncate -s 1G "$work/swap.img"
QEMU_ARGS="-drive if=none,id=swap,file=$work/swap.img,format=raw,cache=unsafe -device virtio-blk-device,drive=swap,serial=swap"
commands='
	must "Debian is up" is_up
	must "the host: stress" on_host stress '"${STRESS_LOOPS:-300} ${WAKE_UPS:-1000}"' 64
	swap=/dev/disk/by-id/virtio-swap
	must "the host: swap" mkswap $swap
	must "the host: swaps" swapon $swap
	# The two guests have less memory of the host than they want.
	vms=/sys/fs/cgroup/guests
	mkdir $vms
	echo +memory >/sys/fs/cgroup/cgroup.subtree_control
	echo '"${LIMIT_MIB:-360}"'M >$vms/memory.max
	ksm=/sys/kernel/mm/ksm
	echo 1000 >$ksm/pages_to_scan
	echo 1 >$ksm/run
	for guest in $guests; do
		IN_GROUP=$vms GUEST_MIB=320 start $guest $guest
	done
	for guest in $guests; do
		must "$guest: takes commands" ready $guest
	done
	before=$(swapped)
	in_guest armel "timed stress '"${STRESS_LOOPS:-300} ${WAKE_UPS:-1000}"' 64" >$files/armel.stress 2>&1 &
	armel=$!
	check "armhf: hackbench and cyclictest" both armhf armhf stress '"${STRESS_LOOPS:-300} ${WAKE_UPS:-1000}"' 64
	wait $armel
	check "armel: hackbench and cyclictest" compared armel armel stress $files/armel.stress
	number[armel]=$((number[armel] + 1))
	pages=$(($(swapped) - before))
	merged=$(cat $ksm/pages_sharing)
	check "the host has swapped: $pages pages" test $pages -gt 1000
	check "the host has merged pages: $merged" test "$merged" -gt 1000
	row "stress, of the host" "both" "$pages pages swapped in or out, $merged pages merged" - - >>$files/rows
	for guest in $guests; do
		check "$guest: has no complaint" in_guest $guest "! dmesg | grep -E \"BUG|WARNING|Oops|stall|lockup\""
		check "$guest: powers off" ends $guest
	done
'
works stress "$commands"
rm "$work/swap.img"
