# SPDX-License-Identifier: GPL-2.0
#
# For people: sets up the tools that are missing, builds, boots, tests. Kbuild has its own file
# (Kbuild), and the scripts that do the work are under tools/.

export SUITE BOARD HOST_VARIANT HOST_CPUS HOST_MEM HOST_CMDLINE GUEST_CPUS GUEST_MEM GUEST_KERNEL GUEST_INITRD
export ADD RUN TIMEOUT STILL ICOUNT QEMU_ARGS LOAD MODULE_PARAMETERS CHECK_LOG DEFECTS LOG DTB MACHINE_ARGS DRIVERS ROOT_DISK
export ARMHF_INDEX DEBIAN_MIRROR DEBIAN_SECURITY_MIRROR TESTS NAME JOBS TIMEOUT_FACTOR
export FUZZ_SEED FUZZ_CALLS FUZZ_RUNS FUZZ_SECONDS FUZZ_ROUND

# The steps follow each other; each uses all CPUs by itself.
.NOTPARALLEL:

ifneq ($(LOAD),0)
board: module
endif

run: module programs
	@tools/run

board: kernel
	@tools/board

test: module programs
	@tools/test

abi: module programs
	@tools/abi

test-debug: kernel vendor programs
	@tools/test-debug

test-long: module programs qemu
	@tools/test-long

test-fuzz: module programs
	@tools/test-fuzz

fuzz: root
	@tools/fuzz $(NAME)

test-pressure: module programs
	@tools/test-pressure

qemu:
	@tools/qemu

# QEMU's patches are for that of trixie.
deb: module $(if $(filter-out trixie,$(SUITE)),,qemu)
	@tools/deb $(if $(filter-out trixie,$(SUITE)),module)

# Kernels with KVM in their tree.
test-in-tree: kernel vendor programs
	@tools/test-in-tree

# The board tests on a kernel that is a variant of that, HOST_VARIANT.
test-variant: kernel vendor programs
	@tools/test-variant

patches: kernel vendor
	@tools/patches

test-qemu: module programs qemu
	@tools/test-qemu

# The next kernel of its board is that of Debian testing.
test-packages: deb programs
	@SUITE=forky $(MAKE) --no-print-directory module
	@tools/test-packages

# Guests of Debian at work on a board with Debian.
guests: deb programs
	@tools/test-guests

bench: module programs
	@tools/bench
	@HOST_CPUS=1 COSTS= tools/bench-work
	@HOST_CPUS=2 COSTS= tools/bench-work

bench-baseline: module programs
	@tools/bench baseline
	@HOST_CPUS=1 COSTS= tools/bench-work baseline
	@HOST_CPUS=2 COSTS= tools/bench-work baseline

bench-plots: root
	@tools/bench-plots

module: kernel vendor
	@tools/module

programs: kernel
	@tools/programs

clippy: kernel vendor
	@tools/clippy

shellcheck: root
	@tools/shellcheck

doc: module
	@tools/doc

rust-analyzer: module
	@tools/rust-analyzer

fmt: root
	@tools/fmt

vendor: root
	@tools/vendor

kernel: root
	@tools/kernel
	@tools/device-trees

update: root
	@tools/kernel update
	@tools/firmware update
	@tools/debian-root update

root:
	@tools/build-root

clean:
	rm -rf target

help:
	@sed -n '/^| `/{ s/^| //; s/ |$$//; s/`//g; s/ | /\t/g; p }' README.md | expand -t 32,54

.DEFAULT_GOAL := help
.PHONY: run board test abi test-debug test-long test-pressure test-fuzz fuzz qemu deb test-qemu guests test-in-tree test-variant patches test-packages bench bench-baseline bench-plots module programs clippy shellcheck doc rust-analyzer fmt vendor kernel update root clean help
