# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The tests of the packages share this. Each step of them is a line "ok NAME" or "not ok NAME" of the board
# (tests/packages/on-board), and tools/test counts each as a test of its own.

# shellcheck source=tests/board/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../board/common.sh"

debs=$target/deb
disk=$work/root.img
here=$tree/tests/packages
: >"$work/subtests"

# boot STAGE COMMAND: boots the disk, and runs the command there. Its files are those of ADD.
boot() {
	local status=0
	echo "--- $1"
	LOG=$work/$1.log CHECK_LOG=1 ROOT_DISK=$disk HOST_MEM=${HOST_MEM:-1536} TIMEOUT=${TIMEOUT:-1200} \
		ADD="$here/on-board ${ADD:-}" RUN=". ./on-board
$2
end" "$tree/tools/board" | tee "$work/said" || status=$?
	cp "$work/$1.log" "$work/host.log"
	grep -aE '^(not )?ok ' "$work/said" >>"$work/subtests" || true
	[ $status = 0 ] || fail "status $status of the stage $1"
	# Each stage says so when it has come to its end.
	grep -q '^end of the stage$' "$work/said" || fail "the stage $1 has ended early"
}

# repository FOLDER FILE…: makes it a repository for apt, of these packages and of what is there.
repository() {
	local folder=$1
	mkdir -p "$folder"
	[ $# = 1 ] || cp "${@:2}" "$folder/"
	"$tree/tools/debian-root" index "$folder"
}

# files FOLDER: those in it, for ADD.
files() {
	printf '%s\n' "$1"/*
}
