#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The promises of tools/board on boards without virtio, where output and status go over UARTs: each byte
# and the status come back, and nothing else. What a board cannot have is refused before it starts.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

# All bytes, which a terminal would take for end of file, interrupt, stop and the like; and more than the
# buffers on the way hold.
for byte in $(seq 0 255); do
	# shellcheck disable=SC2059 # the format is the byte
	printf "\\x$(printf %02x "$byte")\r\n"
done >"$work/bytes"
head -c 100000 /dev/urandom >>"$work/bytes"
status=0
BOARD=mcimx7d-sabre LOAD=0 ADD=$work/bytes LOG=$work/host.log RUN='
	sleep 1000 &
	echo "a line for the log" >/dev/kmsg
	cat bytes
	echo err >&2
	[ -t 1 ] && exit 1
	exit 7' "$tree/tools/board" >"$work/output" || status=$?
[ "$status" = 7 ] || fail "status $status instead of 7"
cmp "$work/output" <(cat "$work/bytes" && echo err) || fail "the output was changed"
grep -aq 'a line for the log' "$work/host.log" || fail "the log is not in the log"

# A board that cannot power itself off ends, too, and a module that is none is not loaded.
status=0
said=$(BOARD=ast2600-evb MODULE=$work/bytes LOG=$work/host.log RUN=true "$tree/tools/board" 2>&1) || status=$?
[ "$status" = 125 ] || fail "status $status instead of 125 without a module"
grep -q 'the module did not load' <<<"$said" || fail "no word of the module"

status=0
BOARD=orangepi-pc LOAD=0 TIMEOUT=3 TIMEOUT_FACTOR=1 RUN=true LOG=$work/host.log "$tree/tools/board" || status=$?
[ "$status" = 124 ] || fail "status $status instead of 124 after a time-out"

while read -r knobs; do
	# shellcheck disable=SC2086 # several
	! said=$(env LOAD=0 RUN=true $knobs "$tree/tools/board" 2>&1) || fail "$knobs is not refused"
	grep -q "^error: ${knobs##* }: " <<<"$said" || fail "$knobs: $said"
done <<-KNOBS
	BOARD=orangepi-pc HOST_CPUS=2
	BOARD=bpim2u HOST_CPUS=1
	BOARD=mcimx7d-sabre HOST_CPUS=4
	BOARD=ast2600-evb HOST_CPUS=1
	BOARD=orangepi-pc HOST_MEM=512
	BOARD=raspi2b HOST_MEM=2048
	BOARD=orangepi-pc2
KNOBS
