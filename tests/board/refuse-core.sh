#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A core that has HYP mode but is none of those that the module knows is refused.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

counted
export QEMU_ARGS='-cpu max'
expect_refusal 'core' 3 'CPU: CPU .*KVM needs Cortex-A15'
