#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The module builds without a warning for the kernel of Debian testing, too, with that kernel's compilers.

# shellcheck source=tests/tools/common.sh
. "$(dirname "$0")/common.sh"

export SUITE=forky WARNINGS=deny
"$tree/tools/build-root"
"$tree/tools/kernel"
"$tree/tools/vendor"
"$tree/tools/module"

module=$tree/target/forky/module/kvm_arm.ko
built_for=$("$tree/tools/in-root" modinfo -F vermagic "$module")
for suite in trixie forky; do
	SUITE=$suite bash -c '. "$1/tools/common.sh"; . "$kernel_facts"; echo "$release"' - "$tree"
done >"$work/releases"
[ "${built_for%% *}" = "$(tail -n 1 "$work/releases")" ] || fail "it is for $built_for"
[ "$(sort -u "$work/releases" | wc -l)" = 2 ] || fail "both suites have the same kernel"
