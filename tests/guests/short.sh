#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The short form of all of this: each guest boots to a login, one after the other, and does one work of each kind in small.

# shellcheck source=tests/guests/common.sh
. "$(dirname "$0")/common.sh"

works short '
	must "Debian is up" is_up
	small_on_host
	for guest in $guests; do
		FORWARD=18080:80 start $guest $guest
		must "$guest: takes commands" ready $guest
		check "$guest: login" logs_in $guest
		small $guest $guest
		check "$guest: powers off" ends $guest
	done
'
