# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The tests of kernels with KVM in their tree share this, and tests/board/common.sh.

# shellcheck source=tests/board/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../board/common.sh"

# build_kernel KIND: builds the kernel, which becomes the board's. y: KVM is built in, m: a module.
build_kernel() {
	"$tree/tools/in-tree-kernel" "$1"
	export HOST_KERNEL=$in_tree/$1/zImage
}

# expect_subtests BOARD LEAST: the lines "ok" and "not ok" in $output become tests of their own. None has failed, and
# there are as many as that at least.
expect_subtests() {
	grep -aE '^(not )?ok ' <<<"$output" | sed "s/ok /&$1: /" >"$work/these"
	cat "$work/these" >>"$work/subtests"
	! grep '^not ok' "$work/these" || fail "some checks on $1"
	[ "$(grep -c '^ok ' "$work/these")" -ge "$2" ] || fail "only $(grep -c '^ok ' "$work/these") checks on $1"
}
