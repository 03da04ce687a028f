#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A host whose device tree names no GICH and GICV serves VMs that have their interrupt controller in
# user space.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=tests/board/serves-without-vgic.bash
. "$(dirname "$0")/serves-without-vgic.bash"

virt_tree
read -r -a cells < <(tree_property -t x "$DTB" /intc@8000000 reg)
edit_tree -t x "$DTB" /intc@8000000 reg "${cells[@]:0:8}"
expect_service_without_vgic 'GICH and GICV'
