#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Each place of each call where an allocation or a copy from user space can fail fails once. tests/abi/src/faults.rs
# says what has to hold then.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/../board/common.sh"

ADD="$programs/abi" TIMEOUT=${TIMEOUT:-300} on_board '
	cd /sys/kernel/debug
	# Allocations that may wait fail, too, and those of single pages. The log is for defects.
	for kind in failslab fail_page_alloc; do echo N >$kind/ignore-gfp-wait || exit; done
	echo N >fail_page_alloc/ignore-gfp-highmem || exit
	echo 0 >fail_page_alloc/min-order || exit
	for kind in failslab fail_page_alloc fail_usercopy; do echo 0 >$kind/verbose || exit; done
	abi --faults
' || fail "status $?"
grep -E '^(not )?ok ' <<<"$output" >"$work/subtests" || fail "no test has run"
! grep '^not ok' "$work/subtests" || fail "some calls"
