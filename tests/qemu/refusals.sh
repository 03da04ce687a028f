#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Requests that cannot work end in an error of QEMU's that says so, not in an assertion.

# shellcheck source=tests/qemu/common.sh
. "$(dirname "$0")/common.sh"

on_board_with_qemu '
	# refused PATTERN ARGUMENTS…
	refused() {
		pattern=$1
		shift
		timeout 600 qemu-system-arm -nodefaults -display none -S "$@" >/tmp/said 2>&1 </dev/null
		status=$?
		[ $status = 1 ] && grep -Eq -- "$pattern" /tmp/said || {
			echo "status $status, not 1, or not \"$pattern\": $*"
			cat /tmp/said
			exit 1
		}
		echo "refused: $*"
	}
	refused "does not support this guest CPU type" -M virt -accel kvm -cpu cortex-a7
	refused "Invalid CPU model" -M virt -accel kvm -cpu cortex-a9
	refused "Invalid CPU model" -M vexpress-a15 -accel kvm -cpu host
	refused "KVM is not supported for this guest CPU type|has EL3 enabled" -M vexpress-a9 -accel kvm
	refused "(does not support GICv3|gic-version=3|GICv3)" -M virt,gic-version=3 -accel kvm -cpu host
	refused "Virtualization extensions" -M virt,virtualization=on -accel kvm -cpu host
	refused "Security extensions" -M virt,secure=on -accel kvm -cpu host
	refused "Virtualization extensions" -M vexpress-a15,virtualization=on -accel kvm -cpu cortex-a15
	refused "Security extensions" -M vexpress-a15,secure=on -accel kvm -cpu cortex-a15
	refused "exceeds (max CPUs|the maximum cpus) supported|Invalid SMP CPUs" -M virt -accel kvm -cpu host -smp 9
	refused "kernel_irqchip=split is not supported" -M virt,kernel-irqchip=split -accel kvm -cpu host
	refused "steal-time" -M virt -accel kvm -cpu host,kvm-steal-time=on
	refused "Property .* not found" -M virt -accel kvm -cpu host,aarch64=off
	refused "can only be used with KVM" -M virt -accel tcg -cpu host
	rmmod kvm_arm || exit
	refused "Could not access KVM kernel module" -M virt -accel kvm -cpu host
	# Who asks for KVM if there is any gets TCG.
	start -M virt -accel kvm -accel tcg -cpu cortex-a15 -S
	must wait_for answered .
	monitor info kvm >/tmp/said
	must grep -q "kvm support: disabled" /tmp/said
	must quits
	echo "TCG instead"
'
[ "$(grep -c '^refused: ' <<<"$output")" = 15 ] || fail "not all were refused"
expect '^TCG instead$'
