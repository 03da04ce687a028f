#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Several threads call all ioctls at random, with good arguments and bad ones, while their vCPUs run random
# code, beside a VM that checks itself. The kernel writes nothing that it should not, keeps no memory, and
# goes on.
#
# FUZZ_SEED is the seed. FUZZ_CALLS and FUZZ_SECONDS say when it ends, whichever is first; make test-fuzz makes
# ten million calls.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

options="--seed ${FUZZ_SEED:-1} --calls ${FUZZ_CALLS:-30000}"
options+="${FUZZ_SECONDS:+ --seconds $FUZZ_SECONDS}${FUZZ_ROUND:+ --round $FUZZ_ROUND}"
DRIVERS=vfio ADD=$programs/fuzz STILL=${STILL:-180} TIMEOUT=${TIMEOUT:-1800} on_board "
	fuzz ioctls $options; status=\$?; rmmod kvm_arm || exit 1; exit \$status
" || fail "status $?"
expect ' calls, and all is well$'
