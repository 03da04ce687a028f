#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The questions that libvirt asks QEMU before it makes a guest.

# shellcheck source=tests/qemu/common.sh
. "$(dirname "$0")/common.sh"

on_board_with_qemu '
	qemu-system-arm -M virt -accel kvm -cpu help | sed "s/^ */cpu: /"
	monitor_mode=control
	# As libvirt does, without a machine
	start -M none -accel kvm -accel tcg -S
	must wait_for answered "\"QMP\""
	qmp "{\"execute\": \"qmp_capabilities\"}"
	echo "kvm: $(qmp "{\"execute\": \"query-kvm\"}")"
	echo "gic: $(qmp "{\"execute\": \"query-gic-capabilities\"}")"
	echo "definitions: $(qmp "{\"execute\": \"query-cpu-definitions\"}")"
	for model in host max cortex-a9; do
		echo "$model: $(qmp "{\"execute\": \"query-cpu-model-expansion\", \"arguments\":
			{\"type\": \"full\", \"model\": {\"name\": \"$model\"}}}" | tr -d "\n")"
	done
	echo "off: $(qmp "{\"execute\": \"query-cpu-model-expansion\", \"arguments\":
		{\"type\": \"full\", \"model\": {\"name\": \"host\", \"props\": {\"pmu\": false}}}}" | tr -d "\n")"
	qmp "{\"execute\": \"quit\"}"
	must wait_for ended
	rmmod kvm_arm
'
expect '^cpu: host'
expect '^cpu: cortex-a15'
expect '^kvm: .*"enabled": true'
expect '^gic: .*"emulated": true, "version": 3, "kernel": false'
expect '^gic: .*"emulated": true, "version": 2, "kernel": true'
expect '^definitions: .*"name": "host"'
expect '^host: .*"return".*"pmu": true'
expect '^max: .*"return".*"pmu": true'
expect '^off: .*"return".*"pmu": false'
expect '^cortex-a9: .*"error".*works with KVM'
