#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A run that is killed leaves its lock free: a signal ends the run's children, too, and a wait
# between two tries holds no lock even if nothing could be ended.

# shellcheck source=tests/tools/common.sh
. "$(dirname "$0")/common.sh"

export XDG_CACHE_HOME=$work/cache
lock=$work/cache/kvm_arm/test.lock
rm -rf "$work/cache"

cat >"$work/victim" <<-VICTIM
	. "$tree/tools/common.sh"
	locked test
	worker() {
		echo \$BASHPID >"$work/worker"
		(sleep 1000)
		true
	}
	echo 1 >"$work/holds"
	case \$1 in
	step) try "a step of the test" worker ;;
	pause) pause 1000 ;;
	esac
VICTIM

# starts WAY CHILDREN: starts a run that holds the lock, has that many descendants, and is in the
# middle of a step, or waits for its next try.
starts() {
	rm -f "$work/worker" "$work/holds"
	# A shell lets its background processes ignore SIGINT, and an ignored signal cannot be trapped.
	env --default-signal=INT bash "$work/victim" "$1" 2>/dev/null &
	victim=$!
	# Its descendants are a shell and the shell's sleep, or a sleep alone.
	until [ -s "$work/holds" ] && [ "$(descendants $victim)" -ge "$2" ]; do
		kill -0 $victim || fail "the run has ended by itself"
		sleep 0.1
	done
	! flock --nonblock "$lock" true || fail "the lock is free while the run goes on"
}

# descendants PID: how many processes it and its children have started.
descendants() {
	local child children=() count=0
	read -ra children 2>/dev/null <"/proc/$1/task/$1/children" || true
	for child in "${children[@]}"; do
		count=$((count + 1 + $(descendants "$child")))
	done
	echo $count
}

# ends PID: within a second. A process that has ended is a zombie until its last parent, a process of the
# system, has taken note, which can take longer on a busy machine.
ends() {
	local tries
	for tries in {1..20}; do
		grep -q '^State:[[:space:]]*[^ZX]' "/proc/$1/status" 2>/dev/null || return 0
		sleep 0.05
	done
	return "$tries"
}

# One second is much for a lock that is free at once, and far less than the sleep.
for signal in TERM INT HUP; do
	starts step 2
	kill -s $signal $victim
	wait $victim && fail "a run that $signal has ended tells of success"
	flock --timeout 1 "$lock" true || fail "after $signal in a step the lock is held"
	ends "$(cat "$work/worker")" || fail "after $signal the step goes on"

	starts pause 1
	kill -s $signal $victim
	wait $victim && fail "a run that $signal has ended tells of success"
	flock --timeout 1 "$lock" true || fail "after $signal in a wait the lock is held"
done
starts pause 1
waits=$(cat "/proc/$victim/task/$victim/children")
kill -s KILL $victim
wait $victim && fail "a killed run tells of success"
flock --timeout 1 "$lock" true || fail "a killed run's wait holds the lock"
# shellcheck disable=SC2086 # there may be several
kill $waits 2>/dev/null || true
