#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The Debian packages of the module and of the tools around it: lintian accepts them, they have the files
# that they should have and the module that was built, the same input makes the same packages, and the
# documentation has all parameters. tests/qemu/package.sh is about QEMU's.

# shellcheck source=tests/tools/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck disable=SC1090
. "$kernel_facts"

debs=$target/deb
version=$(sed -n '1s/.*(\(.*\)).*/\1/p' "$tree/contrib/debian/changelog")
modules=kvm-arm-modules-$release
names=("${modules}_${version}_armhf" "kvm-arm-modules_${version}_armhf" "kvm-arm-dkms_${version}_all" "kvm-arm-tools_${version}_all")
files=("${names[@]/#/$debs/}")
files=("${files[@]/%/.deb}")

"$tree/tools/deb" module
sums=$(sha256sum "${files[@]}") || fail "not all packages are there"

"$tree/tools/add-to-root" lintian
"$tree/tools/in-root" lintian --no-cfg --allow-root --fail-on error,warning,info "${files[@]}" || fail "lintian does not accept them"

# The same again, by somebody with another umask.
(umask 077 && "$tree/tools/deb" module)
[ "$sums" = "$(sha256sum "${files[@]}")" ] || fail "a second build differs"
SOURCE_DATE_EPOCH=1000000000 "$tree/tools/deb" module
[ "$sums" != "$(sha256sum "${files[@]}")" ] || fail "SOURCE_DATE_EPOCH changes nothing"
"$tree/tools/deb" module
[ "$sums" = "$(sha256sum "${files[@]}")" ] || fail "a fourth build differs"

remove "$work/unpacked"
for file in "${files[@]}"; do
	"$tree/tools/in-root" dpkg-deb --extract "$file" "$work/unpacked"
done
cd "$work/unpacked"
source=usr/src/kvm-arm-$version
find . -type f -printf '%P\n' | grep -v "^$source/\(asm\|include\|src\|target/vendor/[a-z_]*/src\)/" | LC_ALL=C sort >"$work/files"
LC_ALL=C sort >"$work/expected" <<-FILES
	etc/modprobe.d/kvm-arm.conf
	usr/bin/kvm-arm-check
	usr/lib/modules/$release/updates/kvm_arm.ko
	usr/lib/udev/rules.d/60-kvm-arm.rules
	usr/share/bug/$modules/control
	usr/share/bug/kvm-arm-dkms/control
	usr/share/bug/kvm-arm-tools/script
	$(printf 'usr/share/doc/%s/changelog.gz\n\tusr/share/doc/%s/copyright\n\t' \
		"$modules" "$modules" kvm-arm-modules kvm-arm-modules kvm-arm-dkms kvm-arm-dkms kvm-arm-tools kvm-arm-tools)
	usr/share/man/man1/kvm-arm-check.1.gz
	usr/share/man/man4/kvm_arm.4.gz
	$source/Kbuild
	$source/Kconfig
	$source/dkms-build
	$source/dkms.conf
FILES
sed -i 's/^\t*//; /^$/d' "$work/expected"
LC_ALL=C sort -o "$work/expected" "$work/expected"
diff "$work/expected" "$work/files" || fail "they have other files"
# All that Kbuild reads is there, as it is in the repository.
(cd "$tree" && find asm include src Kbuild Kconfig -type f) | while read -r file; do
	cmp "$tree/$file" "$source/$file" || fail "kvm-arm-dkms has another $file"
done
cmp usr/bin/kvm-arm-check "$tree/contrib/debian/kvm-arm-check" || fail "it is another kvm-arm-check"

# The module is the one that was built, for this kernel, and opening /dev/kvm loads it.
ko=usr/lib/modules/$release/updates/kvm_arm.ko
"$tree/tools/in-root" arm-linux-gnueabihf-strip --strip-debug -o "$work/stripped.ko" "$target/module/kvm_arm.ko"
cmp "$ko" "$work/stripped.ko" || fail "it is another module"
[[ "$("$tree/tools/in-root" modinfo -F vermagic "$ko")" = "$release "* ]] || fail "it is for another kernel"
"$tree/tools/in-root" depmod -b "$work/unpacked/usr" "$release"
grep -qx 'kvm_arm kvm c10:232' "usr/lib/modules/$release/modules.devname" || fail "modules.devname has no kvm"
grep -qx 'alias char-major-10-232 kvm_arm' "usr/lib/modules/$release/modules.alias" || fail "modules.alias has no kvm"
"$tree/tools/in-root" dpkg-deb --field "${files[0]}" Depends |
	grep -qF "linux-image-$release (= $(sed -n 's/^version=//p' "$kernel_facts" | xargs))" || fail "it does not depend on the kernel"

# Each parameter is in the manual page and in the file for modprobe, and no other one.
"$tree/tools/in-root" modinfo -F parm "$ko" | sed 's/:.*//' | sort >"$work/parameters"
gzip -dc usr/share/man/man4/kvm_arm.4.gz | sed -n 's/^\.BI \([a-z_]*\)= .*/\1/p' | sort | diff "$work/parameters" - ||
	fail "kvm_arm(4) has other parameters"
grep '^#options kvm_arm ' etc/modprobe.d/kvm-arm.conf | grep -o '[a-z_]*=' | tr -d = | sort | diff "$work/parameters" - ||
	fail "kvm-arm.conf has other parameters"
! grep -v '^#\|^$' etc/modprobe.d/kvm-arm.conf || fail "kvm-arm.conf sets something"

# DKMS's part names in one line all that it misses.
result=0
said=$(cd "$work/unpacked/$source" && "$tree/tools/in-root" ./dkms-build "$release" \
	"$cache/kernel/$(sed -n 's/^version=//p' "$kernel_facts" | xargs)/arm/usr/src/linux-headers-$release" 2>&1) || result=$?
[ "$result $(grep -c . <<<"$said")" = "1 1" ] || fail "status $result of dkms-build, which said: $said"
grep -q "^kvm_arm cannot be built for .*: install linux-source-[0-9.]* of version " <<<"$said" || fail "dkms-build said: $said"
