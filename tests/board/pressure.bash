# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What pressure-disk and pressure-zram share: a host with 768 MiB runs four Linux guests
# of two CPUs that together want twice that. Each fills its memory, and checks and rewrites
# it again and again, while the host ages, swaps, merges and compacts it, for
# PRESSURE_SECONDS of the board's time. Then one after the other goes through all of its
# memory once more, and ends.
#
# PRESSURE_VARIANT adds to that: thp-madvise, thp-never (the host's setting; it is `always`
# otherwise), log (the monitors turn the dirty log on and off all the time), slots (the guests'
# memory moves all the time).

# shellcheck source=tests/board/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

seconds=${PRESSURE_SECONDS:-600}
host_mib=${PRESSURE_MIB:-768}
variant=${PRESSURE_VARIANT:-none}
# Pages that are to be swapped in, and out. On a slow machine most of that is at the end, when
# each guest needs all of its memory.
enough=50000

# A guest's CPU has a part of an emulated one, and has to wait for its memory. The kernel's tests
# of its own ciphers, which let nobody else in, then take longer than the 21 s after which RCU
# calls that a stall.
guests='cryptomgr.notests=1 rcupdate.rcu_cpu_stall_timeout=120 watchdog_thresh=60'
# DAMON would look at each guest's memory 200 times a second, to no end but the guest's aborts.
# The reclaim ages it.
host='cma=8M damon_stat.enabled=N'

# What the board does, once its swap is there.
# shellcheck disable=SC2016 # it is the board that expands it
board='
	cd /tmp
	# A guest is the monitor, with its console in a file; lines tell it what to do.
	boot() {
		busybox mkfifo orders$1
		{
			monitor run --kernel /add/vmlinuz --initrd /add/pressure.cpio --cpus 2 --mem $guest_mib \
				--advise mergeable $more --cmdline "console=ttyS0 quiet $guests guest=pattern seed=$1" \
				<>orders$1 >vm$1 2>&1
			echo $? >status$1
		} &
		eval "pid$1=$!"
	}
	counter() { sed -n "s/^$1 //p" /proc/vmstat; }
	all() {
		for vm in 1 2 3 4; do
			"$@" $vm || return
		done
	}
	alive() { [ ! -e status$1 ]; }
	order() { echo "$2" 1<>orders$1; }

	uptime() { cut -d. -f1 /proc/uptime; }

	more= thp=always
	case $variant in
	none) ;;
	thp-*) thp=${variant#thp-} ;;
	log) more="--slot-every 1000 --slot log" ;;
	slots) more="--slot-every 500 --slot move" ;;
	*) echo "no variant $variant"; exit 1 ;;
	esac
	echo $thp >/sys/kernel/mm/transparent_hugepage/enabled || exit
	echo 1 >/sys/kernel/mm/ksm/run
	all boot
	start=$(uptime) now=$(uptime) merged=0 lap=0
	while all alive && [ $((now - start)) -lt $seconds ]; do
		sharing=$(cat /sys/kernel/mm/ksm/pages_sharing)
		[ "$sharing" -le $merged ] || merged=$sharing
		if [ $((lap % 20)) = 0 ]; then
			echo 1 >/proc/sys/vm/compact_memory
			echo "after $((now - start)) s: rounds $(grep -ch "round .* verified" vm? | tr "\n" " ")," \
				"swapped in $(counter pswpin) out $(counter pswpout), shared by KSM $sharing"
		fi
		lap=$((lap + 1))
		# The pace, and no more than that.
		sleep 1
		now=$(uptime)
	done
	for stats in /sys/kernel/debug/kvm_arm/*/stats; do
		grep -E "^(pages|blocks)_mapped|^mmu_inv" $stats | tr "\n" " "
		echo
	done
	for vm in 1 2 3 4; do
		order $vm rest
	done
	for vm in 1 2 3 4; do
		order $vm finish
		eval "wait \$pid$vm"
		echo "vm $vm: status $(cat status$vm) after $(($(uptime) - start)) s"
		sed "s/^/vm $vm: /" vm$vm
	done
	echo "swapped in: $(counter pswpin)"
	echo "swapped out: $(counter pswpout)"
	echo "merged by KSM: $merged"
	grep -E "^(compact_|pgmigrate|pgrefill|pgscan|pgsteal|thp_)[a-z_]* [1-9]" /proc/vmstat
	rmmod kvm_arm
'

# pressure SWAP: the test, with swap as the commands SWAP make it.
pressure() {
	local vm what initrd=$work/pressure.cpio
	"$tree/tools/in-root" env KVM_ARM_STOCK="$cache/kernel/$version/arm" KVM_ARM_RELEASE="$release" \
		"$tree/tools/initramfs" "$initrd" "$tree/tools/guest-init" -- "$programs/abi=bin/abi"
	HOST_MEM=$host_mib HOST_CMDLINE=$host ADD="$programs/monitor $zimage $initrd" TIMEOUT=$((seconds + 1800)) \
		on_board "seconds=$seconds variant=$variant guests='$guests' guest_mib=$((host_mib / 2)); $1 $board" || fail "status $?"
	for vm in 1 2 3 4; do
		expect "^vm $vm: status 0"
		expect "^vm $vm: guest: 2 CPUs"
		expect "^vm $vm: guest: [0-9]+ rounds verified"
	done
	case $variant in
	log | slots)
		for vm in 1 2 3 4; do
			at_least 20 "vm $vm: monitor: the slot has changed" " times.*"
		done
		;;
	esac
	! grep -aE 'MISMATCH|Oops|BUG: (unable|Bad)|Bad page|Internal error|soft lockup|rcu.*stall' <<<"$output" ||
		fail "a guest suffered"
	# Far more than what a guest has was away, and came back.
	at_least $enough 'swapped in:'
	at_least $enough 'swapped out:'
	at_least 1000 'merged by KSM:'
	# Compaction took pages out of use, and had them moved.
	at_least 1000 compact_isolated
	at_least 1000 pgmigrate_success
}

# at_least NUMBER WHAT [REST]: the board said of it that it was that much.
at_least() {
	[ "$(sed -n "s/^$2 \([0-9]*\)${3:-}\$/\1/p" <<<"$output")" -ge "$1" ] || fail "$2 less than $1"
}
