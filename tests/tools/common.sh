# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The tests of the scripts under tools/ share this. They run on this machine, without a board.
# A test is a script NAME.sh that ends with status 0 if it passed; tools/test gives it NAME and
# a directory of its own in WORK, and keeps its output.

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/common.sh"

name=${NAME:-$(basename "$0" .sh)}
work=${WORK:-$target/test/$name}
mkdir -p "$work"

fail() {
	printf 'FAILED: %s\n' "$*"
	exit 1
}
