#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A machine without the virtualization extensions is refused.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

counted
export MACHINE_ARGS=virtualization=off
expect_refusal 'HYP|virtual' 2 'boot mode: SVC.*virtualization=on'
