# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The Debian archive, seen from outside any root: its indexes as tables, and files
# fetched by name and checked by SHA-256.
#
# apt runs in the build root with a state directory of its own for each architecture,
# so that an armhf index which cannot be had (a mirror in mid-sync) disturbs nothing
# else. Nothing of armhf is installed, only unpacked.

archive=$cache/archive

# How the armhf index is trusted; see README.md.
armhf_index=${ARMHF_INDEX:-signed}

# Where apt on this machine has ARCHIVE (debian, debian-security) from.
apt_source() {
	apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 2>/dev/null |
		sed -n "\\#/$1/\$#{s#/\$##;p;q}"
}

# find_mirror: sets mirror and security_mirror, unless the user has said.
find_mirror() {
	mirror=${DEBIAN_MIRROR:-$(apt_source debian)}
	security_mirror=${DEBIAN_SECURITY_MIRROR:-$(apt_source debian-security)}
	security_mirror=${security_mirror:-$mirror-security}
	[ -n "$mirror" ] || die "apt knows no Debian mirror on this machine: name one by DEBIAN_MIRROR="
}

# suites: "uri suite" of each place where packages come from.
suites() {
	printf '%s\n' "$mirror $suite" "$mirror $suite-updates" \
		"$security_mirror $suite-security" "$mirror $suite-backports"
}

apt_for() {
	local arch=$1 state=$archive/$1
	shift
	mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
	suites | sed 's/^/deb /; s/$/ main/' >"$state/sources.list"
	"$tree/tools/in-root" apt-get --quiet \
		-o Dir::State="$state" -o Dir::State::lists="$state/lists" \
		-o Dir::State::status=/dev/null -o Dir::Cache="$state/cache" \
		-o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o APT::Architecture="$arch" -o APT::Architectures="$arch" \
		-o APT::Sandbox::User=root -o APT::Update::Error-Mode=any \
		-o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

# table_of URI: from a Packages file to lines of "package version sha256 url".
table_of() {
	awk -v uri="$1" '
		$1 == "Package:" { package = $2 }
		$1 == "Version:" { version = $2 }
		$1 == "Filename:" { file = $2 }
		$1 == "SHA256:" { sum = $2 }
		/^$/ { if (package) print package, version, sum, uri "/" file; package = "" }
		END { if (package) print package, version, sum, uri "/" file }'
}

signed_index() {
	local arch=$1 table=$2 file uri
	apt_for "$arch" update
	apt_for "$arch" indextargets --format '$(REPO_URI) $(FILENAME)' 'Created-By: Packages' |
		while read -r uri file; do
			"$tree/tools/in-root" /usr/lib/apt/apt-helper cat-file "$file" | table_of "${uri%/}"
		done >"$table.new"
	[ -s "$table.new" ]
	mv "$table.new" "$table"
}

# The index as the mirror serves it now, whatever the signed Release says of it.
unsigned_index() {
	local arch=$1 table=$2 uri name
	: >"$table.new"
	suites | while read -r uri name; do
		"$tree/tools/in-root" curl -fsSL --retry 3 \
			"$uri/dists/$name/main/binary-$arch/Packages.xz" -o "$archive/Packages.xz"
		"$tree/tools/in-root" xz -dc "$archive/Packages.xz" | table_of "$uri" >>"$table.new"
	done
	[ -s "$table.new" ]
	mv "$table.new" "$table"
}

# read_indexes: asks the archive what it has, into amd64.table and armhf.table.
read_indexes() {
	local attempt
	local STEP_TAIL=3
	find_mirror
	mkdir -p "$archive"
	case $armhf_index in
	signed | unsigned) ;;
	*) die "ARMHF_INDEX=$armhf_index: must be signed or unsigned" ;;
	esac

	step "no package index from $mirror: no network, or the mirror is down; try again later" \
		"asking the archive for its packages" signed_index amd64 "$archive/amd64.table"

	if [ "$armhf_index" = unsigned ]; then
		say "warning: ARMHF_INDEX=unsigned: the armhf index is taken as the mirror serves it," \
			"without its signature (its programs run in the emulated board only)"
		step "no armhf package index from $mirror: no network, or the mirror is down; try again later" \
			"asking for armhf packages (unsigned)" unsigned_index armhf "$archive/armhf.table"
		return
	fi
	for attempt in 1 2 3 4 5 6 7 8 9 10; do
		STEP_TAIL=0
		try "asking for armhf packages" signed_index armhf "$archive/armhf.table"
		STEP_TAIL=3
		[ "$step_status" != 0 ] || return 0
		[ "$attempt" = 10 ] || {
			say "the mirror may be in the middle of a sync: trying again in 30 s ($attempt of 10)"
			sleep 30
		}
	done
	die "the armhf index of $mirror does not match its signed Release: try again later, name another mirror by DEBIAN_MIRROR=, or take the index as it is by ARMHF_INDEX=unsigned"
}

# versions_of ARCH PACKAGE: all that the archive has.
versions_of() {
	awk -v package="$2" '$1 == package { print $2 }' "$archive/$1.table" | sort -uV
}

# fetch ARCH PACKAGE VERSION: downloads one package unless the cache has it, and
# prints its path.
fetch() {
	local arch=$1 package=$2 version=$3 sum url file
	read -r sum url < <(awk -v package="$package" -v version="$version" \
		'$1 == package && $2 == version { print $3, $4; exit }' "$archive/$arch.table") ||
		die "the archive has no $package $version for $arch"
	file=$archive/debs/${url##*/}
	mkdir -p "$archive/debs"
	if ! echo "$sum  $file" | sha256sum --check --status 2>/dev/null; then
		"$tree/tools/in-root" curl -fsSL --retry 5 --retry-delay 2 "$url" -o "$file.new" >&2 ||
			die "cannot download $url"
		echo "$sum  $file.new" | sha256sum --check --status ||
			die "$url is not the file that the index names (mirror in mid-sync?): try again later"
		mv "$file.new" "$file"
	fi
	printf '%s\n' "$file"
}
