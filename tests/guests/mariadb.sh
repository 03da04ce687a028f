#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# MariaDB in guests: sysbench and mariadb-slap; and a reset of the guest under three clients, after which all is there that was
# committed, and nothing by halves.

# shellcheck source=tests/guests/common.sh
. "$(dirname "$0")/common.sh"

works mariadb '
	must "Debian is up" is_up
	for guest in $guests; do
		FORWARD=13306:3306 GUEST_MIB=512 start $guest $guest
		if [ ! -e $files/host.mariadb_bench ]; then
			must "the host: MariaDB" mariadb_server 2000
			must "the host: sysbench and mariadb-slap" on_host mariadb_bench 2000 '"${EVENTS:-100} ${QUERIES:-200}"'
			systemctl stop mariadb
		fi
		must "$guest: takes commands" ready $guest
		must "$guest: MariaDB" in_guest $guest "mariadb_server 2000 && mariadb_accounts"
		must "$guest: sysbench and mariadb-slap" both $guest $guest mariadb_bench 2000 '"${EVENTS:-100} ${QUERIES:-200}"'
		must "$guest: a reset under three clients" reset_under $guest mariadb mariadb_client 13306 40
		must "$guest: is up again" in_guest $guest "prepare && systemctl start mariadb"
		for client in 1 2 3; do
			check "$guest: client $client: what was committed is there" in_guest $guest "mariadb_transfers $client $(acked $files/acked.$client)"
		done
		check "$guest: all tables are good after the reset" in_guest $guest tables_are_good
		row "MariaDB, reset" $guest "$(cat $files/acked.* | acked -) transactions committed before it are all there; the balances agree" - - >>$files/rows
		check "$guest: powers off" ends $guest
	done
'
