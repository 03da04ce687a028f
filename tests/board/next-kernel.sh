#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Another kernel takes the machine over while guests run: by kexec, and by a panic that leads into a crash kernel. It
# starts in HYP mode, loads the module, and runs a guest.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

"$tree/tools/firmware"
firmware=$target/firmware

# The user space of the next kernel: that of the board, with a command of its own.
mkdir -p "$work/next"
cat >"$work/next/command" <<'COMMAND'
echo "next: $(nproc) CPUs, $(cat /proc/cmdline)"
dmesg | grep 'CPU: All CPU(s) started in' | sed 's/^\[[^]]*\] /next: /'
monitor run --kernel /add/vmlinuz --initrd /add/guest.cpio --cpus 2 --mem 64 \
	--cmdline "console=ttyS0 quiet cryptomgr.notests=1" || exit
rmmod kvm_arm || exit
dmesg | grep -E 'Oops|BUG|WARNING:|stall' && exit 1
exit 0
COMMAND
cat >"$work/next/board" <<'SETTINGS'
LOAD=1
TERMINAL=0
OUTPUT_TTY=
STATUS_TTY=
LAST=poweroff
SIZE=
MODULE_PARAMETERS=
SYMBOLS=0
SETTINGS
echo "DEBUG_KERNEL=0; export TIMEOUT_FACTOR=${TIMEOUT_FACTOR:-1}" >>"$work/next/board"
"$tree/tools/in-root" env KVM_ARM_STOCK="$cache/kernel/$version/arm" KVM_ARM_RELEASE="$release" \
	KVM_ARM_MODULES="${HOST_MODULES:-}" \
	"$tree/tools/initramfs" "$work/next.cpio" "$tree/tools/board-init" virtio_mmio -- \
	"$work/next/command=etc/command" "$work/next/board=etc/board" "$module=kvm_arm.ko" \
	"$programs/monitor=add/monitor" "$zimage=add/vmlinuz" "$guest_initrd=add/guest.cpio"

host_kernel=${HOST_KERNEL:-$zimage}
cp "$host_kernel" "$work/host-kernel"

# next_kernel HOW COMMAND ARGUMENTS: the board's kernel loads the next one, with those arguments, by COMMAND, while two guests
# run, and goes. The log has a panic where one is wanted, so of the log only the next kernel's is looked at, by that.
next_kernel() {
	local how=$1 status=0
	ADD="$work/host-kernel $work/next.cpio $firmware/kexec $firmware/libc.so.6 $firmware/ld-linux-armhf.so.3 \
		$programs/monitor $programs/payload" \
		HOST_MEM=1024 HOST_CMDLINE="crashkernel=320M" \
		TIMEOUT=${TIMEOUT:-300} LOG=$work/$how.log RUN='
		mkdir -p /lib
		cp /add/ld-linux-armhf.so.3 /add/libc.so.6 /lib/
		# next_is HOW: loads the next kernel. kexec would put its initramfs where it unpacks itself (qemu.md).
		next_is() {
			kexec $1 /add/host-kernel --initrd=/add/next.cpio --image-size=$((40 << 20)) \
				--command-line="console=ttyAMA0 panic=-1 loglevel=8 cryptomgr.notests=1 '"$how $3"'" || exit
		}
		for cpu in 0 1; do
			taskset $((1 << cpu)) monitor payload --payload payload --only timer --timer-interrupts 100000000 \
				>/tmp/$cpu 2>&1 &
			until [ -d /sys/kernel/debug/kvm/$!-* ]; do
				kill -0 $! || { cat /tmp/$cpu; exit 1; }
			done
		done
		echo "the guests run"
		'"$2" "$tree/tools/board" >"$work/said" 2>"$work/errors" || status=$?
	output=$(<"$work/said")
	[ $status = 0 ] || fail "$how: status $status: $output $(cat "$work/errors")"
	expect '^the guests run$'
	expect "^next: .*$how"
	expect 'next: CPU: All CPU\(s\) started in HYP mode'
	expect 'guest: user space reached'
	expect 'guest: shutting down'
	echo "ok $how" | tee -a "$work/subtests"
}

: >"$work/subtests"
next_kernel kexec 'next_is -l && kexec -e' ''
next_kernel crash 'next_is -p && echo c >/proc/sysrq-trigger' maxcpus=1
