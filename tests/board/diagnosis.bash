# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# kvm-arm-check on the boards of other tests: what it says there, and what it has to say. tests/tools/kvm-arm-check.sh
# has the machines that no emulator has.

checker=$tree/contrib/debian/kvm-arm-check
# Whether the host's kernel is the distribution's. Else kvm-arm-check is not asked about it.
is_stock() {
	[ "${DEBUG_KERNEL:-0}" = 0 ] && [ -z "$variant" ]
}

# shellcheck disable=SC2016 # the board's shell is to expand these
if is_stock; then
	check_commands='
		# check NAME: the findings of root.
		check() {
			sh /add/kvm-arm-check >/tmp/said
			echo "$1: status $?"
			sed "s/^/$1: /" /tmp/said
		}
		# user NAME: those of nobody, who may not read the log.
		user() {
			su -s /bin/sh nobody /add/kvm-arm-check | sed "s/^/$1: /"
		}
		echo "root:x:0:0::/root:/bin/sh" >/etc/passwd
		echo "nobody:x:65534:65534::/:/bin/sh" >>/etc/passwd
		printf "root:x:0:\nkvm:x:104:\nnogroup:x:65534:\n" >/etc/group
		chmod 755 / /add /add/kvm-arm-check
		chmod 666 /dev/null
		echo 1 >/proc/sys/kernel/dmesg_restrict
	'
else
	check_commands='
		check() { :; }
		user() { :; }
	'
fi

# expect_host: the findings "before" the module was loaded and when it was "loaded" are those of a board on which
# KVM works, and an ordinary "user" has them too.
expect_host() {
	is_stock || return 0
	expect '^before: ok    CPU: CPU .*Cortex-A'
	expect '^before: ok    GIC: '
	expect '^before: ok    timer: '
	expect "^before: ok    boot mode: HYP \(the kernel's log\)"
	case ${BOARD:-virt-a15} in
	# Their trees make the kernel use the same timer in either mode.
	mcimx7d-sabre | ast2600-evb) expect '^user: \?     boot mode: an ordinary user' ;;
	*) expect '^user: ok    boot mode: HYP \(/proc/interrupts' ;;
	esac
	expect "^before: todo  module: kvm_arm is not there: install kvm-arm-modules-${release//+/[+]}"
	expect '^before: verdict: KVM can work here'
	expect '^before: status 1$'
	expect '^loaded: ok    module: kvm_arm is loaded'
	expect '^loaded: ok    /dev/kvm: you can open it'
	expect '^loaded: note  QEMU: none is installed'
	expect '^loaded: verdict: KVM works here$'
	expect '^loaded: status 0$'
}

# expect_no_host STATUS FINDING WORDS: the finding comes before the module is tried, and "after" that the module's
# own words.
expect_no_host() {
	is_stock || return 0
	expect "^before: no    $2"
	expect "^before: verdict: KVM cannot work "
	expect "^before: status $1$"
	expect "^user: no    $2"
	expect "^after: no    module: kvm_arm was refused: .*($3)"
	expect "^after: status $1$"
}
