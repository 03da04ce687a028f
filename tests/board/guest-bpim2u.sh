#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The stock kernel boots as a guest on the Banana Pi M2 Ultra (Allwinner R40), Cortex-A7.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

BOARD=bpim2u expect_guest 1
