# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The tests with guests of Debian share this. The disks are those of tools/guest-disks; nothing that a test writes to them
# stays. Each step of a test is a line "ok NAME" or "not ok NAME".

# shellcheck source=tests/packages/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../packages/common.sh"

disks=$target/guests
guests=${GUESTS:-armhf armel}
disk=$disks/host.img
: >"$work/rows"

# drive NAME: the emulator's arguments for a disk, which the board knows as /dev/disk/by-id/virtio-NAME.
drive() {
	echo "-drive if=none,id=$1,file=$disks/$1.img,format=raw,cache=unsafe -device virtio-blk-device,drive=$1,serial=$1"
}

# The clock of a machine that is emulated twice goes on while the emulator gets no CPU, and the times that systemd and a guest's kernel keep
# run out. With ICOUNT=1 the board's clock counts instructions.
export ICOUNT=${ICOUNT:-1} HOST_CPUS=${HOST_CPUS:-1}

# works STAGE COMMAND: the board boots, and runs the command in bash, with the functions of tests/guests/host. Lines of the report go
# to the file rows.
works() {
	local guest drives=''
	printf '%s\n' '. ./host' "guests='$guests'" "$2" over >"$work/stage"
	for guest in $guests; do
		drives+=" $(drive "$guest")"
	done
	TIMEOUT=${TIMEOUT:-6000} QEMU_ARGS="-snapshot $drives ${QEMU_ARGS:-}" \
		ADD="$work/stage $tree/tests/guests/host $tree/tests/guests/works $disks/guest.img $disks/guest/source.tar ${ADD:-}" \
		boot "$1" 'bash ./stage || failed=1'
	grep -a '^row	' "$work/said" >>"$work/rows" || true
}
