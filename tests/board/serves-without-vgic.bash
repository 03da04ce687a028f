# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# For the tests of hosts without a virtual GIC.

# expect_service_without_vgic REASON [TESTS]: the module loads and says in one line of the log why VMs have no
# interrupt controller in the kernel; user space is told so, too; guests run without one. TESTS are
# names of tests for abi; without them it runs all.
expect_service_without_vgic() {
	# Most of the interface has nothing to do with a vGIC.
	local least=150
	[ -z "${2:-}" ] || least=15
	ADD="$programs/abi" TIMEOUT=900 on_board '
		dmesg | grep "kvm_arm: " | grep -v -e "taints kernel" -e "signature and/or" -e "ACTLR.IBE" | sed "s/^/log: /"
		abi --without-vgic '"${2:-}"'; status=$?
		grep -i "kvm_arm" /proc/interrupts | sed "s/^/interrupts: /"
		rmmod kvm_arm || exit 1
		exit $status
	' || fail "status $?"
	expect "^log: .*($1).*KVM_CAP_IRQCHIP is 0"
	[ "$(grep -c '^log: ' <<<"$output")" = 1 ] || fail "more than one line in the log"
	grep -aE '^(not )?ok ' <<<"$output" >>"$work/subtests" || fail "abi said nothing"
	[ "$(grep -c '^ok user irqchip: ' <<<"$output")" = 6 ] || fail "not all tests without a vGIC passed"
	[ "$(grep -c '^ok ' <<<"$output")" -ge $least ] || fail "too few tests"
	expect '^interrupts: .*kvm_arm timer'
	! grep -q '^interrupts: .*kvm_arm vgic' <<<"$output" || fail "there is a maintenance interrupt"
}
