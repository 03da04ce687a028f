#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The stock kernel boots as a guest with one CPU on the virt board, Cortex-A15.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

counted
BOARD=virt-a15 expect_guest 1
