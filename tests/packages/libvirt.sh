#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Debian's libvirt on a board with Debian, with our packages and nothing set up by hand: it finds qemu-system-arm-kvm,
# and its guests run by KVM, under AppArmor. What virsh and virt-install do to a guest is verified inside the guest.
#
# The guest is a small one, of the board's kernel and busybox; the last stage has Debian. The clock of the board is that of the machine: to
# count instructions, as ICOUNT=1 does, takes several times as long.

# shellcheck source=tests/packages/common.sh
. "$(dirname "$0")/common.sh"

export HOST_CPUS=2 TIMEOUT=${TIMEOUT:-3000}
# All that libvirt-daemon-system wants but the driver of QEMU, which would bring Debian's emulators if ours were not there.
packages=(apparmor libvirt-daemon libvirt-daemon-common libvirt-daemon-config-network libvirt-daemon-driver-network
	libvirt-daemon-driver-nodedev libvirt-daemon-driver-secret libvirt-daemon-driver-storage libvirt-clients virtinst
	qemu-utils qemu-guest-agent ipxe-qemu xz-utils procps iptables)
ours=("$debs/kvm-arm-modules-$release"_*.deb "$debs"/kvm-arm-modules_*.deb "$debs"/kvm-arm-tools_*.deb "$debs"/qemu-system-arm-kvm_*.deb)
KERNEL=1 "$tree/tools/debian-root" make libvirt armhf trixie "${packages[@]}"

# The packages are installed by apt and qemu-arm, as that would take an hour on the board.
made=$target/libvirt
inputs=$(hash_of "$cache/debian/libvirt/.stamp" "${ours[@]}" <<<"libvirt-daemon-system")
if ! is_stamped "$made" "$inputs"; then
	rm -rf "$made"
	mkdir -p "$made/debs"
	"$tree/tools/debian-root" packages libvirt "$made/debs" "${ours[@]}" libvirt-daemon-system
	! ls "$made"/debs/qemu-system-* || fail "libvirt wants another emulator beside ours"
	cp "${ours[@]}" "$made/debs/"
	"$tree/tools/debian-root" index "$made/debs"
	"$tree/tools/debian-root" install libvirt "$made/debs" "${ours[@]/#*\//./}" libvirt-daemon-system
	KEEP=1 "$tree/tools/debian-root" image libvirt "$made/root.img" 1024
	remove "$target/debian/libvirt"
	printf '%s\n' "$inputs" >"$made/.stamp"
fi
# A guest with Debian, and Debian's own QEMU with what it needs.
CUSTOMIZE='passwd --delete root' "$tree/tools/debian-root" make libvirt-guest armhf trixie qemu-guest-agent iproute2
guest_inputs=$(hash_of "$cache/debian/libvirt-guest/.stamp" "$cache/debian/libvirt/.stamp" </dev/null)
if ! is_stamped "$made/more" "$guest_inputs"; then
	rm -rf "$made/more"
	mkdir -p "$made/more"
	LABEL=guest "$tree/tools/debian-root" image libvirt-guest "$made/more/guest.img" 128
	"$tree/tools/debian-root" packages libvirt "$made/more/beside" qemu-system-arm
	printf '%s\n' "$guest_inputs" >"$made/more/.stamp"
fi
cp --sparse=always "$made/root.img" "$disk"
export ADD="$here/on-board-libvirt $here/libvirt-init $here/ask"

boot works '
	. ./on-board-libvirt
	must "Debian is up" is_up
	must "AppArmor confines libvirtd" says "^libvirtd .enforce." cat /sys/kernel/security/apparmor/profiles
	useradd --create-home --groups libvirt owner

	must "libvirt finds our QEMU" says "<emulator>/usr/libexec/qemu-kvm</emulator>" virsh capabilities
	check "it has KVM" grep "<domain type=.kvm./>" /tmp/says
	check "it has the board virt" grep -E "<machine [^>]*>virt-[0-9.]+</machine>" /tmp/says
	# This libvirt was built without the kernel header for KVM, as armhf has none any more.
	check "domcapabilities: not of KVM" refuses "KVM is not supported on this platform" virsh domcapabilities
	check "domcapabilities: of the emulator" says "<path>/usr/libexec/qemu-kvm</path>" virsh domcapabilities --virttype qemu
	check "domcapabilities: GICv2" grep -A 4 "<gic supported=.yes.>" /tmp/says
	check "virsh version" says "^Running hypervisor: QEMU 10\.0" virsh version
	check "virt-host-validate" says "QEMU: Checking if device ./dev/kvm. is accessible +: PASS" sh -c "virt-host-validate qemu || true"
	must "the network" virsh net-start default
	check "the network starts with the host" virsh net-autostart default

	must "a small guest is made" make_small
	must "define" virsh define /root/small.xml
	: >$console
	tail -F $console >/dev/console &
	must "start" virsh start small
	must "the guest is up" within 600 boots 1
	check "a member of group libvirt sees it" says "small +running" as owner virsh --connect qemu:///system list
	check "it runs our QEMU" test "$(readlink "/proc/$(process)/exe")" = /usr/bin/qemu-system-arm-kvm
	check "it runs by KVM" sh -c "ls -l /proc/$(process)/fd | grep anon_inode:kvm-vcpu:0"
	check "AppArmor confines it" says "^libvirt-$(virsh domuuid small) .enforce.$" cat "/proc/$(process)/attr/current"
	check "it is not root" test "$(stat -c %U "/proc/$(process)")" = libvirt-qemu
	must "virsh console" says "^1$" inside nproc
	check "virsh dominfo" says "^CPU time: +[0-9.]+s" virsh dominfo small

	# suspend, save, restore
	must "the state of the guest" note_state /tmp/state
	check "suspend" virsh suspend small
	check "it is paused" in_state paused
	check "resume" virsh resume small
	check "it goes on" same /tmp/state
	note_state /tmp/state
	must "save" virsh save small $images/small.saved
	check "it is off" in_state "shut off"
	must "restore" virsh restore $images/small.saved
	check "it goes on after save and restore" same /tmp/state
	note_state /tmp/state
	must "managedsave" virsh managedsave small
	check "its state is kept" says "^Managed save: +yes" virsh dominfo small
	must "start from the kept state" virsh start small
	check "it goes on after managedsave" same /tmp/state

	# CPU pinning
	vcpu() { for thread in /proc/$(process)/task/*; do [ "$(cat "$thread/comm")" != "CPU 0/KVM" ] || sed -n "s/^Cpus_allowed_list:\t//p" "$thread/status"; done; }
	check "the vCPU runs anywhere" test "$(vcpu)" = 0-1
	for cpu in 1 0; do
		check "vcpupin to CPU $cpu" virsh vcpupin small 0 $cpu
		check "the vCPU is on CPU $cpu" test "$(vcpu)" = $cpu
		check "vcpupin tells CPU $cpu" says "^ 0 +$cpu$" virsh vcpupin small
		check "the guest runs on CPU $cpu" same /tmp/state
	done
	check "vcpupin to both" virsh vcpupin small 0 0-1

	# The memory balloon
	total() { inside "sed -n \"s/^MemTotal: *\\([0-9]*\\) kB/\\1/p\" /proc/meminfo"; }
	total=$(total)
	check "setmem" virsh setmem small 128M --live
	smaller() { now=$(total) && echo "$total, now $now" && [ $((total - now)) = 65536 ]; }
	check "the guest has 64 MiB less" within 120 smaller
	check "dommemstat" says "^actual 131072$" virsh dommemstat small
	check "setmem back" virsh setmem small 192M --live
	as_before() { now=$(total) && echo "$total, now $now" && [ $total = $now ]; }
	check "the guest has its memory again" within 120 as_before
	check "the memory is as it was" same /tmp/state

	# Snapshots
	check "a word in memory and one on the disk" inside "echo before >/tmp/word; echo before | dd of=/dev/vda conv=fsync 2>/dev/null"
	note_state /tmp/state
	must "snapshot-create-as" virsh snapshot-create-as small first
	check "snapshot-list" says "^ first .* running" virsh snapshot-list small
	check "other words" inside "echo after >/tmp/word; echo after | dd of=/dev/vda conv=fsync 2>/dev/null; rm /tmp/memory"
	must "snapshot-revert" virsh snapshot-revert small first
	words() { inside "cat /tmp/word; echo 3 >/proc/sys/vm/drop_caches; head -n 1 /dev/vda" >/tmp/words; cat /tmp/words; [ "$(paste -sd " " /tmp/words)" = "before before" ]; }
	check "the words are those of the snapshot" words
	check "the guest goes on from the snapshot" same /tmp/state
	check "snapshot-delete" virsh snapshot-delete small first
	no_snapshot() { ! qemu-img snapshot --force-share -l $images/small.qcow2 | grep first; }
	check "the disk has no snapshot any more" no_snapshot

	# The agent
	check "the guest has an agent" within 120 says "return" virsh qemu-agent-command small "{\"execute\": \"guest-ping\"}"
	check "dompmsuspend: no such thing on the board virt" refuses "Domain does not have suspend support" virsh dompmsuspend small mem
	check "dompmsuspend to disk: likewise" refuses "Domain does not have suspend support" virsh dompmsuspend small disk
	check "the guest goes on" same /tmp/state

	# Hot-plug
	seq 100000 | head -c 524288 >$images/plugged.img
	check "attach-disk" virsh attach-disk small $images/plugged.img sda --targetbus scsi --subdriver raw --live
	plugged() { says "^$(sha256sum <$images/plugged.img)" inside "sha256sum </dev/sda"; }
	check "the guest reads the disk" within 60 plugged
	check "the guest writes to the disk" inside "tac /dev/sda >/tmp/turned; dd if=/tmp/turned of=/dev/sda conv=fsync 2>/dev/null"
	turned() { seq 100000 | head -c 524288 | tac | cmp - $images/plugged.img; }
	check "the file has what was written" turned
	check "detach-disk" virsh detach-disk small sda --live
	check "the guest has lost the disk" within 60 inside "! [ -e /dev/sda ]"
	check "attach-interface" virsh attach-interface small network default --model usb-net --mac 52:54:00:00:00:77 --live
	card() { inside "for card in /sys/class/net/*; do [ \$(cat \$card/address) != $1 ] || echo \${card##*/}; done" | grep .; }
	check "the guest has the network card" within 60 card 52:54:00:00:00:77
	lease() { card=$(card $1) && inside "ip link set $card up && udhcpc -q -n -i $card && ping -c 3 -I $card 192.168.122.1"; }
	check "the guest has an address, and reaches the host" lease 52:54:00:00:00:77
	check "net-dhcp-leases" says "52:54:00:00:00:77 +ipv4 +192\.168\.122\." virsh net-dhcp-leases default
	check "detach-interface" virsh detach-interface small network --mac 52:54:00:00:00:77 --live
	no_card() { ! card $1; }
	check "the guest has lost the card" within 60 no_card 52:54:00:00:00:77

	# The guest boots again, by its agent and by the power button
	first=$(inside "cat /proc/sys/kernel/random/boot_id")
	must "reboot, by the agent" virsh reboot small
	must "the guest has booted again" within 600 boots 2
	second=$(inside "cat /proc/sys/kernel/random/boot_id")
	check "it is another boot" test "$first" != "$second"
	must "reboot, by the power button" virsh reboot small --mode acpi
	must "the guest has booted once more" within 600 boots 3
	check "the button was pressed" test "$(grep -c "guest: power button" $console)" = 1
	check "it is another boot again" test "$second" != "$(inside "cat /proc/sys/kernel/random/boot_id")"
	must "shutdown" virsh shutdown small --mode acpi
	check "it is off by itself" within 120 says "^shut off .shutdown." virsh domstate small --reason
	must "autostart" virsh autostart small
	denied() { ! journalctl --boot --dmesg --grep "apparmor=.DENIED." --no-pager; }
	check "AppArmor has refused nothing" denied
'

boot autostart '
	. ./on-board-libvirt
	must "Debian is up after a reboot" is_up
	must "the guest has started by itself" within 60 in_state running
	must "the guest is up" within 600 boots 4
	check "virsh list --autostart" says "small +running" virsh list --autostart
	check "it answers" says "^1$" inside nproc
'

# The host went off under the guest, which was told so: for the fourth time.
boot shutdown '
	. ./on-board-libvirt
	must "Debian is up" is_up
	check "the guest was shut down with the host" test "$(grep -cE "guest: (power button|the agent says)" $console)" = 4
	must "the guest is up" within 600 boots 5
	must "autostart --disable" virsh autostart --disable small
	must "destroy" virsh destroy small
	must "undefine" virsh undefine small
'

# Debian, by virt-install.
QEMU_ARGS="-drive if=none,id=guest,file=$made/more/guest.img,format=raw,snapshot=on -device virtio-blk-device,drive=guest,serial=guest" boot debian '
	. ./on-board-libvirt
	must "Debian is up" is_up
	cp -L /initrd.img $images/initrd.img
	must "virt-install --import" virt-install --name debian --memory 384 --vcpus 1 --import --osinfo debian13 --graphics none --noautoconsole \
		--disk "$(readlink -f /dev/disk/by-id/virtio-guest)" --network network=default \
		--boot "kernel=$images/vmlinuz,initrd=$images/initrd.img,kernel_args=console=ttyAMA0 root=LABEL=guest rw quiet systemd.default_device_timeout_sec=900 cryptomgr.notests=1"
	must "it has started" in_state running debian
	must "its agent answers" within 1500 virsh qemu-agent-command debian "{\"execute\": \"guest-ping\"}"
	check "it is Debian 13" says "^os.version-id +: 13$" virsh guestinfo debian --os
	must "shutdown" virsh shutdown debian
	check "it is off by itself" within 600 says "^shut off .shutdown." virsh domstate debian --reason
	check "undefine" virsh undefine debian
'

# Debian's own QEMU is installed, too.
ADD="$ADD $(files "$made/more/beside")" boot beside '
	. ./on-board-libvirt
	must "Debian is up" is_up
	must "Debian has its QEMU" dpkg --force-unsafe-io --install ./*.deb
	check "libvirt takes that, which has no KVM" lacks "<domain type=.kvm./>" virsh capabilities
	check "its path" grep "<emulator>/usr/bin/qemu-system-arm</emulator>" /tmp/says
	sed "/<log file/d; s,<devices>,<devices><emulator>/usr/bin/qemu-system-arm-kvm</emulator>," /root/small.xml >/root/named.xml
	check "a domain names ours" virsh define /root/named.xml
	check "start" virsh start small
	check "it runs our QEMU" test "$(readlink "/proc/$(process)/exe")" = /usr/bin/qemu-system-arm-kvm
	check "it runs by KVM" sh -c "ls -l /proc/$(process)/fd | grep anon_inode:kvm-vcpu:0"
	check "destroy" virsh destroy small
'
