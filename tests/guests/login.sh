#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Debian guests, armhf and armel, boot side by side on a board with Debian, by the QEMU of our packages, to a login. Root logs in on
# the serial console, and systemd has started all there is.

# shellcheck source=tests/guests/common.sh
. "$(dirname "$0")/common.sh"

works login '
	must "Debian is up" is_up
	# booted: the milliseconds from the start of the kernel until systemd has started all there is.
	booted() { echo $(($(systemctl show --property=FinishTimestampMonotonic --value) / 1000)); }
	for guest in $guests; do
		start $guest $guest
	done
	for guest in $guests; do
		must "$guest: takes commands" ready $guest
		must "$guest: login" logs_in $guest
		check "$guest: its own architecture" test "$(in_guest $guest "dpkg --print-architecture")" = $guest
		check "$guest: two CPUs" test "$(in_guest $guest nproc)" = 2
		row boot $guest "systemd is up, root logs in" "$(in_guest $guest "echo \$((\$(systemctl show --property=FinishTimestampMonotonic --value) / 1000))")" "$(booted)" >>$files/rows
		check "$guest: powers off" ends $guest
	done
'
