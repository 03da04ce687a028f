# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The Debian archive, seen from outside any root: packages as tables, and files fetched by name
# and checked by SHA-256. A lock file names these packages: tools/packages.lock those that every target
# needs, tools/firmware.lock those of tools/firmware. The archive's own index is asked by `make update`,
# or when the archive no longer has one of them.
#
# A table has a line "package version architecture archive path size sha256" for each package.
# The archive is debian or debian-security, the path is the one below it.
#
# apt runs in the build root with a state directory of its own, and reads the armhf index there.
# Nothing of armhf is installed, only unpacked.

archive=$cache/archive
case $suite in
trixie) lock_file=$tree/tools/packages.lock ;;
*) lock_file=$tree/tools/packages-$suite.lock ;;
esac
lock_file=${PACKAGES_LOCK:-$lock_file}

# How the armhf index is trusted; see README.md.
armhf_index=${ARMHF_INDEX:-signed}

# download ends with this status when the archive does not have the file.
gone=44

# apt_source ARCHIVE: the address at which apt on this machine has it (debian, debian-security).
apt_source() {
	apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 2>/dev/null |
		sed -n "\\#/$1/\$#{s#/\$##;p;q}"
}

# find_mirror: sets mirror and security_mirror, to the user's choice or else to apt's. The proxy of
# apt is used here, too.
find_mirror() {
	mirror=${DEBIAN_MIRROR:-$(apt_source debian)}
	security_mirror=${DEBIAN_SECURITY_MIRROR:-$(apt_source debian-security)}
	security_mirror=${security_mirror:-$mirror-security}
	[ -n "$mirror" ] || die "apt knows no Debian mirror on this machine: name one by DEBIAN_MIRROR="
	if [ -z "${http_proxy:-}" ]; then
		eval "$(apt-config shell http_proxy Acquire::http::Proxy 2>/dev/null)"
		[ "${http_proxy:-DIRECT}" = DIRECT ] || export http_proxy
	fi
}

# uri_of ARCHIVE
uri_of() {
	case $1 in
	debian) printf '%s\n' "$mirror" ;;
	debian-security) printf '%s\n' "$security_mirror" ;;
	*) die "$lock_file: there is no archive $1" ;;
	esac
}

# suites: "archive suite" of each place where packages come from.
suites() {
	echo "debian $suite"
	# Updates of testing come to testing itself. The other places are empty, and their signatures run out.
	[ "$suite" != trixie ] || printf '%s\n' "debian $suite-updates" "debian-security $suite-security" \
		"debian $suite-backports"
}

# An index of testing runs out after a week, and a mirror can be older than that. Its signature is
# checked all the same; with an old index, packages are only older.
check_valid_until=true
[ "$suite" = trixie ] || check_valid_until=false

# apt_sources: the same in apt's format.
apt_sources() {
	local from name
	suites | while read -r from name; do
		printf 'deb %s %s main\n' "$(uri_of "$from")" "$name"
	done
}

apt_for() {
	local arch=$1 state=$archive/$1
	shift
	mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
	apt_sources >"$state/sources.list"
	"$tree/tools/in-root" apt-get --quiet \
		-o Dir::State="$state" -o Dir::State::lists="$state/lists" \
		-o Dir::State::status=/dev/null -o Dir::Cache="$state/cache" \
		-o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o APT::Architecture="$arch" -o APT::Architectures="$arch" \
		-o APT::Sandbox::User=root -o APT::Update::Error-Mode=any \
		-o Acquire::Check-Valid-Until="$check_valid_until" -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

# table_of [ARCHIVE]: a table from a Packages file of that archive, or from the lock file, which
# names the archive of each package itself.
table_of() {
	awk -v default="${1:-}" '
		function line() {
			if (package)
				print package, version, architecture, archive, file, size, sum
			package = ""
			archive = default
		}
		BEGIN { archive = default }
		$1 == "Package:" { package = $2 }
		$1 == "Version:" { version = $2 }
		$1 == "Architecture:" { architecture = $2 }
		$1 == "Archive:" { archive = $2 }
		$1 == "Filename:" { file = $2 }
		$1 == "Size:" { size = $2 }
		$1 == "SHA256:" { sum = $2 }
		/^$/ { line() }
		END { line() }'
}

# lock_of TABLE SUBJECT: the lock file for that table. The subject says which packages those are.
lock_of() {
	printf '%s\n' "$2" | sed 's/^/# /'
	cat <<-'HEAD'
		# A package with another SHA-256 is refused, and no index of the archive is asked. `make update`
		# writes this file.
	HEAD
	awk '{ printf "\nPackage: %s\nVersion: %s\nArchitecture: %s\nArchive: %s\nFilename: %s\nSize: %s\nSHA256: %s\n",
		$1, $2, $3, $4, $5, $6, $7 }' "$1"
}

# The armhf index has packages for all architectures, too.
signed_index() {
	local table=$1 uri file from
	apt_for armhf update
	apt_for armhf indextargets --format '$(REPO_URI) $(FILENAME)' 'Created-By: Packages' |
		while read -r uri file; do
			from=debian
			[ "${uri%/}" != "$security_mirror" ] || from=debian-security
			"$tree/tools/in-root" /usr/lib/apt/apt-helper cat-file "$file" | table_of "$from"
		done >"$table.new"
	[ -s "$table.new" ]
	mv "$table.new" "$table"
}

# The index as the mirror serves it now, whatever the signed Release says of it.
unsigned_index() {
	local table=$1 from name
	: >"$table.new"
	suites | while read -r from name; do
		"$tree/tools/in-root" curl -fsSL --retry 3 \
			"$(uri_of "$from")/dists/$name/main/binary-armhf/Packages.xz" -o "$archive/Packages.xz"
		"$tree/tools/in-root" xz -dc "$archive/Packages.xz" | table_of "$from" >>"$table.new"
	done
	[ -s "$table.new" ]
	mv "$table.new" "$table"
}

# read_index: asks the archive for its list of armhf packages, into index.table.
read_index() {
	local attempt
	local STEP_TAIL=3 table=$archive/index.table
	mkdir -p "$archive"
	case $armhf_index in
	signed) ;;
	unsigned)
		say "warning: ARMHF_INDEX=unsigned: the armhf index is taken as the mirror serves it," \
			"without its signature (its programs run in the emulated board only)"
		step "no armhf package index from $mirror: no network, or the mirror is down; try again later" \
			"asking for armhf packages (unsigned)" unsigned_index "$table"
		return
		;;
	*) die "ARMHF_INDEX=$armhf_index: must be signed or unsigned" ;;
	esac
	for attempt in 1 2 3 4 5 6 7 8 9 10; do
		STEP_TAIL=0
		try "asking for armhf packages" signed_index "$table"
		STEP_TAIL=3
		[ "$step_status" != 0 ] || return 0
		[ "$attempt" = 10 ] || {
			say "the mirror may be in the middle of a sync: trying again in 30 s ($attempt of 10)"
			pause 30
		}
	done
	die "the armhf index of $mirror does not match its signed Release: try again later, name another mirror by DEBIAN_MIRROR=, or take the index as it is by ARMHF_INDEX=unsigned"
}

# versions_of TABLE PACKAGE: all versions that the table has.
versions_of() {
	awk -v package="$2" '$1 == package { print $2 }' "$1" | sort -uV
}

# row_of TABLE PACKAGE VERSION: its line.
row_of() {
	awk -v package="$2" -v version="$3" '$1 == package && $2 == version { print; exit }' "$1"
}

# file_of ROW…: where download leaves that package.
file_of() {
	printf '%s\n' "$archive/debs/${5##*/}"
}

# is_here ROW…: whether it is there already.
is_here() {
	local sum=$7
	printf '%s  %s\n' "$sum" "$(file_of "$@")" | sha256sum --check --status 2>/dev/null
}

# download ROW…: gets one package. Ends with $gone if the archive has no such file.
download() {
	local path=$5 sum=$7 url file code=0 http found
	url=$(uri_of "$4")/$path
	file=$(file_of "$@")
	mkdir -p "$archive/debs"
	# A server that says nothing for a minute is a failure, not a wait without an end.
	http=$("$tree/tools/in-root" curl -fsSL --retry 5 --retry-delay 2 --connect-timeout 30 \
		--speed-limit 1 --speed-time 60 -w '%{http_code}' -o "$file.new" "$url") || code=$?
	if [ "$code" != 0 ]; then
		if [ "$http" = 404 ] || [ "$http" = 410 ] || [ "$code" = 37 ]; then
			say "there is no $url"
			exit "$gone"
		fi
		die "cannot download $url"
	fi
	found=$(sha256sum <"$file.new" | cut -d' ' -f1)
	[ "$found" = "$sum" ] ||
		die "$url has the SHA-256 $found, and not $sum as $wanted_by says: it is not used"
	mv "$file.new" "$file"
}

# The rest is for those who have packages in $plan, a row in each line, and in the lock file
# $lock_file. plan_from_index, which they define, makes the plan from the index of the archive.

plan_from_lock() {
	wanted_by=${lock_file#"$tree/"}
	[ -f "$lock_file" ] || die "there is no $lock_file: make update"
	plan=$(grep -v '^#' "$lock_file" | table_of)
}

row=()

# How far the present download is.
download_progress() {
	local file size
	file=$(file_of "${row[@]}").new
	size=$(stat -c %s "$file" 2>/dev/null || echo 0)
	printf '%s of %s' "$(size_of "$size")" "$(size_of "${row[5]}")"
}

# download_all: gets the packages that the cache does not have. Sets missing to one that the archive no
# longer has, or to nothing.
download_all() {
	local rows line
	local STEP_TAIL=1 STEP_PROGRESS=download_progress
	mapfile -t rows <<<"$plan"
	for line in "${rows[@]}"; do
		read -ra row <<<"$line"
		! is_here "${row[@]}" || continue
		try "downloading ${row[0]} ${row[1]} ($(size_of "${row[5]}"))" download "${row[@]}"
		case $step_status in
		0) ;;
		"$gone")
			missing="${row[0]} ${row[1]}"
			return
			;;
		*) die "the download failed: no network, a mirror in mid-sync, or a file that is not the one; try again, or name another mirror by DEBIAN_MIRROR=" ;;
		esac
	done
	missing=
}

# get_plan ANEW: gets all packages. If the archive no longer has one of them, ANEW makes another plan.
get_plan() {
	download_all
	[ -n "$missing" ] || return 0
	say "$missing is not on $mirror any more: asking the archive for what it has now (make update writes ${lock_file#"$tree/"} anew)"
	"$1"
	download_all
	[ -z "$missing" ] || die "the index of $mirror names $missing, which is not there (mirror in mid-sync?): try again later"
}
