#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A device tree without the virtual timer's interrupt is refused.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

counted
virt_tree
read -r -a cells < <(tree_property -t x "$DTB" /timer interrupts)
edit_tree -t x "$DTB" /timer interrupts "${cells[@]:0:6}"
expect_refusal 'timer' 2 'timer: .*no virtual interrupt'
