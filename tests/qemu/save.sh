#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A guest that works is saved and restored, by savevm and loadvm, and by migration into a file
# and into a second QEMU while it goes on working.

# shellcheck source=tests/qemu/common.sh
. "$(dirname "$0")/common.sh"

on_board_with_qemu '
	machine="-M virt -accel kvm -cpu host -smp 2 -m 128"
	last_round() { rounds "worker 0" | tail -n 1; }
	# goes_on N: with an empty console, all work, and the first round that is told of is not before N.
	goes_on() {
		wait_for working_or_ended 3 && [ "$(rounds "worker 0" | head -n 1)" -ge $1 ]
	}

	# obeys COMMAND: the monitor has nothing to say against it.
	obeys() { ! monitor "$@" | grep "^Error"; }

	# A disk that has room for snapshots, which QEMU itself makes
	: >/tmp/disk.qcow2
	monitor_mode=control
	start -M none -blockdev driver=file,node-name=file,filename=/tmp/disk.qcow2
	must wait_for answered "\"QMP\""
	qmp "{\"execute\": \"qmp_capabilities\"}"
	qmp "{\"execute\": \"blockdev-create\", \"arguments\": {\"job-id\": \"create\", \"options\":
		{\"driver\": \"qcow2\", \"file\": \"file\", \"size\": 16777216}}}"
	must wait_for answered "\"status\": \"concluded\""
	qmp "{\"execute\": \"quit\"}"
	must wait_for ended
	monitor_mode=readline

	disk="-drive if=none,id=disk,file=/tmp/disk.qcow2,format=qcow2 -device virtio-blk-device,drive=disk"
	boots work $machine $disk
	must wait_for working_or_ended 2
	must runs
	first=$(last_round)
	must obeys savevm one
	must wait_for said "worker 0 round $(($(last_round) + 3))$"
	later=$(last_round)
	: >/tmp/a.console
	must obeys loadvm one
	must goes_on $first
	must [ "$(rounds "worker 0" | head -n 1)" -lt $later ]
	must never "guest: not ok"
	must quits
	echo "loadvm"
	start $machine $disk -kernel /add/vmlinuz -initrd /add/qemu-guest.cpio -loadvm one
	must goes_on $first
	must never "guest: not ok"
	must quits
	echo "loadvm in another"
	rm -f /tmp/disk.qcow2

	boots work $machine
	must wait_for working_or_ended 2
	migrates "exec:cat >/tmp/state"
	start $machine -incoming "exec:cat /tmp/state"
	must goes_on $last
	must never "guest: not ok"
	must quits
	rm -f /tmp/state
	echo "migrated by a file"

	boots work $machine
	must wait_for working_or_ended 2
	vm=b
	start $machine -incoming tcp:127.0.0.1:4444
	must status inmigrate
	vm=a
	migrates tcp:127.0.0.1:4444
	vm=b
	must goes_on $last
	must never "guest: not ok"
	must quits
	echo "migrated live"
	rmmod kvm_arm
'
for line in loadvm 'loadvm in another' 'migrated by a file' 'migrated live'; do
	expect "^$line$"
done
