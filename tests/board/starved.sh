#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The host's memory ends: monitors are killed by the limit of a memory cgroup at STARVED points of their guests' start, and by
# the host's OOM killer. Their VMs go, all memory comes back, and the guest beside them goes on.

# shellcheck source=tests/board/sleep.bash
. "$(dirname "$0")/sleep.bash"

counted
rounds=${STARVED:-6}
ADD="$programs/monitor $zimage $guest_initrd" HOST_MEM=768 HOST_CMDLINE=damon_stat.enabled=N \
	TIMEOUT=${TIMEOUT:-$((300 + 30 * rounds))} on_board "$clock $free_memory rounds=$rounds"'
	# Only the guest that has to live is left, and the memory of the others is back.
	is_over() {
		[ "$(cat /sys/module/kvm_arm/refcnt)" = $alone ] && after=$(free_kib) && [ $((before - after)) -lt 4096 ]
	}
	over() {
		wait_until "$1: a VM is still there, or its memory: $before KiB were free" is_over
		echo "$1: $before KiB free before, $after KiB after"
		on_time "$1"
	}
	is_killed() { dmesg | grep -q "Out of memory: Killed process"; }
	# eat: a guest that wants more memory than there is.
	eat() {
		echo 1000 >/proc/self/oom_score_adj
		exec monitor run --kernel /add/vmlinuz --initrd /add/guest.cpio --cpus 2 --mem 640 \
			--cmdline "console=ttyS0 quiet guest=eat"
	}
	# Nobody else is to be killed.
	echo -1000 >/proc/$$/oom_score_adj
	mkdir /tmp/cgroup
	mount -t cgroup2 none /tmp/cgroup && echo +memory >/tmp/cgroup/cgroup.subtree_control || fail "no memory cgroups"
	boot
	alone=$(cat /sys/module/kvm_arm/refcnt)
	group=/tmp/cgroup/small
	# The first one leaves lasting costs, such as slabs.
	for round in $(seq 0 $rounds); do
		before=$(free_kib)
		mkdir $group
		mib=$((6 + (round * 37 + 11) % 64))
		echo ${mib}M >$group/memory.max
		(echo 0 >$group/cgroup.procs; eat) </dev/null >/tmp/said 2>&1
		status=$?
		[ $status = 137 ] || { cat /tmp/said; fail "a limit of $mib MiB: status $status, not that of SIGKILL"; }
		grep -q "^oom_kill [1-9]" $group/memory.events || fail "a limit of $mib MiB: nobody was killed for it"
		wait_until "the group does not go" rmdir $group
		[ $round = 0 ] || over "killed at $mib MiB"
	done
	before=$(free_kib)
	(eat) </dev/null >/tmp/first 2>&1 & first=$!
	(eat) </dev/null >/tmp/second 2>&1 & second=$!
	wait_until "nobody was killed for want of memory" is_killed
	# The other one has the room now.
	kill -KILL $first $second
	wait $first $second
	dmesg | grep "Out of memory: Killed process" | grep -v "(monitor)" && fail "another process was killed"
	over "killed by the OOM killer"
	end
	rmmod kvm_arm
' || fail "status $?"
grep '^ok ' <<<"$output" >"$work/subtests"
[ "$(wc -l <"$work/subtests")" = $((rounds + 1)) ] || fail "too few checks"
