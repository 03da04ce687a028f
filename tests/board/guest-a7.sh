#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The stock kernel boots as a guest on the virt board, Cortex-A7.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

counted
BOARD=virt-a7 expect_guest 1
