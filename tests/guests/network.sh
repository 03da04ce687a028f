#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Network of guests: iperf3 between a guest and the host, in both directions, and between two guests, by QEMU's own network and by
# vhost-net. All that was sent has to arrive. Files go the same ways, and are compared.

# shellcheck source=tests/guests/common.sh
. "$(dirname "$0")/common.sh"

mib=${NETWORK_MIB:-64}
works network '
	must "Debian is up" is_up
	must "the host: a bridge" bridge
	# The ports of the guests, 2 and 3, are the third and fourth digit.
	FORWARD="15202:5201 18082:80" start armhf armhf $(tap 2)
	FORWARD="15203:5201 18083:80" start armel armel $(tap 3)
	must "the host: iperf3" iperf3 --server --daemon
	must "the host: files" web_server 50
	must "the host: by itself" on_host iperf 127.0.0.1 '"$mib"'
	for guest in $guests; do
		must "$guest: takes commands" ready $guest
		must "$guest: servers" in_guest $guest "card $([ $guest = armhf ] && echo "2 10.0.3.2/24" || echo "3 10.0.3.3/24") && iperf3 --server --daemon >/dev/null && web_server 50"
	done

	for guest in $guests; do
		n=$([ $guest = armhf ] && echo 2 || echo 3)
		LABEL="iperf3 to the host, user" check "$guest: to the host, user" both $guest $guest iperf 10.0.2.2 '"$mib"'
		LABEL="iperf3 from the host, user" check "$guest: from the host, user" from_host $guest $guest iperf 127.0.0.1 '"$mib"' --port 1520$n
		check "$guest: files from the host, user" in_guest $guest "file_over 10.0.2.2 50"
		check "$guest: files to the host, user" file_over 127.0.0.1:1808$n 50
		ticks=$(vhost $guest)
		LABEL="iperf3 to the host, vhost" check "$guest: to the host, vhost" both $guest $guest iperf 10.0.3.1 '"$mib"'
		LABEL="iperf3 from the host, vhost" check "$guest: from the host, vhost" from_host $guest $guest iperf 10.0.3.$n '"$mib"'
		check "$guest: files from the host, vhost" in_guest $guest "file_over 10.0.3.1 50"
		check "$guest: files to the host, vhost" file_over 10.0.3.$n 50
		check "$guest: the packets were moved by vhost" test "$(vhost $guest)" -gt "$ticks"
	done
	LABEL="iperf3 to another guest, user" check "between guests, user" both armhf armhf iperf 10.0.2.2 '"$mib"' --port 15203
	LABEL="iperf3 to another guest, vhost" check "between guests, vhost" both armhf armhf iperf 10.0.3.3 '"$mib"'
	LABEL="iperf3 to another guest, vhost" check "between guests, vhost, back" both armel armel iperf 10.0.3.2 '"$mib"'
	check "files between guests, user" in_guest armhf "file_over 10.0.2.2:18083 50"
	check "files between guests, vhost" in_guest armel "file_over 10.0.3.2 50"
	check "armhf: powers off" ends armhf
	check "armel: powers off" ends armel
'
