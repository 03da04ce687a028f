#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The Debian package of QEMU: lintian accepts it, it has the program that the other tests have run, and
# an armhf system that has nothing yet can install it, beside Debian's own, and libvirt with it.

# shellcheck source=tests/qemu/common.sh
. "$(dirname "$0")/common.sh"

package=qemu-system-arm-kvm
qemu_root() {
	KVM_ARM_ROOT=$cache/qemu/root "$tree/tools/in-root" "$@"
}

"$tree/tools/deb" qemu
files=("$target/deb/${package}_"*_armhf.deb)
[ ${#files[@]} = 1 ] || fail "not one package: ${files[*]}"
deb=${files[0]}

"$tree/tools/add-to-root" lintian
"$tree/tools/in-root" lintian --no-cfg --allow-root --fail-on error,warning "$deb" || fail "lintian does not accept it"

remove "$work/unpacked"
qemu_root dpkg-deb --extract "$deb" "$work/unpacked"
tar --extract --to-stdout --file="$qemu_tar" usr/bin/qemu-system-arm |
	cmp - "$work/unpacked/usr/bin/$package" || fail "it has another program"
(cd "$work/unpacked" && find . -type f -print -o -type l -printf '%p -> %l\n' | sort) >"$work/files"
diff - "$work/files" <<-FILES || fail "it has other files"
	./etc/apparmor.d/abstractions/libvirt-qemu.d/$package
	./usr/bin/$package
	./usr/libexec/qemu-kvm -> ../bin/$package
	./usr/share/doc/$package/changelog.Debian.gz
	./usr/share/doc/$package/copyright
	./usr/share/man/man1/$package.1.gz
FILES

# The package again, of the same inputs, is the same.
sum=$(sha256sum <"$deb")
"$tree/tools/deb" qemu
[ "$sum" = "$(sha256sum <"$deb")" ] || fail "a second build differs"

# simulate PACKAGE…: what apt would do to install them.
simulate() {
	qemu_root apt-get -o Dir::State::status=/dev/null -o APT::Architecture=armhf -o APT::Architectures=armhf \
		-o APT::Sandbox::User=root --no-install-recommends --simulate install "$@" >"$work/apt" ||
		fail "it cannot be installed: $(cat "$work/apt")"
}

simulate "$deb" qemu-system-arm
for line in "^Inst $package " '^Inst qemu-system-arm ' '^Inst libslirp0 ' '^Inst libc6 '; do
	grep -q "$line" "$work/apt" || fail "no line like \"$line\" in what apt would do"
done
# libvirt takes it for an emulator, and wants no other one.
simulate "$deb" libvirt-daemon-system
[ "$(grep -o '^Inst qemu-system-[^ ]*' "$work/apt")" = "Inst $package" ] || fail "apt would install other emulators for libvirt"
