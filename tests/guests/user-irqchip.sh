#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The works in small, with QEMU's own interrupt controller (kernel-irqchip=off).

# shellcheck source=tests/guests/common.sh
. "$(dirname "$0")/common.sh"

works user-irqchip '
	must "Debian is up" is_up
	MACHINE=kernel-irqchip=off FORWARD=18080:80 start armhf armhf
	small_on_host
	must "takes commands" ready armhf
	small armhf "armhf, kernel-irqchip=off"
	check "powers off" ends armhf
'
