#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Unsafe code does not grow: beside the crates that forbid it, the module has at most
# 12 uses in 1,000 lines. Code that needs more belongs behind a safe function of src/glue.

# shellcheck source=tests/tools/common.sh
. "$(dirname "$0")/common.sh"

limit=12.0
"$tree/tools/count-unsafe" | tee "$work/unsafe"
density=$(awk '/^without src/ { print $(NF - 2) }' "$work/unsafe")
awk -v density="$density" -v limit="$limit" 'BEGIN { exit !(density > 0 && density <= limit) }' ||
	fail "$density uses of unsafe in 1,000 lines, more than $limit"
