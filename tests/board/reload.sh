#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The module is loaded and unloaded RELOADS times, with a guest each tenth time, and the host's memory is as before.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

rounds=${RELOADS:-40}
ADD="$module $programs/monitor $programs/payload" LOAD=0 TIMEOUT=${TIMEOUT:-$((200 + 3 * rounds))} \
	on_board "$free_memory rounds=$rounds"'
	turn() {
		insmod /add/kvm_arm.ko || exit
		[ $(($1 % 10)) != 0 ] || monitor payload --payload payload --only PSCI >/tmp/said || { cat /tmp/said; exit 1; }
		rmmod kvm_arm || exit
	}
	# The lasting costs of the first turns (slabs, page tables of the modules) are no leak.
	for turn in $(seq 10); do turn $turn; done
	before=$(free_kib)
	for turn in $(seq $rounds); do turn $turn; done
	# Some memory is freed only when nobody can use it any more, which takes some seconds.
	tries=$((300 * TIMEOUT_FACTOR))
	until after=$(free_kib); [ $((before - after)) -lt 1024 ]; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || { echo "free: $before KiB before, $after KiB after $rounds turns"; exit 1; }
		usleep 100000
	done
	echo "free: $before KiB before, $after KiB after $rounds turns"
' || fail "status $?"
expect "after $rounds turns"
