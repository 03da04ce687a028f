#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A GIC without GICH and GICV in the device tree is refused.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

virt_tree
read -r -a cells < <(tree_property -t x "$DTB" /intc@8000000 reg)
edit_tree -t x "$DTB" /intc@8000000 reg "${cells[@]:0:8}"
expect_refusal 'GICH|GICV|GIC'
