#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# kvm-arm-check tells the truth on each emulated board: on those that can be hosts, before the module is
# there, while it is loaded, and after it has gone, as root and as an ordinary user; on those that the
# module refuses, that it will be refused, and after that with the module's own words.
# tests/tools/kvm-arm-check.sh has the machines that no emulator has.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

program=$tree/contrib/debian/kvm-arm-check
# shellcheck disable=SC2016 # the board's shell is to expand these
commands='
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

# can_be_host [COMMANDS]: a board on which KVM works. The commands come while the module is loaded.
can_be_host() {
	LOAD=0 ADD="$module $program" on_board "$commands"'
		check before
		user user
		insmod /add/kvm_arm.ko || exit 1
		check loaded
		'"${1:-}"'
		rmmod kvm_arm
	' || fail "$BOARD"
	expect '^before: ok    CPU: CPU .*Cortex-A'
	expect '^before: ok    GIC: '
	expect '^before: ok    timer: '
	expect "^before: ok    boot mode: HYP \(the kernel's log\)"
	case $BOARD in
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

# cannot_be_host STATUS FINDING WORDS: the finding comes before the module is tried, the words after that.
cannot_be_host() {
	LOAD=0 ADD="$module $program" on_board "$commands"'
		check before
		user user
		insmod /add/kvm_arm.ko && exit 1
		check after
		exit 0
	' || fail "$BOARD"
	expect "^before: no    $2"
	expect "^before: verdict: KVM cannot work "
	expect "^before: status $1$"
	expect "^user: no    $2"
	expect "^after: no    module: kvm_arm was refused: .*$3"
	expect "^after: status $1$"
}

export BOARD TIMEOUT=${TIMEOUT:-240}
BOARD=virt-a15
# shellcheck disable=SC2016
can_be_host '
	chmod 600 /dev/kvm
	user alone
	chgrp kvm /dev/kvm && chmod 660 /dev/kvm
	user group
	chmod 666 /dev/kvm
	user allowed
'
expect '^alone: todo  /dev/kvm: it belongs to group root alone'
expect '^group: todo  /dev/kvm: you may not open it: as root: adduser nobody kvm'
expect '^allowed: verdict: KVM works here$'
for BOARD in virt-a7 vexpress-a15 orangepi-pc bpim2u mcimx7d-sabre ast2600-evb; do
	can_be_host
done

BOARD=raspi2b
cannot_be_host 2 "boot mode: SVC.*Raspberry Pi's own firmware" SVC
BOARD=vexpress-a15
MACHINE_ARGS=secure=on cannot_be_host 2 'boot mode: SVC.*secure=off' SVC
BOARD=virt-a15
MACHINE_ARGS=virtualization=off cannot_be_host 2 'boot mode: SVC.*virtualization=on' 'virtualization extensions|SVC'
QEMU_ARGS='-cpu max' cannot_be_host 3 'CPU: CPU .*KVM needs Cortex-A15' core

# Device trees.
virt_tree
cp "$DTB" "$work/whole.dtb"
edit_tree -d "$DTB" /intc@8000000 interrupts
LOAD=0 ADD="$program" on_board "$commands check without; exit 0" || fail "$BOARD without the maintenance interrupt"
expect '^without: note  GIC: .*no maintenance interrupt.*kernel-irqchip=off'
expect '^without: status 1$'
cp "$work/whole.dtb" "$DTB"
read -r -a cells < <(tree_property -t x "$DTB" /timer interrupts)
edit_tree -t x "$DTB" /timer interrupts "${cells[@]:0:6}"
cannot_be_host 2 'timer: .*no virtual interrupt' timer
