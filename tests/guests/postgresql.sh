#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# PostgreSQL in guests: pgbench, whose sums have to agree; and a reset of the guest under three clients, after which all is there that
# was committed, and nothing by halves.

# shellcheck source=tests/guests/common.sh
. "$(dirname "$0")/common.sh"

works postgresql '
	must "Debian is up" is_up
	for guest in $guests; do
		FORWARD=15432:5432 start $guest $guest
		if [ ! -e $files/host.postgresql ]; then
			must "the host: PostgreSQL" postgresql_server 1
			must "the host: pgbench" on_host postgresql 4 '"${TRANSACTIONS:-250}"'
			systemctl stop "postgresql@*"
		fi
		must "$guest: takes commands" ready $guest
		must "$guest: PostgreSQL" in_guest $guest "postgresql_server 1"
		must "$guest: pgbench" both $guest $guest postgresql 4 '"${TRANSACTIONS:-250}"'
		must "$guest: a reset under three clients" reset_under $guest postgresql psql_client 15432 40
		must "$guest: is up again" in_guest $guest "prepare && systemctl start postgresql@*-main"
		for client in 1 2 3; do
			check "$guest: client $client: what was committed is there" in_guest $guest "postgresql_transfers $client $(acked $files/acked.$client)"
		done
		known=$(cat $files/acked.* | acked -)
		check "$guest: sums and indexes after the reset" in_guest $guest "transactions_are $known $((known + '$((4 * ${TRANSACTIONS:-250} + 3))'))"
		row "PostgreSQL, reset" $guest "$known transactions committed before it are all there; the sums agree" - - >>$files/rows
		check "$guest: powers off" ends $guest
	done
'
