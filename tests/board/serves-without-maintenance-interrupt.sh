#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A host whose GIC has no maintenance interrupt serves VMs that have their interrupt controller in
# user space.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=tests/board/serves-without-vgic.bash
. "$(dirname "$0")/serves-without-vgic.bash"

virt_tree
edit_tree -d "$DTB" /intc@8000000 interrupts
# The other test of that kind runs them all.
expect_service_without_vgic 'no maintenance interrupt' 'irqchip gic irq device'
