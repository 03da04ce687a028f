#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A guest's network is a tap device of the board, and the board's kernel itself moves the packets
# (vhost-net): kicks come to it by ioeventfd and, with PCI, its interrupts go to the guest by irqfd.

# shellcheck source=tests/qemu/common.sh
. "$(dirname "$0")/common.sh"

DRIVERS='tun vhost_net' on_board_with_qemu '
	mkdir -p /tmp/share
	seq 300000 >/tmp/share/file
	sum=$(md5sum </tmp/share/file)
	httpd -h /tmp/share

	# ticks: the time that the kernel has worked for this QEMU in its vhost thread.
	ticks() {
		for thread in /proc/$(process)/task/*; do
			grep -q "^vhost-" $thread/comm || continue
			sed "s/.*) //" $thread/stat | cut -d " " -f 12,13 | tr " " +
		done
	}
	has_tap() { [ -e /sys/class/net/tap0 ] || ended; }

	# tap TRANSPORT: pci or device (which is MMIO).
	tap() {
		rom=
		[ $1 != pci ] || rom=,romfile=
		boots tap -M virt -accel kvm -cpu host -smp 2 -m 128 \
			-netdev tap,id=net,ifname=tap0,script=no,downscript=no,vhost=on \
			-device virtio-net-$1,netdev=net$rom
		must wait_for has_tap
		must runs
		ifconfig tap0 10.0.3.1 netmask 255.255.255.0 up
		must wait_for said_or_ended "guest: (serves|not ok tap)"
		must said "guest: serves"
		must said "guest: file $sum"
		must wget -q -O /tmp/back http://10.0.3.2/file
		must cmp /tmp/share/file /tmp/back
		must [ "$(($(ticks)))" -gt 0 ]
		must nc 10.0.3.2 5000 </dev/null
		must is_over
		must said "guest: ok tap"
		echo "tap with vhost by $1"
	}
	tap device
	tap pci
	rmmod kvm_arm
'
expect '^tap with vhost by device$'
expect '^tap with vhost by pci$'
