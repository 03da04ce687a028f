#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The host powers off while a guest's CPUs run. HYP mode is given back, and nobody hears of an error.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

# HYP mode is that of the VM or that of the module.
for at_load in 0 1; do
	MODULE_PARAMETERS=enable_virt_at_load=$at_load \
		ADD="$programs/monitor $zimage $guest_initrd" TIMEOUT=400 on_board '
		monitor run --kernel vmlinuz --initrd guest.cpio --cpus 2 --mem 256 </dev/null >/tmp/console 2>&1 &
		tries=$((900 * TIMEOUT_FACTOR))
		until grep -q "Brought up .* 2 CPUs" /tmp/console; do
			tries=$((tries - 1))
			[ $tries -gt 0 ] && kill -0 $! || { cat /tmp/console; exit 1; }
			usleep 100000
		done
		echo "the guest runs"
	' || fail "status $?"
	expect "^the guest runs$"
done
