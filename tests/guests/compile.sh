#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Guests compile LibTomCrypt with LibTomMath, 112,000 lines of C, and all of their own tests pass there.

# shellcheck source=tests/guests/common.sh
. "$(dirname "$0")/common.sh"

tests=${COMPILE_TESTS:-mp_ -- store rotate misc mpi cipher_hash mac modes der pkcs_1 rsa dh ecc dsa file multi prng}
TIMEOUT=${TIMEOUT:-7000} works compile '
	must "Debian is up" is_up
	must "the host" on_host compile '"$tests"'
	for guest in $guests; do
		start $guest $guest
		must "$guest: takes commands" ready $guest
		PATIENCE=6000 must "$guest: compiles" both $guest $guest compile '"$tests"'
		check "$guest: powers off" ends $guest
	done
'
