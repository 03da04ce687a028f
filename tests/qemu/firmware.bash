# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The tests of firmware and of kexec in QEMU's guests share this: a disk with a kernel, and commands
# at a prompt.

# shellcheck source=tests/qemu/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$tree/tools/firmware"
"$tree/tools/add-to-root" mtools
firmware=$target/firmware

# make_disk: $disk has a FAT file system with the stock kernel and the user space of
# tests/qemu/firmware-init.
make_disk() {
	local in_root=$tree/tools/in-root
	disk=$work/disk.img
	"$in_root" env KVM_ARM_STOCK="$cache/kernel/$version/arm" KVM_ARM_RELEASE="$release" \
		"$tree/tools/initramfs" "$work/initrd" "$tree/tests/qemu/firmware-init" \
		virtio_mmio virtio_blk vfat nls_cp437 nls_ascii nls_utf8 efivarfs -- \
		"$programs/abi=bin/abi" "$firmware/kexec=bin/kexec" \
		"$firmware/libc.so.6=lib/libc.so.6" \
		"$firmware/ld-linux-armhf.so.3=lib/ld-linux-armhf.so.3"
	md5sum <"$zimage" >"$work/md5"
	rm -f "$disk"
	"$in_root" mformat -i "$disk" -C -T 65536 -h 16 -s 32 ::
	"$in_root" mcopy -i "$disk" "$zimage" ::vmlinuz.efi
	"$in_root" mcopy -i "$disk" "$work/initrd" "$work/md5" ::
}

# Functions for the board. asks COMMAND types it and waits for the next prompt; $prompt is
# a regular expression for the end of the console.
# shellcheck disable=SC2034 # used by those who source this
prompts='
	console_mode=pipe
	patiently() { (TIMEOUT_FACTOR=$((TIMEOUT_FACTOR * 4)); wait_for "$@"); }
	escape=$(printf "\033")
	# plain: without colours and the ends of lines of a terminal.
	plain() { tr -d "\r" | sed "s/$escape\[[0-9;=]*[A-Za-z]//g"; }
	prompted() {
		ended || { [ "$(wc -c </tmp/$vm.console)" -gt $1 ] && tail -c 80 /tmp/$vm.console | plain | tail -n 1 | grep -aq "$prompt\$"; }
	}
	first_prompt() { must patiently prompted 0; must runs; }
	asks() {
		size=$(wc -c </tmp/$vm.console)
		types "$1"
		must patiently prompted $((size + ${#1}))
		must runs
	}
	# answers PATTERN: the last command printed such a line.
	answers() { tail -c +$((size + 1)) /tmp/$vm.console | plain | grep -aEq -- "$1"; }
	finishes() {
		patiently ended
		is_over
	}
	# flash FILE: makes its name that of a flash of 64 MiB that begins with it.
	flash() { mv /add/$1 /tmp/ 2>/dev/null; truncate -s 64M /tmp/$1; }
'
