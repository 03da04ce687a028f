#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tasks of a Linux guest that wait for each other, with one, two and four vCPUs on one CPU
# of the host. A vCPU that spins for a lock must not do so until the host's next tick. The costs are
# counted in instructions, so they are the same on any machine.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

initrd=$work/tasks.cpio
"$tree/tools/in-root" env KVM_ARM_STOCK="$cache/kernel/$version/arm" KVM_ARM_RELEASE="$release" \
	"$tree/tools/initramfs" "$initrd" "$tree/tools/guest-init" -- "$programs/abi=bin/abi"

# Neither kernel tests its own ciphers meanwhile, nor looks at its memory 200 times a second.
quiet="cryptomgr.notests=1 damon_stat.enabled=N"
ICOUNT=1 HOST_CPUS=1 TIMEOUT=${TIMEOUT:-900} HOST_CMDLINE=$quiet \
	ADD="$programs/monitor $zimage $initrd" on_board "quiet='$quiet'"'
	for cpus in 1 2 4; do
		monitor run --kernel vmlinuz --initrd tasks.cpio --cpus $cpus --mem 128 \
			--cmdline "console=ttyS0 quiet $quiet guest=tasks" |
			sed "s/^tasks: /$cpus CPUs: /"
	done
	rmmod kvm_arm
' || fail "status $? of the board or of rmmod"

# cost CPUS OPERATION
cost() {
	local cost
	cost=$(sed -n "s/^$1 CPUs: $2: \([0-9]*\)\r*\$/\1/p" <<<"$output")
	[ -n "$cost" ] || fail "no cost of \"$2\" with $1 CPUs" >&2
	printf '%s\n' "$cost"
}

# at_most LIMIT CPUS OPERATION
at_most() {
	local cost
	cost=$(cost "$2" "$3")
	[ "$cost" -le "$1" ] || fail "$3 with $2 CPUs: $cost instructions, which is more than $1"
}

# The limits are the costs of the C implementation on a small kernel of its own time, but for two.
# To sleep and wake up costs three times as much in the stock kernel as in that one. And a fork's
# cost is that of copying the process, which was a smaller one there (219,710 with 2 CPUs): here the
# same guest with one CPU, where nobody spins, is the measure.
alone=$(cost 1 'fork and wait')
at_most 30391 2 'round trip'
at_most 42000 4 'round trip' # C: 38,092
at_most $((alone * 135 / 100)) 2 'fork and wait'
at_most $((alone * 135 / 100)) 4 'fork and wait'
at_most 8964 2 'message'
at_most 11212 4 'message'
