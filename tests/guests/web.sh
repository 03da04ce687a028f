#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# nginx in guests serves files to the host, whose load generator compares all bytes.

# shellcheck source=tests/guests/common.sh
. "$(dirname "$0")/common.sh"

works web '
	must "Debian is up" is_up
	for guest in $guests; do
		FORWARD=8080:80 start $guest $guest
		must "the host serves" web_server 200
		must "the host: load" on_host web_load 127.0.0.1 200 3
		must "$guest: takes commands" ready $guest
		must "$guest: serves" in_guest $guest "web_server 200"
		must "$guest: load" from_host $guest $guest web_load 127.0.0.1:8080 200 3
		check "$guest: powers off" ends $guest
	done
'
