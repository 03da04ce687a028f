#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The ioctls, used rightly and wrongly, as the program abi tries them.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

ADD=$programs/abi TIMEOUT=300 on_board 'abi; status=$?; rmmod kvm_arm || exit 1; exit $status' ||
	result=$?
# Each of its lines is a test.
grep -aE '^(not )?ok ' <<<"$output" >"$work/subtests" || fail "abi said nothing"
[ "${result:-0}" = 0 ] || fail "status $result"
