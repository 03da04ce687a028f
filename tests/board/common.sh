# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The board tests share this. A test is a script NAME.sh that ends with status 0 if it
# passed; tools/test gives it NAME, a directory of its own in WORK, and keeps its output.

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/common.sh"
# shellcheck source=/dev/null
. "$kernel_facts"

name=${NAME:-$(basename "$0" .sh)}
work=${WORK:-$target/test/$name}
mkdir -p "$work"

module=${MODULE:-$(host_module)}
programs=$target/$user_triple/release
zimage=$cache/kernel/$version/arm/usr/lib/modules/$release/vmlinuz
guest_initrd=$target/guest.cpio
# shellcheck source=tests/board/diagnosis.bash
. "$tree/tests/board/diagnosis.bash"

# on_board COMMAND: runs it on the board and leaves its output in $output. The host's
# log has to be clean. Knobs are those of tools/board.
on_board() {
	local status=0
	LOG=$work/host.log CHECK_LOG=1 RUN=$1 "$tree/tools/board" | tee "$work/said" || status=$?
	output=$(<"$work/said")
	return $status
}

# counted: from here on, boards have one CPU, whose clock counts instructions, and sleep takes no time. Such a board needs
# half the time of this machine or less, as no tick of a clock that goes on by itself breaks into its work. It suits
# tests in which the CPUs of the host have nothing to do with each other.
counted() {
	export ICOUNT=${ICOUNT:-1} HOST_CPUS=${HOST_CPUS:-1}
}

fail() {
	printf 'FAILED: %s\n' "$*"
	exit 1
}

# expect PATTERN: $output has a line like it.
expect() {
	grep -Eq -- "$1" <<<"$output" || fail "no line like \"$1\" in what the board said"
}

# A function for the board: the host's free memory in KiB. The pages that each CPU has put aside count as free: MemFree leaves
# them out, and they are thousands.
# shellcheck disable=SC2034 # used by those who source this
free_memory='
	free_kib() {
		sync
		echo 3 >/proc/sys/vm/drop_caches
		awk "/^MemFree/ { n += \$2 } /^ +count:/ { n += 4 * \$2 } END { print n }" /proc/meminfo /proc/zoneinfo
	}
'

# build_host_registers: builds the module that shows the host's registers, as the file $registers.
build_host_registers() {
	mkdir -p "$work/host_registers"
	MAKEFLAGS='' "$tree/tools/in-root" make --no-print-directory -C "$(host_source)" \
		ARCH=arm CROSS_COMPILE=arm-linux-gnueabihf- CC="$compiler" \
		KERNELRELEASE="$(host_release)" M="$tree/tests/board/host_registers" MO="$work/host_registers" modules \
		>"$work/build.log" 2>&1 || fail "the module with the host's registers: $work/build.log"
	registers=$work/host_registers/host_registers.ko
}

# virt_tree: writes the device tree that the board has anyway into the file DTB, for a test to
# edit.
virt_tree() {
	export DTB=$work/board.dtb HOST_CPUS=${HOST_CPUS:-2} HOST_MEM=1024
	"$tree/tools/in-root" qemu-system-arm -M "virt,virtualization=on,dumpdtb=$DTB" \
		-cpu cortex-a15 -smp "$HOST_CPUS" -m "$HOST_MEM" -display none >/dev/null
}

edit_tree() {
	"$tree/tools/in-root" fdtput "$@"
}

tree_property() {
	"$tree/tools/in-root" fdtget "$@"
}

# expect_refusal REASON STATUS FINDING: insmod fails with ENODEV and says why in one line of the log;
# nothing is left behind. kvm-arm-check ends with that status and has found that, before and after.
expect_refusal() {
	LOAD=0 ADD="$module $checker" TIMEOUT=${TIMEOUT:-240} on_board "$check_commands"'
		check before
		user user
		before=$(ls /dev | sort | md5sum)
		lines=$(dmesg | wc -l)
		insmod /add/kvm_arm.ko 2>&1 && { echo "insmod succeeded"; exit 1; }
		dmesg | tail -n +$((lines + 1)) | grep "kvm_arm: " | grep -v -e "taints kernel" -e "signature and/or" | sed "s/^/log: /"
		[ -e /dev/kvm ] && { echo "/dev/kvm is there"; exit 1; }
		grep -q ^kvm_arm /proc/modules && { echo "the module is there"; exit 1; }
		grep kvm_arm /proc/interrupts && { echo "an interrupt is there"; exit 1; }
		[ "$before" = "$(ls /dev | sort | md5sum)" ] || { echo "/dev has changed"; exit 1; }
		check after
		exit 0
	' || fail "the refusal left something behind, or the board did not live through it"
	expect 'No such device'
	expect "^log: .*($1)"
	# busybox tries a second time with the older system call, so the line is there twice.
	[ "$(sed -n 's/^log: \[[^]]*\]//p' <<<"$output" | sort -u | wc -l)" = 1 ] ||
		fail "more than one line in the log"
	expect_no_host "$2" "$3" "$1"
}

# expect_guest CPUS: a guest of the stock kernel reaches its user space and shuts down. kvm-arm-check says
# that this can be.
expect_guest() {
	LOAD=0 ADD="$module $checker $programs/monitor $zimage $guest_initrd" TIMEOUT=${TIMEOUT:-300} on_board "$check_commands
		check before
		user user
		insmod /add/kvm_arm.ko || exit
		check loaded
		monitor run --kernel /add/vmlinuz --initrd /add/guest.cpio --cpus $1 --mem 256 || exit
		rmmod kvm_arm
	" || fail "status $? of the monitor, of rmmod or of the board"
	expect_host
	expect 'guest: user space reached'
	expect "guest: $1 CPUs"
	expect 'guest: counters of armv7_cortex_a(7|12|15|17)'
	expect 'guest: clock KVM virtual PTP'
	expect 'guest: shutting down'
}
