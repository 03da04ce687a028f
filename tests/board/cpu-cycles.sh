#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Each of four CPUs but the first, which the kernel keeps, goes offline and comes back in turn, CPU_CYCLES times in all, while guests run. A guest of Linux goes on,
# and keeps the time; others come and go.

# shellcheck source=tests/board/sleep.bash
. "$(dirname "$0")/sleep.bash"

cycles=${CPU_CYCLES:-12}
ADD="$programs/monitor $programs/payload $zimage $guest_initrd" HOST_CPUS=4 \
	TIMEOUT=${TIMEOUT:-$((300 + 10 * cycles))} on_board "$clock cycles=$cycles"'
	boot
	# Guests of two CPUs, one after the other.
	(
		while [ ! -e /tmp/stop ]; do
			monitor payload --payload payload --cpus 2 --only VFP --only SGI --only timer --only PSCI --timer-interrupts 200 ||
				echo "not ok status $?"
		done
	) >/tmp/others 2>&1 &
	others=$!
	for cycle in $(seq $cycles); do
		cpu=/sys/devices/system/cpu/cpu$((cycle % 3 + 1))/online
		echo 0 >$cpu || fail "cycle $cycle: a CPU does not go offline"
		[ $((cycle % 6)) != 0 ] || on_time "cycle $cycle, a CPU is offline"
		echo 1 >$cpu || fail "cycle $cycle: a CPU does not come back"
	done
	on_time "after $cycles cycles"
	touch /tmp/stop
	wait $others
	grep "^not ok" /tmp/others && fail "other guests"
	echo "others: $(grep -c "^ok PSCI" /tmp/others)"
	end
	rmmod kvm_arm
' || fail "status $?"
expect '^others: [1-9]'
expect "^ok after $cycles cycles"
