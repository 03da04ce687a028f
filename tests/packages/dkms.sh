#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# apt install of kvm-arm-dkms, with the kernel's headers and source and the compilers there, builds the module, and
# that loads on the board; a purge takes it away.
#
# The build is not on the emulated board, where it would take hours, but in the same Debian root of the board's
# architecture, with its own compilers, by qemu-arm. So it sees no kernel of the board that runs; DKMS builds for the one
# that is installed.

# shellcheck source=tests/packages/common.sh
. "$(dirname "$0")/common.sh"

dkms=$(echo "$debs"/kvm-arm-dkms_*.deb)
# What it depends on comes with the root, since the copies of the root have no network.
mapfile -t needed < <("$tree/tools/in-root" dpkg-deb --field "$dkms" Depends | tr -d ' ' | tr , '\n')
KERNEL=headers "$tree/tools/debian-root" make board-dkms armhf trixie "${needed[@]}"

step_of() { # NAME COMMAND…
	local name=$1
	shift
	if "$@"; then
		echo "ok $name"
	else
		echo "not ok $name"
	fi | tee -a "$work/subtests"
	tail -n 1 "$work/subtests" | grep -q '^ok '
}

cp "$dkms" "$work/kvm-arm-dkms.deb"
step_of "apt install builds the module" "$tree/tools/debian-root" enter board-dkms sh -ec '
	apt-get install --yes "$1/kvm-arm-dkms.deb" || { cat /var/lib/dkms/kvm-arm/*/build/make.log; exit 1; }
	dkms status
	find "/lib/modules/$2" -name "kvm_arm.ko*" | tee "$1/modules"
	cp "$(cat "$1/modules")" "$1/"
	modprobe --show-depends --set-version "$2" kvm_arm
' - "$work" "$release" || fail "DKMS: see above"
built=$(echo "$work"/kvm_arm.ko*)
case $built in
*.xz)
	"$tree/tools/in-root" xz -df "$built"
	built=${built%.xz}
	;;
esac
magic=$("$tree/tools/in-root" modinfo -F vermagic "$built")
step_of "it is for the board's kernel" test "${magic%% *}" = "$release"
MODULE=$built ADD="$programs/monitor $zimage $guest_initrd" TIMEOUT=600 on_board "
	monitor run --kernel /add/vmlinuz --initrd /add/guest.cpio --cpus 2 --mem 256 && rmmod kvm_arm
" || fail "the module of DKMS does not work on the board"
expect 'guest: shutting down'
echo "ok it runs a guest on the board" | tee -a "$work/subtests"

# In the copy of the root that is left of the installation.
step_of "purge takes the module away" env KEEP=1 "$tree/tools/debian-root" enter board-dkms sh -ec '
	apt-get purge --yes kvm-arm-dkms
	! find /usr /var/lib/dkms /etc -name "*kvm[-_]arm*" | grep .
	! modprobe --show-depends --set-version "$1" kvm_arm
' - "$release" || fail "purge has left something"
