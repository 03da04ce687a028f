# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The tests of a host that sleeps share this: a guest that tells its time.

# shellcheck source=tests/board/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# Functions for the board. Times are in hundredths of a second.
# shellcheck disable=SC2034 # used by those who source this
clock='
	fail() { tail -n 20 /tmp/console; echo "FAILED: $*"; exit 1; }
	host_time() { cut -d " " -f 1 /proc/uptime | tr -d .; }
	guest_time() { sed -n "s/^guest: clock \([0-9]*\)\.\([0-9]*\).*/\1\2/p" /tmp/console | tail -n 1; }
	# wait_until WHAT CONDITION…: until it is fulfilled, but not for ever.
	wait_until() {
		tries=$((1800 * TIMEOUT_FACTOR)) what=$1
		shift
		until "$@"; do
			tries=$((tries - 1))
			[ $tries -gt 0 ] && kill -0 $guest || fail "$what"
			usleep 100000
		done
	}
	tells_time() { [ -n "$(guest_time)" ]; }
	# A guest whose time is known.
	boot() {
		mkfifo /tmp/orders
		monitor run --kernel /add/vmlinuz --initrd /add/guest.cpio --cpus 2 --mem 128 \
			--cmdline "console=ttyS0 quiet guest=clock" <>/tmp/orders >/tmp/console 2>&1 &
		guest=$!
		wait_until "the guest does not tell its time" tells_time
		# A line is read some time after it was written, and a busy machine takes long now and then. So the
		# smallest difference of several counts.
		ahead=
		for line in 1 2 3 4 5 6 7 8 9 10; do
			before=$(guest_time)
			wait_until "the guest tells its time no more" has_told
			difference=$(($(host_time) - $(guest_time)))
			[ -n "$ahead" ] && [ $ahead -le $difference ] || ahead=$difference
		done
	}
	has_told() { [ "$(guest_time)" != "$before" ]; }
	# The guest has told a time at which no more than a second was missing, for a time of the host.
	has_reached() { [ $(guest_time) -ge $(($1 - ahead - 100)) ]; }
	# on_time WHAT: the guest runs, and its time has gone on as that of the host has, the time of sleep too.
	on_time() {
		wait_until "$1: the guest stands still at $(guest_time), the host is at $(host_time), and was $ahead ahead" \
			has_reached $(host_time)
		told=$(guest_time)
		[ $told -le $(($(host_time) - ahead + 300)) ] ||
			fail "$1: the guest is at $told already, the host at $(host_time), and was $ahead ahead"
		echo "ok $1"
	}
	# The guest ends as it is told.
	end() {
		echo >/tmp/orders
		wait $guest || fail "the guest ended with status $?"
		grep -q "guest: shutting down" /tmp/console || fail "the guest did not shut down"
	}
'
