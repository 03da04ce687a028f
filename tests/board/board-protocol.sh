#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What a command prints, and its status, come back unchanged; time-outs are failures.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

status=0
LOAD=0 RUN='printf "a\r\n\000b"; echo err >&2; exit 7' LOG=$work/host.log \
	"$tree/tools/board" >"$work/output" || status=$?
[ "$status" = 7 ] || fail "status $status instead of 7"
cmp "$work/output" <(printf 'a\r\n\000berr\n') || fail "the output was changed"

status=0
LOAD=0 TIMEOUT=3 RUN='sleep 100' LOG=$work/host.log "$tree/tools/board" || status=$?
[ "$status" = 124 ] || fail "status $status instead of 124 after a time-out"
