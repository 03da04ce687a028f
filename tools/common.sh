# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The scripts under tools/ share this: where things are, messages, timed steps,
# locks and stamps. Source it; it runs nothing by itself.
#
# Everything here talks to standard error, which leaves standard output to the output
# that the user asked for.

set -euo pipefail

# A user of Debian has no sbin in the path.
PATH=$PATH:/usr/sbin:/sbin

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/kvm_arm
target=$tree/target

# The Debian suite whose kernel the module is built for, by its own compilers. All but the oldest have
# caches and results of their own.
suite=${SUITE:-trixie}
case $suite in
trixie) ;;
forky)
	cache=$cache/$suite
	target=$target/$suite
	;;
*)
	printf 'error: SUITE=%s: must be trixie or forky\n' "$suite" >&2
	exit 1
	;;
esac
logs=$target/log

# HOST_VARIANT=name: the kernel of the board's host is one with KVM in its tree, a variant of which
# tools/variants has the configuration (tools/in-tree-kernel). With several names, such as rt-lockdep, it has what each asks for.
variant=${HOST_VARIANT:-}
in_tree=$target/in-tree${variant:+-$variant}
variant_parts=()
[ -z "$variant" ] || IFS=- read -r -a variant_parts <<<"$variant"
for name in "${variant_parts[@]}"; do
	[ ! -f "$tree/tools/variants/$name.config" ] || continue
	printf 'error: HOST_VARIANT=%s: must be %s, or several of them, as rt-lockdep\n' "$variant" \
		"$(cd "$tree/tools/variants" && printf '%s\n' *.config | sed 's/\.config$//' | paste -sd, | sed 's/,/, /g; s/\(.*\), /\1 or /')" >&2
	exit 1
done

user_triple=armv7-unknown-linux-gnueabihf

# Where the build root is, and the facts about the kernel (see tools/kernel).
root=${KVM_ARM_ROOT:-$cache/root}
kernel_facts=$cache/kernel/current

say() {
	printf '%s\n' "$*" >&2
}

die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

now_ms() {
	date +%s%3N
}

seconds_since() {
	local ms=$(($(now_ms) - $1))
	printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100))
}

# try WHAT COMMAND…: runs a command, its output kept in a log, and says how long it
# took. When it fails, the end of the log is shown; step_status tells. On a terminal,
# STEP_PROGRESS, a function that gets the log, prints how far the command is.
#
# Call it, and step, as commands of their own and never before || or in a condition:
# there bash forgets errexit in all that they run.
try() {
	local what=$1 start log worker
	shift
	mkdir -p "$logs"
	log=$logs/$(printf '%s' "${what%% (*}" | tr -cs 'A-Za-z0-9._' '-').log
	start=$(now_ms)
	printf '%s ...' "$what" >&2
	(
		set -e
		"$@"
	) >"$log" 2>&1 </dev/null &
	worker=$!
	if [ -n "${STEP_PROGRESS:-}" ] && [ -t 2 ] && [ "${TERM:-dumb}" != dumb ]; then
		while kill -0 "$worker" 2>/dev/null; do
			printf '\r\033[K%s ... %s' "$what" "$("$STEP_PROGRESS" "$log" 2>/dev/null)" >&2
			pause 0.3
		done
		printf '\r\033[K%s ...' "$what" >&2
	fi
	# A signal that has a trap ends the wait, not the command.
	step_status=0
	wait "$worker" || step_status=$?
	if [ $step_status -ne 0 ]; then
		say " failed after $(seconds_since "$start")"
		[ "${STEP_TAIL:-25}" = 0 ] && return
		tail -n "${STEP_TAIL:-25}" "$log" >&2
		say "(all of it: $log)"
	else
		say " $(seconds_since "$start")"
	fi
}

# step HINT WHAT COMMAND…: the same, and the end of everything when it fails, with the
# hint as the last word.
step() {
	local hint=$1
	shift
	try "$@"
	[ $step_status = 0 ] || die "$hint"
}

# host_module: prints the module for the board's host.
host_module() {
	if [ -n "$variant" ]; then
		printf '%s\n' "$in_tree/m/kvm_arm.ko"
	else
		printf '%s\n' "$target/module/kvm_arm.ko"
	fi
}

# host_source: prints the built tree of the host's kernel, for building modules.
host_source() {
	if [ -n "$variant" ]; then
		printf '%s\n' "$in_tree/linux"
	elif [ "${DEBUG_KERNEL:-0}" = 1 ]; then
		printf '%s\n' "$cache/kernel/$version/debug"
	else
		printf '%s\n' "$cache/kernel/$version/source"
	fi
}

# host_release: prints the release of the host's kernel.
host_release() {
	if [ -n "$variant" ]; then
		cat "$in_tree/linux/include/config/kernel.release"
	else
		printf '%s\n' "$release"
	fi
}

# The boards that have no virtio, as a regular expression.
# shellcheck disable=SC2034 # used by those who source this
boards_without_virtio='orangepi-pc|bpim2u|mcimx7d-sabre|ast2600-evb|raspi2b'

# tests_without BOARDS FOLDER…: prints the names of the tests there that name none of these boards, in a line.
tests_without() {
	local folder
	for folder in "${@:2}"; do
		# grep fails where all tests of a folder are wanted.
		grep -LE "BOARD=($1)" "$tree/tests/$folder"/*.sh || true
	done | sed 's|.*/||; s|\.sh$||' | paste -sd' '
}

# size_of BYTES: for people.
size_of() {
	if [ "$1" -lt 1048576 ]; then
		printf '%d KiB' $((($1 + 512) / 1024))
	else
		printf '%d MiB' $((($1 + 524288) / 1048576))
	fi
}

lock_fds=()

# locked NAME: waits until no other run holds the lock of that name, then holds it
# until this process ends. A signal that ends this process also ends its children, so that none of
# them works on without the lock, or holds it for nothing.
locked() {
	local fd signal
	mkdir -p "$cache"
	exec {fd}>"$cache/$1.lock"
	if ! flock --nonblock "$fd"; then
		say "waiting for another run to finish with the $1 ..."
		flock "$fd"
	fi
	lock_fds+=("$fd")
	for signal in HUP INT TERM; do
		# shellcheck disable=SC2064 # the signal is this one
		trap "trap - $signal; end_children \$\$; kill -s $signal \$\$" "$signal"
	done
}

# end_children PID: ends all processes that this one has started, the youngest first.
end_children() {
	local children child
	children=$(cat "/proc/$1/task/$1/children" 2>/dev/null) || return 0
	for child in $children; do
		end_children "$child"
		kill "$child" 2>/dev/null || true
	done
}

# pause SECONDS: waits in a child that holds no lock, in case this process is killed meanwhile.
pause() {
	(
		for fd in "${lock_fds[@]}"; do
			exec {fd}>&-
		done
		exec sleep "$1"
	) &
	wait $!
}

# hash_of FILE…, with standard input: a name for a set of inputs.
hash_of() {
	{
		cat
		[ $# -eq 0 ] || cat "$@"
	} | sha256sum | cut -c1-16
}

# is_stamped DIRECTORY VALUE: whether the directory was finished from those inputs.
is_stamped() {
	[ -f "$1/.stamp" ] && [ "$(cat "$1/.stamp")" = "$2" ]
}

# publish NEW DIRECTORY VALUE: puts a finished directory where it belongs, so that
# the name never stands for a half-made one.
publish() {
	printf '%s\n' "$3" >"$1/.stamp"
	if [ -e "$2" ]; then
		remove "$2.old"
		mv -T "$2" "$2.old"
	fi
	mv -T "$1" "$2"
	remove "$2.old"
}

# remove DIRECTORY…: removes it, also when users of our namespace own files in it.
remove() {
	local path
	for path; do
		[ -e "$path" ] || continue
		"${namespace[@]}" rm -rf --one-file-system "$path"
	done
}

# The way to be root with mounts of one's own. Without root rights that is the root
# of a user namespace, which owns all that this user owns.
namespace=(unshare --mount --propagation private --)
if [ "$(id -u)" != 0 ]; then
	namespace=(unshare --user --map-root-user --map-auto --mount --propagation private --)
fi

# need_namespace: says in one sentence why this user cannot have a build root.
need_namespace() {
	local tool
	for tool in mmdebstrap unshare flock; do
		command -v "$tool" >/dev/null ||
			die "$tool is missing: apt-get install make mmdebstrap uidmap"
	done
	"${namespace[@]}" true 2>/dev/null && return
	if [ "$(id -u)" = 0 ]; then
		die "root may not mount here (a container without CAP_SYS_ADMIN?)"
	elif ! command -v newuidmap >/dev/null; then
		die "without root rights, newuidmap is needed: apt-get install uidmap"
	elif ! grep -q "^$(id -un):" /etc/subuid /etc/subgid 2>/dev/null; then
		die "no subordinate ids for $(id -un): usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un)"
	fi
	die "user namespaces are not allowed here: run as root, or sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000"
}

# copy_by_links FROM TO: makes TO a copy of a folder, which has links to the files of FROM where the file systems allow
# that. Who changes a file in one of them has to replace it.
copy_by_links() {
	remove "$2"
	cp -al "$1" "$2" 2>/dev/null || {
		remove "$2"
		cp -a "$1" "$2"
	}
}

# has_options CONFIG WANTED…: the kernel configuration has all that the files WANTED ask for. It may not, since a dependency can
# have gone. Of two lines about one option, the later one counts.
has_options() {
	cat "${@:2}" | sed -E 's/^# (CONFIG_[A-Z0-9_]+) is not set$/\1=/' | grep '^CONFIG_' | tac |
		awk -F= '!seen[$1]++ && $2 != ""' | while read -r line; do
		grep -Fxq "$line" "$1" || {
			echo "the configuration does not have $line"
			exit 1
		}
	done
}

# A command of the board: a kernel that has just booted tests its ciphers in the background, and a count waits for their end.
# shellcheck disable=SC2034 # used by those who source this
ciphers_are_tested='while pidof cryptomgr_test >/dev/null; do sleep 1; done'

# counting_plugin: builds the emulator's plugin that counts events, and prints the emulator's arguments for it.
# The seed and the date are the same each time, so that two runs agree.
counting_plugin() {
	step "the plugin does not build" "building the emulator's plugin" \
		"$tree/tools/in-root" cargo build --locked --release --package meter-plugin
	printf '%s\n' "-plugin $target/release/libmeter_plugin.so -seed 1 -rtc base=2026-01-01,clock=vm"
}
