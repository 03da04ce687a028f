#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The stock kernel boots as a guest on the Orange Pi PC (Allwinner H3), Cortex-A7.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

BOARD=orangepi-pc expect_guest 1
