#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What the packages do on a board with Debian, from apt install to purge: after a reboot, /dev/kvm is there for group
# kvm, the first open of it loads the module, and a member of the group runs a guest with the installed QEMU.
# After an upgrade of the kernel, the next kvm-arm-modules brings the module for it. A purge leaves nothing.
#
# The board boots its own disk each time, by the links /vmlinuz and /initrd.img on it, as a boot loader would.
#
# The next kernel is that of Debian testing (SUITE=forky), and kvm-arm-modules is that of the same tree with a
# higher version: a kernel of the same suite would be another 3 GB to download and prepare for this test alone, and
# a fake one could not be booted. To the packages, it is a kernel with a higher version like any other.

# shellcheck source=tests/packages/common.sh
. "$(dirname "$0")/common.sh"

version_of_ours=$(sed -n '1s/.*(\(.*\)).*/\1/p' "$tree/contrib/debian/changelog")
next_version=$version_of_ours+next
next_cache=$cache/forky
next_release=$(sed -n 's/^release=//p' "$next_cache/kernel/current")

# The board's disk, and what apt would download beside our packages.
KERNEL=1 "$tree/tools/debian-root" make board armhf trixie
"$tree/tools/debian-root" image board "$disk" 1536
ours=("$debs/kvm-arm-modules-$release"_*.deb "$debs"/kvm-arm-modules_*.deb "$debs"/kvm-arm-tools_*.deb "$debs"/qemu-system-arm-kvm_*.deb)
rm -rf "$work/needed" "$work/kernel" "$work/next"
"$tree/tools/debian-root" packages board "$work/needed" "${ours[@]}"

# The next kernel, alone; and the next packages with it.
repository "$work/kernel" "$next_cache/archive/debs/linux-"{base,binary,modules,image}"-${next_release}"_*.deb
DEB_VERSION=$next_version SUITE=forky "$tree/tools/deb" module
repository "$work/next" "$target/forky/deb/kvm-arm-modules-$next_release"_*.deb "$target/forky/deb"/kvm-arm-{modules,tools}_*.deb \
	"$work/kernel"/*.deb
# Those with that version are of no use to others.
SUITE=forky "$tree/tools/deb" module

ADD=$(files "$work/needed")" ${ours[*]}" boot install '
	must "Debian is up" is_up
	must "apt reads the packages" from_here
	useradd --create-home owner
	useradd --create-home guest
	state >/root/before
	must "apt install" apt-get install --yes ./kvm-arm-modules-*.deb ./kvm-arm-modules_*.deb ./kvm-arm-tools_*.deb ./qemu-system-arm-kvm_*.deb
	must "adduser" adduser owner kvm
	check "modprobe finds the module" has_module "$(uname -r)"
	check "all packages are configured" test -z "$(dpkg --audit)"
'

boot works '
	must "Debian is up after a reboot" is_up
	not_loaded() { ! loaded; }
	check "the module is not loaded at boot" not_loaded
	check "/dev/kvm is there before the module is loaded" test -c /dev/kvm
	check "/dev/kvm is of group kvm, with mode 0660" test "$(stat -c "%G %a" /dev/kvm)" = "kvm 660"
	check "kvm-arm-check before the module is loaded" verdict owner 0 "^verdict: KVM works here, once something opens /dev/kvm"
	check "kvm-arm-check has loaded nothing" not_loaded
	check "a member of group kvm opens /dev/kvm" as owner sh -c ": <>/dev/kvm"
	check "the first open has loaded the module" loaded
	udevadm settle
	check "/dev/kvm is of group kvm, with mode 0660, with the module" test "$(stat -c "%G %a" /dev/kvm)" = "kvm 660"
	check "modprobe --remove" modprobe --remove kvm_arm
	check "the module is unloaded" not_loaded
	check "modprobe" modprobe kvm_arm
	check "modprobe has loaded the module" loaded
	check "kvm-arm-check is content" verdict owner 0 "^verdict: KVM works here$"
	check "kvm-arm-check names the group" verdict guest 1 "^todo +/dev/kvm: .*adduser guest kvm"

	# QEMU says why, and does not run the guest without KVM.
	stranger() {
		! as guest qemu-system-arm-kvm -M virt -accel kvm -cpu host -nographic -kernel /vmlinuz </dev/null >/tmp/stranger 2>&1 &&
			cat /tmp/stranger && grep -q "Could not access KVM kernel module: Permission denied" /tmp/stranger
	}
	check "another user gets a clear error" stranger
	check "a guest of a member of group kvm works" as owner sh -c ". /run/board/on-board; guest"
'

ADD=$(files "$work/kernel") boot kernel "
	must 'Debian is up' is_up
	must 'apt reads the next kernel' from_here
	must 'the next kernel is installed' apt-get install --yes linux-image-$next_release
	check 'the module is there for the old kernel' has_module $release
	check 'the module is not there for the next one' lacks_module $next_release
"

ADD=$(files "$work/next") boot upgrade "
	must 'Debian is up with the next kernel' is_up
	must 'the next kernel runs' test \"\$(uname -r)\" = '$next_release'
	check 'kvm-arm-check says that the module is for another kernel' verdict owner 1 \
		'^todo +module: kvm_arm is there for another kernel [(]${release//+/[+]}[)], and ${next_release//+/[+]} runs: .*install kvm-arm-modules-${next_release//+/[+]}'
	not_probed() { ! modprobe kvm_arm; }
	check 'modprobe finds none' not_probed
	must 'apt reads the next packages' from_here
	must 'apt full-upgrade' apt-get full-upgrade --yes
	check 'the module is there for the next kernel' has_module $next_release
	check 'the module is still there for the old kernel' has_module $release
	check 'all packages are configured' test -z \"\$(dpkg --audit)\"
	check 'modprobe' modprobe kvm_arm
	check 'kvm-arm-check is content' verdict owner 0 '^verdict: KVM works here\$'
	check 'a guest works' as owner sh -c '. /run/board/on-board; guest'
"

# The kernel that runs stays installed; what is its own is not compared.
ADD=$(files "$work/next") boot purge "
	must 'Debian is up' is_up
	not_loaded() { ! loaded; }
	check 'remove: the old kernel loses its module' apt-get remove --yes kvm-arm-modules-$release
	check 'no module for the old kernel' lacks_module $release
	check 'the module is still there for this kernel' has_module $next_release

	# While a virtual machine runs, the module stays loaded.
	modprobe kvm_arm
	runuser -u owner -- qemu-system-arm-kvm -M virt -accel kvm -cpu host -display none -S </dev/null >/tmp/qemu 2>&1 &
	machine=\$!
	opened() { for try in \$(seq 300); do [ \"\$(cat /sys/module/kvm_arm/refcnt)\" = 0 ] || return 0; sleep 0.1; done; cat /tmp/qemu; return 1; }
	must 'a virtual machine is there' opened
	check 'remove under a virtual machine' apt-get remove --yes kvm-arm-modules-$next_release
	check 'the module stays loaded' loaded
	kill \$machine
	wait \$machine
	check 'no module for this kernel' lacks_module $next_release
	check 'rmmod unloads it, whose file has gone' rmmod kvm_arm

	must 'the module is installed again' apt-get install --yes kvm-arm-modules-$next_release
	modprobe kvm_arm
	check 'remove' apt-get remove --yes kvm-arm-modules-$next_release
	check 'remove has unloaded the module' not_loaded
	# That was the administrator's, not the packages'.
	gpasswd --delete owner kvm
	check 'purge' apt-get purge --yes 'kvm-arm-*' qemu-system-arm-kvm
	check 'autoremove' apt-get autoremove --purge --yes
	none() { ! dpkg-query -W | grep -E 'kvm-arm|qemu-system-arm-kvm'; }
	check 'dpkg knows none of them' none
	state | grep -vF -e '$next_release' >/tmp/after
	same() { grep -vF -e '$next_release' /root/before | diff - /tmp/after; }
	check 'purge has left nothing' same
	nothing() { ! find / -xdev \\( -path /run/board -o -path /proc -o -path /var/log \\) -prune -o \\( -name '*kvm?arm*' -o -name '*qemu-system-arm-kvm*' \\) -print | grep .; }
	check 'no file has their names' nothing
	check 'the group kvm is still there' getent group kvm
"
