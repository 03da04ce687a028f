#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# CPUs that were booted in SVC mode are refused.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

export BOARD=vexpress-a15 MACHINE_ARGS=secure=on
expect_refusal 'SVC|HYP' 2 'boot mode: SVC.*secure=off'
