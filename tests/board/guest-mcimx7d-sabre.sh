#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The stock kernel boots as a guest on the i.MX7D Sabre, Cortex-A7.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

BOARD=mcimx7d-sabre expect_guest 1
