#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The stock kernel boots as a guest on the Versatile Express, Cortex-A15.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

BOARD=vexpress-a15 expect_guest 1
