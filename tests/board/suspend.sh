#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The host sleeps while a guest runs: suspend-to-idle until an alarm, and the kernel's tests of suspend and of
# hibernation, to each of their levels. The guest goes on, and no time is missing for it.

# shellcheck source=tests/board/sleep.bash
. "$(dirname "$0")/sleep.bash"

ADD="$programs/monitor $zimage $guest_initrd" TIMEOUT=${TIMEOUT:-400} on_board "$clock"'
	# sleep_as NAME STATE: the host sleeps and wakes up.
	sleep_as() {
		echo $2 >/sys/power/state || fail "$1: the host does not sleep"
		on_time "$1"
	}
	boot
	for level in freezer devices platform; do
		echo $level >/sys/power/pm_test
		sleep_as "suspend, $level" freeze
	done
	echo none >/sys/power/pm_test
	echo +3 >/sys/class/rtc/rtc0/wakealarm
	sleep_as "suspend" freeze
	for level in freezer devices platform processors core; do
		echo $level >/sys/power/pm_test
		sleep_as "hibernation, $level" disk
	done
	end
	rmmod kvm_arm
' || fail "status $?"
grep '^ok ' <<<"$output" >"$work/subtests"
[ "$(wc -l <"$work/subtests")" = 9 ] || fail "too few checks"
