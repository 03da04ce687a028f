#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A GIC without the maintenance interrupt is refused.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

virt_tree
edit_tree -d "$DTB" /intc@8000000 interrupts
expect_refusal 'maintenance|interrupt'
