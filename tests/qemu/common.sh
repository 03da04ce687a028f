# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The tests of QEMU share this. Otherwise they are like the board tests (tests/board/common.sh).

# shellcheck source=tests/board/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../board/common.sh"

guest_initrd=$target/qemu-guest.cpio
qemu_tar=$target/qemu.tar

# on_board_with_qemu COMMAND: the command finds QEMU, a guest's kernel and initramfs, and the
# functions of tests/qemu/on-board.
on_board_with_qemu() {
	ADD="$qemu_tar $zimage $guest_initrd ${ON_BOARD:-$tree/tests/qemu/on-board} ${MORE:-}" \
		MODULE_PARAMETERS="${MODULE_PARAMETERS:-max_vcpus=8}" TIMEOUT=${TIMEOUT:-900} \
		on_board ". /add/on-board
$1" || fail "status $? of the command or of the board"
}
