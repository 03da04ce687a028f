#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The vCPUs of a VM execute random instructions in random states: all modes, translation tables, coprocessors,
# the vGIC, the firmware. Neither the host, whose registers a module shows, nor a VM that checks itself may
# notice.
#
# FUZZ_SEED is the seed. FUZZ_RUNS (of vCPUs) and FUZZ_SECONDS say when it ends, whichever is first; make test-fuzz goes
# on for an hour.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

build_host_registers

options="--seed ${FUZZ_SEED:-1} --calls ${FUZZ_RUNS:-5000}"
options+="${FUZZ_SECONDS:+ --seconds $FUZZ_SECONDS}${FUZZ_ROUND:+ --round $FUZZ_ROUND}"
ADD="$programs/fuzz $registers" STILL=${STILL:-180} TIMEOUT=${TIMEOUT:-1800} on_board "
	insmod /add/host_registers.ko || exit
	fuzz guests $options; status=\$?; rmmod kvm_arm || exit 1; exit \$status
" || fail "status $?"
expect '^registers of 2 CPUs of the host are looked at$'
expect ' calls, and all is well$'
