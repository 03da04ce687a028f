#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A bare-metal guest checks its machine: on both cores, with one CPU and with four, with
# the interrupt controller made in both ways that the ABI has, all on one host CPU, beside
# another guest there, and while its CPUs move from one host CPU to the other. The same
# checks are made of the emulator's own hardware, so that they are known to be right.
#
# TIMER_INTERRUPTS says how many interrupts of a timer are counted in each of these.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

# Long checks that do not depend on how the guest runs are made once.
quick="--skip 'CP15: every' --skip aborts --skip memory --skip exceptions --skip 'MMIO without syndrome'"

# On the emulated board without a hypervisor; CORE, number of CPUs.
bare() {
	timeout "${TIMEOUT:-120}" "$tree/tools/in-root" qemu-system-arm -M virt -cpu "$1" -smp "$2" \
		-m 1152 -display none -monitor none -serial stdio -kernel "$programs/payload" </dev/null |
		grep -aE '^(not )?ok ' | sed "s/ok /&bare $1, $2 CPUs: /"
}

for core in a15 a7; do
	BOARD=virt-$core ADD="$programs/monitor $programs/payload" \
		TIMEOUT=${TIMEOUT:-900} on_board '
		# run WHAT OPTIONS…
		run() {
			local what=$1
			shift
			monitor payload --payload payload --timer-interrupts '"${TIMER_INTERRUPTS:-3000}"' "$@" |
				sed "s/ok /&virt-'$core' $what: /"
		}
		run "1 CPU" --cpus 1
		run "4 CPUs" --cpus 4 '"$quick"'
		# The vGIC is the same on both cores.
		if [ '$core' = a15 ]; then
			run "1 CPU, legacy" --cpus 1 --irqchip legacy '"$quick"'
			# The host answers all accesses to the distributor.
			echo N >/sys/module/kvm_arm/parameters/hyp_vgic
			run "4 CPUs, without hyp_vgic" --cpus 4 '"$quick"'
			echo Y >/sys/module/kvm_arm/parameters/hyp_vgic
		fi
		# All on one CPU of the host, where they take turns with the hardware.
		taskset 1 monitor payload --payload payload --cpus 4 --irqchip legacy '"$quick"' |
			sed "s/ok /&virt-'$core' 4 CPUs on one: /"
		# Two guests on one CPU of the host, each with values of its own in all registers.
		for guest in first second; do
			taskset 1 monitor payload --payload payload --cpus 2 --only VFP --only banked --only SGI |
				sed "s/ok /&virt-'$core' $guest of two: /" &
		done
		wait
		# From one CPU of the host to the other all the time.
		monitor payload --payload payload --cpus 4 --only timer --only SGI --only SPI --only WF \
			--timer-interrupts '"${TIMER_INTERRUPTS:-3000}"' >/tmp/moving &
		moves=0
		while kill -0 $! 2>/dev/null; do
			for thread in /proc/$!/task/*; do
				taskset -p $((moves % 2 + 1)) ${thread##*/} >/dev/null 2>&1
				moves=$((moves + 1))
			done
		done
		sed "s/ok /&virt-'$core' moving: /" /tmp/moving
		[ $moves -gt 50 ] && echo "ok virt-'$core' moving: $moves times" ||
			echo "not ok virt-'$core' moving: $moves times"
		rmmod kvm_arm
	' || fail "status $? on virt-$core"
	{
		grep -aE '^(not )?ok ' <<<"$output"
		bare cortex-$core 1
		bare cortex-$core 2
	} >>"$work/subtests" || fail "the payload said nothing"
done
! grep '^not ok' "$work/subtests" || fail "some checks"
# enough CORE RUN…: each of these runs there has made its checks.
enough() {
	local run
	for run in "${@:2}"; do
		[ "$(grep -c "^ok virt-$1 $run: " "$work/subtests")" -ge 12 ] ||
			fail "too few checks in the run of $run on virt-$1"
	done
}
enough a15 "1 CPU, legacy" "4 CPUs, without hyp_vgic"
for core in a15 a7; do
	enough $core "1 CPU" "4 CPUs" "4 CPUs on one" "first of two" "second of two" "moving"
done
[ "$(grep -c '^ok bare' "$work/subtests")" -ge 300 ] || fail "too few checks of the bare board"
