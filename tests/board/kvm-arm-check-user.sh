#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# kvm-arm-check tells an ordinary user who may not open /dev/kvm why not and what to do, and an owner of a board
# whose GIC has no maintenance interrupt what will not work. Its findings on the other boards are in the tests
# of guests and of refusals (diagnosis.bash).

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

# See diagnosis.bash.
is_stock || exit 0

# shellcheck disable=SC2016 # the board's shell is to expand these
LOAD=0 ADD="$module $checker" on_board "$check_commands"'
	insmod /add/kvm_arm.ko || exit 1
	chmod 600 /dev/kvm
	user alone
	chgrp kvm /dev/kvm && chmod 660 /dev/kvm
	user group
	chmod 666 /dev/kvm
	user allowed
	rmmod kvm_arm
' || fail "status $?"
expect '^alone: todo  /dev/kvm: it belongs to group root alone'
expect '^group: todo  /dev/kvm: you may not open it: as root: adduser nobody kvm'
expect '^allowed: verdict: KVM works here$'

virt_tree
edit_tree -d "$DTB" /intc@8000000 interrupts
LOAD=0 ADD="$checker" on_board "$check_commands check without; exit 0" || fail "without the maintenance interrupt"
expect '^without: note  GIC: .*no maintenance interrupt.*kernel-irqchip=off'
expect '^without: status 1$'
