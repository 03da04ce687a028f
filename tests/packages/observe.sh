#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Debian's own programs observe a host whose guest boots again and again: trace-cmd and perf as they are, and kvm_stat
# and `perf kvm stat` with the patches of contrib/linux (Documentation/observability.md). Debian has no package with
# kvm_stat; this one is of the source of the board's kernel.

# shellcheck source=tests/packages/common.sh
. "$(dirname "$0")/common.sh"

KERNEL=1 "$tree/tools/debian-root" make observe armhf trixie linux-perf trace-cmd python3
"$tree/tools/perf" observe
"$tree/tools/debian-root" image observe "$disk" 512
source=$cache/kernel/$version/source/tools/kvm/kvm_stat/kvm_stat
cp "$source" "$work/kvm_stat.stock"
cp "$source" "$work/kvm_stat"
"$tree/tools/in-root" patch --batch --forward "$work/kvm_stat" "$tree"/contrib/linux/*kvm_stat*.patch
cp "$target/perf/perf" "$work/perf-kvm"

# The board runs one guest after the other, with two CPUs each, until `over` is there.
ADD="$module $programs/monitor $zimage $guest_initrd $work/kvm_stat.stock $work/kvm_stat $work/perf-kvm" boot observe '
	must "Debian is up" is_up
	must "the module is loaded" insmod ./kvm_arm.ko
	kvm=/sys/kernel/debug/kvm
	while [ ! -e /tmp/over ]; do
		./monitor run --kernel ./vmlinuz --initrd ./guest.cpio --cpus 2 --mem 256 >/tmp/guest 2>&1 || touch /tmp/over
	done &
	runs() { for try in $(seq 300); do ! ls -d $kvm/*/ || return 0; [ ! -e /tmp/over ] || break; sleep 0.2; done; cat /tmp/guest; return 1; }
	must "a guest runs" runs

	# says PATTERN COMMAND…: the command ends well, with a line like the pattern.
	says() {
		pattern=$1
		shift
		"$@" >/tmp/output 2>&1 || { cat /tmp/output; return 1; }
		grep -qE -- "$pattern" /tmp/output || { head -n 40 /tmp/output; echo "no line like $pattern"; return 1; }
	}
	has() {
		grep -qE -- "$1" /tmp/output || { head -n 40 /tmp/output; echo "no line like $1"; return 1; }
	}
	# trace-cmd gives up if /proc/kallsyms changes while it copies that, as it does when systemd loads a BPF program.
	recorded() { for try in 1 2 3 4 5; do ! trace-cmd record -e kvm -o /tmp/trace.dat sleep 3 || return 0; done; return 1; }
	check "trace-cmd record" recorded
	check "trace-cmd report" says "kvm_entry: +PC: 0x[0-9a-f]{8}, vcpu: [01]$" trace-cmd report -N /tmp/trace.dat
	check "trace-cmd knows the reasons of exits" has "kvm_exit: +TRAP: HSR_EC: 0x0024 \(DABT\), PC: 0x[0-9a-f]{8}, HSR: 0x9[0-9a-f]{7}, vcpu: [01]$"
	check "trace-cmd knows interrupts as exits" has "kvm_exit: +IRQ: HSR_EC: 0x0000 \(UNKNOWN\), PC: 0x[0-9a-f]{8}, HSR: 0x00000000, vcpu: [01]$"
	check "perf list" says "kvm:kvm_exit +\[Tracepoint event\]" perf list "kvm:*"
	check "perf list knows the vGIC" has "kvm:vgic_update_irq_pending"
	check "perf stat counts" says "^ +[1-9][0-9,]* +kvm:kvm_exit" perf stat -e kvm:kvm_exit -a sleep 3
	check "perf record" says "samples" perf record -o /tmp/perf.data -e kvm:kvm_entry -e kvm:kvm_exit -a sleep 3
	check "perf script" says "kvm:kvm_exit: .*TRAP: HSR_EC: 0x[0-9a-f]{4} \([A-Za-z0-9_]+\), PC: 0x[0-9a-f]{8}" perf script -i /tmp/perf.data
	refused() { ! perf kvm stat record -o /tmp/none -a sleep 1; }
	check "perf kvm stat of Debian has no 32-bit Arm" refused

	check "perf kvm stat record" says "samples" ./perf-kvm kvm stat record -o /tmp/kvm.data -a sleep 5
	check "perf kvm stat report" says "^ +DABT +[1-9][0-9]* +[0-9.]+% +[0-9.]+% +[0-9.]+us +[0-9.]+us +[0-9.]+us" ./perf-kvm kvm -i /tmp/kvm.data stat report --stdio
	check "perf kvm stat knows waits" has "^ +WFx +[1-9]"
	check "perf kvm stat knows interrupts" has "^ +IRQ +[1-9]"
	check "perf kvm stat of a vCPU" says "VCPU 1:" ./perf-kvm kvm -i /tmp/kvm.data stat report --stdio --vcpu 1

	unknown() { ! python3 ./kvm_stat.stock -1 -d >/tmp/output 2>&1 && has "AttributeError: .NoneType. object has no attribute"; }
	check "kvm_stat as it is does not know armv7l" unknown
	check "kvm_stat by debugfs" says "^exits +[1-9][0-9]* +[1-9][0-9]*$" python3 ./kvm_stat -1 -d
	check "kvm_stat has the statistics of memory" has "^pages_mapped +[0-9]+ +[0-9]+$"
	check "kvm_stat by tracepoints" says "^kvm_exit +[1-9][0-9]* +[1-9][0-9]*$" python3 ./kvm_stat -1 -t
	check "kvm_stat tells classes of traps apart" has "^kvm_exit\(DABT\) +[1-9][0-9]* +[0-9]+$"
	check "kvm_stat tells exits to user space apart" has "^kvm_userspace_exit\(MMIO\) +[0-9]+ +[0-9]+$"

	flames() { says "samples" perf record -o /tmp/flames.data -e cpu-clock -a -g sleep 5 && perf script -i /tmp/flames.data >/tmp/output 2>&1 && has "sys_ioctl" && has "kvm_arm3kvm3run|kvm_arm::kvm::run"; }
	check "perf finds the way through the module" flames
	touch /tmp/over
	gone() { wait; for try in $(seq 300); do ! rmmod kvm_arm || return 0; sleep 0.1; done; return 1; }
	check "the module goes" gone
'
