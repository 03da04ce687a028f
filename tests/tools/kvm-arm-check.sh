#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# kvm-arm-check, on this machine and on small trees of files that stand for machines which no emulator
# has: kernels, permissions, logs, and the device trees of real boards. It runs under each shell that a
# board can have. tests/board/diagnosis.bash is about the emulated boards.

# shellcheck source=tests/tools/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck disable=SC1090
. "$kernel_facts"

program=$tree/contrib/debian/kvm-arm-check
machine=$work/machine
here=7.2.11+deb13-armmp-lpae
# The same for regular expressions.
that=${here/+/[+]}

# run SHELL ARGUMENT…: the shells are those of the build root.
run() {
	# shellcheck disable=SC2086 # "busybox sh" is two words
	"$tree/tools/in-root" $1 "$program" "${@:2}"
}

# check STATUS [SHELL]: runs it on the machine.
check() {
	local result=0
	said=$(run "${2:-dash}" --root="$machine" 2>&1) || result=$?
	[ $result = "$1" ] || fail "status $result, not $1: $said"
	# One line is one finding, and the verdict is the last.
	! grep -vE '^(ok   |note |todo |no   |\?    ) [a-zA-Z/. ]+: .|^verdict: ' <<<"$said" || fail "a line of another form"
	tail -n 1 <<<"$said" | grep -q '^verdict: ' || fail "no verdict: $said"
}

says() {
	grep -Eq -- "$1" <<<"$said" || fail "no line like \"$1\": $said"
}

says_not() {
	! grep -Eq -- "$1" <<<"$said" || fail "a line like \"$1\": $said"
}

# put FILE: standard input, as a file of the machine.
put() {
	mkdir -p "$machine/$(dirname "$1")"
	cat >"$machine/$1"
}

cpu() { # NUMBER PART
	printf 'processor\t: %s\nmodel name\t: ARMv7 Processor rev 4 (v7l)\nCPU implementer\t: 0x41\nCPU architecture: 7\nCPU variant\t: 0x2\nCPU part\t: %s\nCPU revision\t: 4\n\n' "$1" "$2"
}

# tree_of NAME: the device tree of that board, as files.
tree_of() {
	rm -rf "$machine/sys/firmware/devicetree"
	mkdir -p "$machine/sys/firmware/devicetree"
	"$tree/tools/in-root" python3 - "$cache/kernel/$version/trees/$1.dtb" "$machine/sys/firmware/devicetree/base" <<-'UNPACK'
		import os, struct, sys
		data = open(sys.argv[1], "rb").read()
		_, _, at, texts = struct.unpack(">4I", data[:16])
		path = []
		while True:
		    token, = struct.unpack_from(">I", data, at)
		    at += 4
		    if token == 1:
		        end = data.index(b"\0", at)
		        path.append(data[at:end].decode() or sys.argv[2])
		        os.mkdir("/".join(path))
		        at = end + 4 & ~3
		    elif token == 2:
		        path.pop()
		    elif token == 3:
		        length, name = struct.unpack_from(">2I", data, at)
		        name = data[texts + name:data.index(b"\0", texts + name)].decode()
		        at += 8
		        with open("/".join([*path, name]), "wb") as file:
		            file.write(data[at:at + length])
		        at = at + length + 3 & ~3
		    elif token == 9:
		        break
	UNPACK
}

log() { # LINE…
	printf 'Nov 30 08:00:00 board kernel: [    0.000000] Booting Linux on physical CPU 0x0\n' | put var/log/kern.log
	printf 'Nov 30 08:00:00 board kernel: [    0.100000] %s\n' "$@" >>"$machine/var/log/kern.log"
}

config() { # OPTION…
	printf 'CONFIG_%s\n' MODULES=y ARM_VIRT_EXT=y MMU_NOTIFIER=y ARM_ARCH_TIMER=y OF=y "$@" | put "boot/config-$release"
}

# module RELEASE [MAGIC]: kvm_arm.ko for that kernel.
module() {
	printf 'x\0license=GPL\0vermagic=%s SMP mod_unload ARMv7\0' "${2:-$1}" | put "lib/modules/$1/updates/kvm_arm.ko"
	echo 'updates/kvm_arm.ko:' | put "lib/modules/$1/modules.dep"
	printf 'alias devname:kvm kvm_arm\nalias char-major-10-232 kvm_arm\n' | put "lib/modules/$1/modules.alias"
}

# board: a machine on which all is well, and the module is loaded when something opens /dev/kvm.
board() {
	rm -rf "$machine"
	release=$here
	echo "$release" | put proc/sys/kernel/osrelease
	echo armv7l | put proc/sys/kernel/arch
	{ cpu 0 0xc07; cpu 1 0xc07; } | put proc/cpuinfo
	tree_of sun7i-a20-cubietruck
	log 'CPU: All CPU(s) started in HYP mode.'
	config RUST=y ARM_LPAE=y
	module "$here"
	: | put dev/kvm
	: | put usr/bin/qemu-system-arm-kvm
	chmod +x "$machine/usr/bin/qemu-system-arm-kvm"
}

# --- A good machine, under each shell --------------------------------------------------
"$tree/tools/add-to-root" busybox
board
for shell in dash "bash --posix" "busybox sh"; do
	check 0 "$shell"
	says '^ok    board: Cubietech Cubietruck$'
	says '^ok    CPU: CPU 0,1: Cortex-A7$'
	says '^ok    GIC: '
	says '^ok    timer: '
	says '^ok    boot mode: HYP \(the kernel'
	says "^ok    kernel: $that is configured for it"
	says '^ok    module: .*when something opens /dev/kvm'
	says '^ok    QEMU: qemu-system-arm-kvm'
	says '^verdict: KVM works here, once'
	says_not '^(todo|no|\?) '
done
[ -z "$(run dash --root="$machine" --quiet)" ] || fail "--quiet is not quiet"

# --- This machine ------------------------------------------------------------------------
for arguments in --root= --root=/nowhere --wrong; do
	result=0
	run dash $arguments >/dev/null 2>&1 || result=$?
	[ $result = 64 ] || fail "status $result of $arguments"
done
case $(uname -m) in
arm*) ;;
*)
	result=0
	said=$(run dash) || result=$?
	[ $result = 3 ] || fail "status $result on this machine"
	says '^no    machine: '
	says '^verdict: KVM cannot work on this machine$'
	;;
esac

# --- CPUs ------------------------------------------------------------------------------
while read -r part name; do
	board
	cpu 0 "$part" | put proc/cpuinfo
	check 3
	says "^no    CPU: CPU 0 is .*$name"
done <<-CORES
	0xc09 Cortex-A9, which has no virtualization
	0xc05 Cortex-A5, which has no virtualization
	0xb76 ARMv5 or ARMv6
	0xd03 64-bit core
	0x123 does not know
CORES
board
{ cpu 0 0xc07; cpu 1 0xc0f; cpu 2 0xc0f; } | put proc/cpuinfo
check 0
says '^ok    CPU: CPU 0: Cortex-A7; CPU 1,2: Cortex-A15$'
says '^note  big.LITTLE: .*taskset'
echo aarch64 | put proc/sys/kernel/arch
check 3
says '64-bit Arm kernel'

# --- Boot mode ---------------------------------------------------------------------------
board
log 'CPU: All CPU(s) started in SVC mode.'
check 2
says '^no    boot mode: SVC.*CONFIG_OLD_SUNXI_KERNEL_COMPAT'
log 'CPU: WARNING: CPU(s) started in wrong/inconsistent modes (primary CPU mode 0x1a)'
check 2
says '^no    boot mode: not all'
# An earlier boot was another one.
log 'CPU: All CPU(s) started in SVC mode.'
sed 's/SVC/HYP/' "$machine/var/log/kern.log" >>"$machine/var/log/kern.log.new"
cat "$machine/var/log/kern.log.new" >>"$machine/var/log/kern.log"
check 0
# An ordinary user without the log sees the interrupts.
interrupts() { # NUMBER…
	printf ' 17:  100  200  GIC-0  %s Level     arch_timer\n' "$@" | put proc/interrupts
}
rm -r "$machine/var/log"
check 4
says '^\?     boot mode: '
says '^verdict: nothing speaks against .*\(boot mode\)'
interrupts 29 30
check 0
says '^ok    boot mode: HYP \(/proc/interrupts'
interrupts 27
check 2
says '^no    boot mode: SVC.*/proc/interrupts'
# On this board the kernel never uses the virtual timer.
: | put sys/firmware/devicetree/base/timer/arm,cpu-registers-not-fw-configured
interrupts 29 30
check 4
: | put sys/module/kvm_arm/refcnt
check 0
says '^ok    boot mode: HYP .*the module is loaded'

# --- Kernels -----------------------------------------------------------------------------
board
# Debian's own configuration is long. A unit of systemd ignores the signal of a pipe that nobody reads.
cp "$cache/kernel/$version/arm/usr/src/linux-headers-$release/.config" "$machine/boot/config-$release"
trap '' PIPE
check 0
trap - PIPE
says "^ok    kernel: $that is configured for it"
config RUST=y
check 2
says "^no    kernel: $that lacks CONFIG_ARM_LPAE=y: "
config ARM_LPAE=y RUST=y MODULE_SIG_FORCE=y
check 2
says 'lacks CONFIG_MODULE_SIG_FORCE=n: '
config ARM_LPAE=y RUST=y PREEMPT_RT=y
check 0
says "^ok    kernel: $that is configured for it"
release=7.2.11+deb13-armmp
echo $release | put proc/sys/kernel/osrelease
check 2
says '^no    kernel: .*flavour armmp, which has no LPAE: apt install linux-image-armmp-lpae'
says "^todo  module: kvm_arm is there for another kernel \($that\)"
release=7.3-own
echo $release | put proc/sys/kernel/osrelease
check 1
says '^\?     kernel: 7.3-own; its configuration is not installed'
board
echo 1 | put proc/sys/kernel/modules_disabled
check 2
says 'kernel.modules_disabled'
board
echo Y | put sys/module/module/parameters/sig_enforce
check 2
says 'module.sig_enforce'

# --- The module ----------------------------------------------------------------------------
board
rm -r "$machine/lib/modules"
check 1
says "^todo  module: kvm_arm is not there: install kvm-arm-modules-$that"
module "$here" 7.2.9-other
check 1
says '^todo  module: .*was built for 7.2.9-other'
module "$here"
: | put "lib/modules/$here/modules.dep"
check 1
says '^todo  module: .*not in modules.dep'
module "$here"
: | put "lib/modules/$here/modules.alias"
check 1
says '^todo  module: .*modprobe'
# What the module itself says counts most. Its other lines are no refusals.
board
log 'CPU: All CPU(s) started in HYP mode.' 'kvm_arm: loading out-of-tree module taints kernel.' \
	'kvm_arm: the firmware has not set ACTLR.IBE, so nothing can empty the branch predictor: guests can'
check 0
says '^note  firmware: .*ACTLR.IBE'
log 'CPU: All CPU(s) started in HYP mode.' 'kvm_arm: HYP mode belongs to other software: KVM needs the stub'
check 2
says '^no    module: kvm_arm was refused: HYP mode belongs to other software: KVM needs the stub$'
log 'CPU: All CPU(s) started in HYP mode.' 'kvm_arm: max_vcpus=9: must be 1 to 8, or 0'
check 1
# All refusals of the source are known here.
sed -n '/^## Refusals/,$p' "$tree/Documentation/boards.md" | sed -n 's/^| \(`.*`\).* |.*|$/\1/p' |
	grep -v 'ACTLR.IBE' | grep -oE '`[^`]+`' | tr -d '`' | while read -r words; do
	words=$(sed 's/MIDR …/MIDR 0x412fc091): KVM needs/; s/…/8/g; s/))/)/' <<<"$words")
	log 'CPU: All CPU(s) started in HYP mode.' "kvm_arm: $words; must be"
	result=0
	said=$(run dash --root="$machine") || result=$?
	says '^(no   |todo ) module: kvm_arm was refused'
done

# --- QEMU ------------------------------------------------------------------------------------
board
rm "$machine/usr/bin/qemu-system-arm-kvm"
check 0
says '^note  QEMU: none is installed: install qemu-system-arm-kvm'
: | put usr/bin/qemu-system-arm
chmod +x "$machine/usr/bin/qemu-system-arm"
check 0
says '^note  QEMU: qemu-system-arm has no KVM'

# --- Real boards: what Documentation/boards.md has of their virtual GIC ----------------------------
count=0
while read -r name vgic; do
	board
	tree_of "$name"
	check 0
	case $vgic in
	whole) says '^ok    GIC: ' ;;
	*maintenance*) says '^note  GIC: .*maintenance interrupt' ;;
	*no*GICv2*) says '^note  GIC: .*no GICv2' ;;
	*) fail "boards.md has \"$vgic\" for $name" ;;
	esac
	says '^ok    timer: '
	count=$((count + 1))
done < <(sed -n '/^## Real boards/,/^###/s/^| [^|]* | `\([^`]*\)` .* | \([^|]*\) |$/\1 \2/p' "$tree/Documentation/boards.md")
[ $count = 19 ] || fail "$count boards"

# --- Device trees that lack something -----------------------------------------------------------
base=sys/firmware/devicetree/base
board
node=$machine/$(cd "$machine" && find $base -name 'interrupt-controller@1c81000')
rm "$node/interrupts"
check 0
says '^note  GIC: .*maintenance interrupt .*kernel-irqchip=off'
truncate -s 16 "$node/reg"
check 0
says '^note  GIC: .*no GICH and GICV'
board
truncate -s 24 "$machine/$base/timer/interrupts"
check 2
says '^no    timer: .*no virtual interrupt'
rm -r "$machine/$base/timer"
check 2
says '^no    timer: .*no arm,armv7-timer'
rm -r "$machine/sys/firmware"
check 2
says '^no    device tree: '
