#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# CPUs of different cores: a vCPU runs on those of its own core, and is refused on others. No emulated
# board has such CPUs, so a module that is built for this test takes CPU 1, a Cortex-A15, for a
# Cortex-A7 by pretend_midr. Guests there find the registers of a Cortex-A7 where accesses trap.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

"$tree/tools/module" pretend
module=$target/module-pretend/kvm_arm.ko

LOAD=0 ADD="$module $programs/abi $programs/monitor $programs/payload" TIMEOUT=${TIMEOUT:-600} on_board '
	insmod /add/kvm_arm.ko pretend_midr=0,0x410fc075 || exit 1
	dmesg | grep "kvm_arm: CPUs" | sed "s/^/log: /"
	abi --big-little || exit 1

	# Guests of each core, one after the other and at the same time.
	guest() {
		taskset $1 monitor payload --payload payload --cpus 2 --only VFP --only banked --only SGI \
			--only SPI --only timer --only PSCI --timer-interrupts 500 | sed "s/ok /&$2: /"
	}
	guest 1 "CPU 0"
	guest 2 "CPU 1"
	guest 1 "CPU 0, both" & guest 2 "CPU 1, both" & wait

	# A monitor that lets its threads go where they like says so and ends.
	taskset 1 monitor payload --payload payload --only timer --timer-interrupts 1000000 >/tmp/lost &
	while [ ! -s /tmp/lost ]; do :; done
	for thread in /proc/$!/task/*; do taskset -p 2 ${thread##*/} >/dev/null; done
	wait $! && exit 1
	grep -q "cannot run on CPU 1, which is of another core" /tmp/lost || exit 1

	# A core goes and comes back.
	echo 0 >/sys/devices/system/cpu/cpu1/online || exit 1
	guest 1 "CPU 0 alone"
	echo 1 >/sys/devices/system/cpu/cpu1/online || exit 1
	guest 2 "CPU 1 again"
	rmmod kvm_arm || exit 1

	# A core that comes while others run guests.
	echo 0 >/sys/devices/system/cpu/cpu1/online || exit 1
	insmod /add/kvm_arm.ko pretend_midr=0,0x410fc075 || exit 1
	guest 1 "CPU 0 first"
	echo 1 >/sys/devices/system/cpu/cpu1/online || exit 1
	guest 2 "CPU 1 later"
	abi --big-little "PREFERRED" || exit 1
	rmmod kvm_arm || exit 1

	# A core that nobody knows cannot come, and guests go on.
	echo 0 >/sys/devices/system/cpu/cpu1/online || exit 1
	insmod /add/kvm_arm.ko enable_virt_at_load=1 pretend_midr=0,0x412fc091 || exit 1
	guest 1 "beside an unknown core" &
	for try in 1 2 3; do
		echo 1 >/sys/devices/system/cpu/cpu1/online && { echo "CPU 1 came"; exit 1; }
	done 2>/dev/null
	wait
	dmesg | grep "kvm_arm: unsupported core" | sed "s/^/log: /"
	rmmod kvm_arm || exit 1
	echo 1 >/sys/devices/system/cpu/cpu1/online || exit 1
	# It is refused at once if it is there.
	insmod /add/kvm_arm.ko pretend_midr=0,0x412fc091 2>&1 && exit 1
	dmesg | tail -n 3 | sed "s/^/end: /"
' || fail "status $?"
expect '^log: .*CPUs 0 are Cortex-A15, CPUs 1 are Cortex-A7: .*taskset'
expect '^log: .*unsupported core \(MIDR 0x412fc091\) of CPU 1: .* stay offline'
expect '^end: .*unsupported core \(MIDR 0x412fc091\): KVM needs Cortex-A15'
grep -aE '^(not )?ok ' <<<"$output" >"$work/subtests" || fail "neither abi nor the payload said a thing"
! grep '^not ok' "$work/subtests" || fail "some checks"
[ "$(grep -c '^ok cores: ' "$work/subtests")" = 10 ] || fail "too few tests of the ABI"
for run in "CPU 0" "CPU 1" "CPU 0, both" "CPU 1, both" "CPU 0 alone" "CPU 1 again" "CPU 0 first" \
	"CPU 1 later" "beside an unknown core"; do
	[ "$(grep -c "^ok $run: " "$work/subtests")" -ge 8 ] || fail "too few checks in the run of $run"
done
