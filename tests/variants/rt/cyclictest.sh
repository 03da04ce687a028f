#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A real-time guest on a real-time host, both with this kernel: how late threads of the highest priority wake up, by
# Debian's cyclictest, on the host beside guests, and in a guest. The emulator counts instructions, one a nanosecond,
# so the same comes out on any machine. The vCPUs are threads of policy SCHED_FIFO.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/../../board/common.sh"

"$tree/tools/firmware"
firmware=$target/firmware
files=()
for library in "$firmware"/*.so.*; do
	files+=("$library=lib/${library##*/}")
done
"$tree/tools/in-root" env KVM_ARM_STOCK="$cache/kernel/$version/arm" KVM_ARM_RELEASE="$release" KVM_ARM_MODULES=none \
	"$tree/tools/initramfs" "$work/rt-guest.cpio" "$tree/tools/guest-init" \
	-- "$firmware/cyclictest=bin/cyclictest" "${files[@]}"
cp "$in_tree/m/zImage" "$work/rt-kernel"

loops=5000
ICOUNT=1 HOST_CPUS=1 TIMEOUT=1500 ADD="$work/rt-guest.cpio $work/rt-kernel $zimage $guest_initrd $programs/monitor $firmware/cyclictest \
	$(printf '%s ' "$firmware"/*.so.*)" on_board "
	fail() { echo \"FAILED: \$*\"; exit 1; }
	mkdir -p /lib
	for library in /add/*.so.*; do ln -s \$library /lib/; done
	measure() { cyclictest --quiet --mlockall --priority=99 --threads --interval=1000 --loops=$loops | sed \"s/^T:/\$1:/\"; }
	guest() {
		monitor run --kernel rt-kernel --initrd rt-guest.cpio --mem 128 --fifo 80 \\
			--cmdline 'console=ttyS0 quiet guest=cyclictest loops=$loops' </dev/null
	}
	measure 'host alone'
	guest > /tmp/said || { cat /tmp/said; fail 'the guest'; }
	sed -n 's/^T:/guest:/p' /tmp/said
	# Guests without a real-time policy boot, one after the other.
	while :; do monitor run --kernel vmlinuz --initrd guest.cpio --mem 128 </dev/null >/dev/null; done &
	measure 'host beside a guest'
	guest >/tmp/said || { cat /tmp/said; fail 'the guest beside another'; }
	sed -n 's/^T:/guest beside another:/p' /tmp/said
	exit 0
" || fail "status $?"

# latest WHERE: the latest wake-up there, in microseconds, after as many as were wanted.
latest() {
	local line
	line=$(grep -a "^$1: " <<<"$output") || fail "no figures of the $1"
	[[ $line =~ C:\ *$loops\  ]] || fail "not $loops wake-ups: $line"
	[[ $line =~ Max:\ *([0-9]+) ]] || fail "no figures of the $1: $line"
	echo "${BASH_REMATCH[1]}"
}

while read -r where most; do
	late=$(latest "${where//-/ }") || exit 1
	echo "${where//-/ }: $late µs at most"
	[ "$late" -le "$most" ] || fail "the ${where//-/ }: $late µs late, and not $most at most"
done <<-LIMITS
	host-alone 50
	guest 50
	host-beside-a-guest 100
	guest-beside-another 100
LIMITS
