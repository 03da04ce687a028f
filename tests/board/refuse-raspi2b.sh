#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The Raspberry Pi 2, whose CPUs QEMU starts in SVC mode, is refused.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

export BOARD=raspi2b
expect_refusal 'SVC' 2 "boot mode: SVC.*Raspberry Pi's own firmware"
# The output begins with the first line, on this board's UARTs, too.
[[ $output = before:* ]] || fail "the output has more than the command said"
