#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Files that are built already are not built again.

# shellcheck source=tests/tools/common.sh
. "$(dirname "$0")/common.sh"

# Before this, target/ may have anything that an earlier run has left.
"$tree/tools/vendor"
"$tree/tools/module"
"$tree/tools/programs"

before=$(stat -c %y "$target/module/kvm_arm.ko" "$target/$user_triple/release/"{abi,monitor,payload})
"$tree/tools/vendor"
"$tree/tools/module"
"$tree/tools/programs"
[ "$before" = "$(stat -c %y "$target/module/kvm_arm.ko" "$target/$user_triple/release/"{abi,monitor,payload})" ] ||
	fail "something was made anew"
# Kbuild prints a line for each file that it makes.
! grep . "$target/module/.messages" || fail "Kbuild made something anew"
