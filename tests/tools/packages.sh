#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Packages come from the archive as the lock file names them, and without the archive's index. A
# file with another hash is refused. If the archive no longer has a package, its index is asked. This
# test makes the archive, on a port of this machine.

# shellcheck source=tests/tools/common.sh
. "$(dirname "$0")/common.sh"

mirror=$work/mirror
pool=pool/main/t/test
lock=$work/packages.lock
rustc=$("$tree/tools/in-root" dpkg-query -W -f '${Version}' rustc)
rm -rf "$work/port" "$mirror"
mkdir -p "$mirror/$pool"

"$tree/tools/in-root" python3 -u - "$mirror" >"$work/port" 2>"$work/requests" <<-'SERVER' &
	import functools, http.server, sys
	handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
	server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
	print(server.server_port)
	server.serve_forever()
SERVER
server=$!
trap 'kill $server' EXIT
until [ -s "$work/port" ]; do
	kill -0 $server || fail "the server has ended: $(cat "$work/requests")"
	sleep 0.1
done
uri=http://127.0.0.1:$(cat "$work/port")

# kernel ARGUMENT…: runs tools/kernel, with this archive, this lock file and the cache in $work.
kernel() {
	result=0
	said=$(http_proxy='' XDG_CACHE_HOME=$work/cache KVM_ARM_ROOT=$root PACKAGES_LOCK=$lock ARMHF_INDEX=unsigned \
		DEBIAN_MIRROR=$uri DEBIAN_SECURITY_MIRROR=$uri "$tree/tools/kernel" "$@" 2>&1) || result=$?
	printf '%s\n' "$said"
}

says() {
	grep -Eq -- "$1" <<<"$said" || fail "no line like \"$1\""
}

# stanza PACKAGE VERSION: makes that package and its part of an index.
stanza() {
	local file=$pool/$1_${2//:/}.deb
	printf '%s\n' "$@" >"$mirror/$file"
	printf 'Package: %s\nVersion: %s\nArchitecture: armhf\nArchive: debian\nFilename: %s\nSize: %s\nSHA256: %s\n\n' \
		"$1" "$2" "$file" "$(stat -c %s "$mirror/$file")" "$(sha256sum <"$mirror/$file" | cut -d' ' -f1)"
}

# release VERSION [RUSTC]: all packages of one kernel.
release() {
	stanza "linux-source-${1%.*}" "$1-1"
	for package in binary modules headers base image; do
		stanza "linux-$package-$1-armmp-lpae" "$1-1"
	done
	stanza busybox-static 1:1.0
	stanza libstd-rust-dev "${2:-$rustc}"
}

# index: the archive's own index, from standard input.
index() {
	local name
	cat >"$work/index"
	for name in trixie trixie-updates trixie-security trixie-backports; do
		mkdir -p "$mirror/dists/$name/main/binary-armhf"
		"$tree/tools/in-root" xz -c <"$work/index" >"$mirror/dists/$name/main/binary-armhf/Packages.xz"
	done
}

# has_files VERSION: the cache has that kernel's packages, as they are in the archive.
has_files() {
	local file
	for file in "$mirror/$pool"/linux-*"$1"*; do
		cmp "$file" "$work/cache/kvm_arm/archive/debs/${file##*/}" || fail "$file was not downloaded"
	done
}

again() {
	rm -rf "$work/cache" "$mirror/dists"
	: >"$work/requests"
}

# As it should be.
again
release 7.2.1 >"$lock"
kernel download
[ $result = 0 ] || fail "status $result"
has_files 7.2.1
! grep dists "$work/requests" || fail "an index was asked"
# A second run has nothing to do.
: >"$work/requests"
kernel download
[ $result = 0 ] || fail "status $result of the second run"
! grep GET "$work/requests" || fail "the second run has asked the archive"

# The archive has another file of the same name and size.
again
printf 'x' | dd of="$mirror/$pool/linux-modules-7.2.1-armmp-lpae_7.2.1-1.deb" conv=notrunc status=none
kernel download
[ $result != 0 ] || fail "a file with another hash passes"
says "error: .*linux-modules-7.2.1.*has the SHA-256 .* as .*packages.lock says: it is not used"
[ ! -e "$work/cache/kvm_arm/archive/debs/linux-modules-7.2.1-armmp-lpae_7.2.1-1.deb" ] || fail "the cache has it"
! grep dists "$work/requests" || fail "an index was asked"

# A file is gone, and the archive has a newer kernel.
again
release 7.2.1 >"$lock"
release 7.2.3 | index
rm "$mirror/$pool/linux-modules-7.2.1"*
cp "$lock" "$work/before"
kernel download
[ $result = 0 ] || fail "status $result although the archive has a newer kernel"
says "^linux-modules-7.2.1-armmp-lpae 7.2.1-1 is not on $uri any more: asking the archive"
[ "$(grep -c 'any more' <<<"$said")" = 1 ] || fail "this was said more than once"
has_files 7.2.3
cmp "$lock" "$work/before" || fail "the lock file was changed"

# A file is gone, and the index is not there either.
again
kernel download
[ $result != 0 ] || fail "no index, and no failure"
says "^error: no armhf package index from $uri"

# The update writes the lock file, and lists the changes.
release 7.2.3 | index
kernel update
[ $result = 0 ] || fail "status $result of the update"
says '^  linux-binary: 7.2.1-1 -> 7.2.3-1$'
! grep -q 'busybox-static:' <<<"$said" || fail "what is as it was is called new"
again
kernel download
[ $result = 0 ] || fail "status $result with the new lock file"
has_files 7.2.3
! grep dists "$work/requests" || fail "an index was asked after the update"
release 7.2.3 | index
cp "$lock" "$work/before"
kernel update
says 'stays as it is'
cmp "$lock" "$work/before" || fail "an update without news has changed the lock file"

# The build root has another rustc than the lock file: the index is asked for its library alone.
again
release 7.2.3 0.1 >"$lock"
release 7.2.4 | index
kernel download
[ $result = 0 ] || fail "status $result with another rustc"
says '^the build root has rustc .* the library of 0.1: asking the archive'
has_files 7.2.3
ls "$work/cache/kvm_arm/archive/debs/libstd-rust-dev_${rustc//:/}.deb" || fail "the library is not the root's"
