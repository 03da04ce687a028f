#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The stock kernel boots as a guest on the AST2600 EVB, Cortex-A7. Its host kernel does not split the end
# of an interrupt from its deactivation.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

BOARD=ast2600-evb expect_guest 1
