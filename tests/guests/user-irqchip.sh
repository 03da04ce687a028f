#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The works in small, with QEMU's own interrupt controller (kernel-irqchip=off).

# shellcheck source=tests/guests/common.sh
. "$(dirname "$0")/common.sh"

works user-irqchip '
	must "Debian is up" is_up
	MACHINE=kernel-irqchip=off FORWARD="8080:80" start armhf armhf
	must "the host: files" web_server 20
	must "the host: load" on_host web_load 127.0.0.1 20 1
	must "the host: PostgreSQL" postgresql_server 1
	must "the host: pgbench" on_host postgresql 2 50
	systemctl stop "postgresql@*"
	must "the host: compiles" on_host compile karatsuba toom mp_sqrt
	must "the host: iperf3" iperf3 --server --daemon
	must "the host: by itself" on_host iperf 127.0.0.1 16
	must "the host: stress" on_host stress 50 200 32
	must "takes commands" ready armhf
	must "serves" in_guest armhf "web_server 20"
	check "web" from_host armhf "armhf, irqchip off" web_load 127.0.0.1:8080 20 1
	must "PostgreSQL" in_guest armhf "postgresql_server 1"
	check "pgbench" both armhf "armhf, irqchip off" postgresql 2 50
	check "compile" both armhf "armhf, irqchip off" compile karatsuba toom mp_sqrt
	check "iperf3" both armhf "armhf, irqchip off" iperf 10.0.2.2 16
	check "stress" both armhf "armhf, irqchip off" stress 50 200 32
	check "powers off" ends armhf
'
