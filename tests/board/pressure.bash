# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# pressure-disk and pressure-zram share this: a host with PRESSURE_MIB runs four Linux guests
# of two CPUs that together want twice that. Each fills its memory, and checks and rewrites
# it again and again, while the host ages, swaps, merges and compacts it, for
# PRESSURE_SECONDS of the board's time. Then one guest after the other goes through all of
# its memory once more, and ends.
#
# PRESSURE_VARIANT changes that:
#   thp-madvise  the host has huge pages only for those who ask for them: guests 1 and 2 do
#                (otherwise it is `always`, and all have some)
#   thp-never    the host has none
#   hugetlb      guests 1 and 2 have a part of their memory in hugetlbfs; there are no others
#   log          the monitors turn the dirty log on and off all the time
#   slots        the guests' memory moves all the time

# shellcheck source=tests/board/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

seconds=${PRESSURE_SECONDS:-60}
# The guests of the short form fill their memory sooner, which is most of the work.
host_mib=${PRESSURE_MIB:-$((seconds >= 600 ? 768 : 512))}
variant=${PRESSURE_VARIANT:-none}
factor=${TIMEOUT_FACTOR:-1}
hugetlb_mib=64
# Pages that are to be swapped in, and out, while the guests check their memory, and in all. On a
# slow machine most of that is at the end, when each guest needs all of its memory.
enough_meanwhile=$((seconds >= 600 ? 20000 : 10000))
enough=$((seconds >= 600 ? 100000 : 50000))
# In the long form, each guest has to get through all of its memory meanwhile. In the short one it does
# so at the end.
rounds_meanwhile=$((seconds >= 600 ? 1 : 0))
# Pages that KSM is to have merged at some time.
enough_merged=1000

# A guest's CPU has a part of an emulated one, and has to wait for its memory. The kernel's tests
# of its own ciphers, which let nobody else in, then take longer than the 21 s after which RCU
# calls that a stall. RCU takes no limit of more than 300 s.
stall=$((factor > 2 ? 300 : 120 * factor))
guests="cryptomgr.notests=1 rcupdate.rcu_cpu_stall_timeout=$stall watchdog_thresh=$((60 * factor))"
# DAMON would look at each guest's memory 200 times a second, to no end but the guest's aborts.
# The reclaim ages it.
host='cma=8M damon_stat.enabled=N'

# A lack of memory or of swap is a failure, too, of the host and of the guests.
short='Out of memory|oom-kill|page allocation failure|Bad swap|(Read|Write)-error on swap'

# The board does this, once its swap is there.
# shellcheck disable=SC2016 # it is the board that expands it
board='
	cd /tmp
	# A guest is the monitor, with its console in a file; lines give it orders.
	boot() {
		busybox mkfifo orders$1
		local own=
		[ $1 -gt 2 ] || own=$some
		{
			monitor run --kernel /add/vmlinuz --initrd /add/pressure.cpio --cpus 2 --mem $guest_mib \
				--advise mergeable $more $own --cmdline "console=ttyS0 quiet $guests guest=pattern seed=$1" \
				<>orders$1 >vm$1 2>&1 &
			echo $! >monitor$1
			wait $!
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
	rounds() { grep -c "round .* verified" vm$1 || true; }
	was_through() { [ "$(rounds $1)" -ge $rounds_meanwhile ]; }
	tell_rounds() { echo "vm $1: rounds meanwhile: $(rounds $1)"; }
	# The directory of a VM begins with the number of the thread that made it.
	tell_statistics() {
		sed -nE "/^((pages|blocks)_mapped|mmu_invalidations|pages_aged|access_flag_faults) /s/^/vm $1: /p" \
			/sys/kernel/debug/kvm/$(cat monitor$1)-*/stats
	}

	uptime() { cut -d. -f1 /proc/uptime; }

	more= thp=always some=
	case $variant in
	none) ;;
	thp-madvise) thp=madvise some="--advise hugepage" ;;
	thp-never) thp=never ;;
	hugetlb)
		thp=never some="--hugetlb $hugetlb_mib"
		echo $hugetlb_mib >/proc/sys/vm/nr_hugepages
		# Two guests, and pages of 2 MiB.
		[ "$(cat /proc/sys/vm/nr_hugepages)" = $hugetlb_mib ] || exit
		;;
	log) more="--slot-every 1000 --slot log" ;;
	slots) more="--slot-every 500 --slot move" ;;
	*) echo "no variant $variant"; exit 1 ;;
	esac
	echo $thp >/sys/kernel/mm/transparent_hugepage/enabled || exit
	echo 1 >/sys/kernel/mm/ksm/run
	# At its nice value of 5, beside eight busy CPUs of guests, ksmd would need ten minutes of a slow
	# machine to see each page once, and it merges no page before it has seen that twice.
	busybox renice 0 -p $(busybox pidof ksmd) || exit
	all boot
	start=$(uptime) now=$(uptime) merged=0 lap=0
	# This lasts for PRESSURE_SECONDS, and on a slow machine until enough has happened.
	while all alive && [ $((now - start)) -lt $((seconds + 600 * factor)) ]; do
		if [ $((now - start)) -ge $seconds ] && all was_through &&
			[ "$(counter pswpin)" -ge $enough ] && [ "$(counter pswpout)" -ge $enough ] &&
			[ $merged -ge $enough_merged ]; then
			break
		fi
		sharing=$(cat /sys/kernel/mm/ksm/pages_sharing)
		[ "$sharing" -le $merged ] || merged=$sharing
		if [ $((lap % 20)) = 0 ]; then
			echo 1 >/proc/sys/vm/compact_memory
			echo "after $((now - start)) s: rounds $(all rounds | tr "\n" " ")," \
				"swapped in $(counter pswpin) out $(counter pswpout), shared by KSM $sharing" \
				"in $(cat /sys/kernel/mm/ksm/full_scans) scans"
		fi
		lap=$((lap + 1))
		# The pace, and no more than that.
		sleep 1
		now=$(uptime)
	done
	echo "seconds meanwhile: $((now - start))"
	echo "swapped in meanwhile: $(counter pswpin)"
	echo "swapped out meanwhile: $(counter pswpout)"
	all tell_rounds
	all tell_statistics
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
	HOST_MEM=$host_mib HOST_CMDLINE="$host ${HOST_CMDLINE:-}" DEFECTS=$short \
		ADD="$programs/monitor $zimage $initrd" TIMEOUT=$((seconds + 2400)) \
		on_board "seconds=$seconds variant=$variant guests='$guests' guest_mib=$((host_mib / 2))
			factor=$factor rounds_meanwhile=$rounds_meanwhile enough=$enough_meanwhile enough_merged=$enough_merged hugetlb_mib=$hugetlb_mib
			$1 $board" || fail "status $?"
	! grep -aE "MISMATCH|Oops|BUG: (unable|Bad)|Bad page|Internal error|soft lockup|rcu.*stall|$short" <<<"$output" ||
		fail "a guest suffered"
	for vm in 1 2 3 4; do
		expect "^vm $vm: status 0"
		expect "^vm $vm: guest: 2 CPUs"
		expect "^vm $vm: guest: [0-9]+ rounds verified"
		# All before the end, when a guest has the host for itself.
		at_least $rounds_meanwhile "vm $vm: rounds meanwhile:"
		at_least 1 "vm $vm: pages_aged"
		at_least 1 "vm $vm: access_flag_faults"
		case $variant-$vm in
		# All blocks but those that the guest left alone.
		hugetlb-[12]) at_least $((hugetlb_mib * 3 / 8)) "vm $vm: blocks_mapped" ;;
		thp-never-? | hugetlb-? | thp-madvise-[34])
			expect "^vm $vm: blocks_mapped 0$"
			;;
		*) at_least 1 "vm $vm: blocks_mapped" ;;
		esac
		case $variant in
		log) at_least 10000 "vm $vm: monitor: the log had" " dirty pages.*" ;;
		esac
		case $variant in
		log | slots) at_least 20 "vm $vm: monitor: the slot has changed" " times.*" ;;
		esac
	done
	at_least $enough_meanwhile 'swapped in meanwhile:'
	at_least $enough_meanwhile 'swapped out meanwhile:'
	# Far more than the memory of one guest was away, and came back.
	at_least $enough 'swapped in:'
	at_least $enough 'swapped out:'
	at_least $enough_merged 'merged by KSM:'
	# Compaction took pages out of use, and had them moved.
	at_least 1000 compact_isolated
	at_least 1000 pgmigrate_success
}

# at_least NUMBER WHAT [REST]: the board gave at least that number for it.
at_least() {
	[ "$(sed -n "s/^$2 \([0-9]*\)${3:-}\$/\1/p" <<<"$output")" -ge "$1" ] || fail "$2 less than $1"
}
