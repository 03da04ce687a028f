#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The patches in contrib/qemu apply to the source of QEMU that Debian has now, and what they change
# compiles for armhf without a warning. All of QEMU is built by `make qemu`.

# shellcheck source=tests/tools/common.sh
. "$(dirname "$0")/common.sh"

"$tree/tools/qemu" check || fail "the series is not good"
