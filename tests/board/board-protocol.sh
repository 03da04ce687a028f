#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A command's output and its status come back unchanged. A time-out is a failure, and so is a
# defect in the host's log.

# shellcheck source=tests/board/common.sh
. "$(dirname "$0")/common.sh"

# Files may be anywhere, although the emulator sees the tree and the cache only.
outside=$(mktemp -d)
trap 'rm -rf "$outside"' EXIT
printf 'a\r\n\000b' >"$outside/file"
(
	virt_tree
	edit_tree -t s "$DTB" / model 'board of this test'
	mv "$DTB" "$outside/tree.dtb"
)
status=0
LOAD=0 RUN='cat file; echo err >&2; cat /proc/device-tree/model; exit 7' ADD=$outside/file \
	DTB=$outside/tree.dtb LOG=$outside/log/host.log "$tree/tools/board" >"$work/output" || status=$?
[ "$status" = 7 ] || fail "status $status instead of 7"
cmp "$work/output" <(printf 'a\r\n\000berr\nboard of this test\000') || fail "the output was changed"
grep -aq 'Linux version' "$outside/log/host.log" || fail "there is no log outside the tree"
for knob in LOG="$outside/file/log" ADD="$outside/nothing" DTB="$outside/nothing"; do
	! said=$(env LOAD=0 RUN=true "$knob" "$tree/tools/board" 2>&1) || fail "$knob is not refused"
	grep -q "^error: ${knob%%=*}" <<<"$said" || fail "$knob: $said"
done

status=0
LOAD=0 TIMEOUT=3 RUN='sleep 100' LOG=$work/host.log "$tree/tools/board" || status=$?
[ "$status" = 124 ] || fail "status $status instead of 124 after a time-out"

# A board that stands still is asked what it does, and ended.
status=0
STILL=30 LOAD=0 RUN='sleep 1000' TIMEOUT=600 LOG=$work/still.log "$tree/tools/board" 2>"$work/still.output" || status=$?
[ "$status" = 124 ] || fail "status $status instead of 124 of a board that stands still"
still=$work/still.log.still
grep -Eq 'R15=[0-9a-f]{8} +<.*idle' "$still" || fail "no CPU is idle, or its function has no name: $still"
grep -q "the host's console answers to l" "$still" || fail "the console does not answer: $still"
grep -aq 'Show backtrace of all active CPUs' "$work/still.log" || fail "the console's answer is not in its log"
cmp -s "$still" <(sed -n '/^== the emulator.s threads/,/^board: it stood/{ /^board: it stood/!p }' "$work/still.output") ||
	fail "the explanation is not in the output"

status=0
CHECK_LOG=1 DEFECTS='swap is (lost|gone)' LOAD=0 RUN='echo "swap is gone" >/dev/kmsg' LOG=$work/host.log \
	"$tree/tools/board" || status=$?
[ "$status" = 3 ] || fail "status $status instead of 3 after a line in the log"

# The stock kernel does not look for defects. A board that should have a kernel that does finds this
# out.
status=0
CHECK_LOG=1 DEBUG_KERNEL=1 HOST_KERNEL='' HOST_MODULES='' HOST_CMDLINE='' LOAD=0 RUN=true \
	LOG=$work/host.log "$tree/tools/board" || status=$?
[ "$status" = 3 ] || fail "status $status instead of 3 with a kernel that does not look for defects"
for what in lockdep kmemleak 'page poisoning'; do
	grep -aq "kvm_arm: the kernel does not look for defects: no $what" "$work/host.log" ||
		fail "$what was not missed"
done

# The alarms have to be in the module's own words: a search for others would find nothing in the log.
while read -r alarm; do
	grep -rqF "${alarm#CPU 1}" "$tree/src" || fail "the module does not say \"$alarm\""
	echo "[    5.0] kvm_arm: $alarm and more" >"$work/alarm.log"
	! "$tree/tools/check-log" "$work/alarm.log" 2>/dev/null || fail "\"$alarm\" passes"
done <<-ALARMS
	CPU 1: HYP mode is lost
	CPU 1: HYP mode is not available
	CPU 1: HYP mode did not come up
	CPU 1 was not booted in HYP mode
	fault inside HYP mode (vector
	fault inside HYP mode while cleaning RAM
	a guest caused a trap that cannot be
ALARMS
echo '[    5.0] kvm_arm: a guest accessed device memory at 0x0' >"$work/alarm.log"
"$tree/tools/check-log" "$work/alarm.log" || fail "what a guest may do is an alarm"

# The kernel's own report passes, and the same of another caller does not.
report() {
	echo "[    5.0] BUG: sleeping function called from invalid context at ./include/linux/mmu_notifier.h:473
[    5.0] Call trace:
[    5.0]  __might_resched from $1
[    5.0]  __split_huge_pmd from $2
[    5.0]  $2 from __split_vma+0x204/0x3d8" >"$work/alarm.log"
}
report __split_huge_pmd+0x68/0x170 vma_adjust_trans_huge+0x1a8/0x1b4
"$tree/tools/check-log" "$work/alarm.log" || fail "the kernel's own report is an alarm"
report kvm_arm_something+0x68/0x170 somebody+0x1a8/0x1b4
! "$tree/tools/check-log" "$work/alarm.log" 2>/dev/null || fail "a report of another caller passes"

release() {
	echo "[    5.0] BUG: sleeping function called from invalid context at kernel/locking/spinlock_rt.c:48
[    5.0] Call trace:
[    5.0]  rt_spin_lock from folio_lruvec_lock_irqsave+0x78/0xfc
[    5.0]  __folio_put from $1
[    5.0]  $1 from get_user_pages_fast_only+0x4c/0x5c" >"$work/alarm.log"
}
release gup_fast_fallback+0x2d0/0x748
"$tree/tools/check-log" "$work/alarm.log" || fail "the kernel's own report of a page that goes is an alarm"
release kvm_arm_something+0x2d0/0x748
! "$tree/tools/check-log" "$work/alarm.log" 2>/dev/null || fail "another report of a page that goes passes"

watchpoint() {
	echo "[    5.0] WARNING: kernel/events/core.c:11782 at perf_bp_event+0x15c/0x17c, CPU#0: exe/318
[    5.0] Call trace:
[    5.0]  perf_bp_event from hw_breakpoint_pending+0x394/0x8fc
[    5.0]  hw_breakpoint_pending from $1" >"$work/alarm.log"
}
watchpoint do_DataAbort+0x34/0x1ac
"$tree/tools/check-log" "$work/alarm.log" || fail "the kernel's own report of a watchpoint is an alarm"
watchpoint somebody+0x34/0x1ac
! "$tree/tools/check-log" "$work/alarm.log" 2>/dev/null || fail "another report of a watchpoint passes"
