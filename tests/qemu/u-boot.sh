#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# U-Boot as a guest, in a flash that it executes from. The flash is memory (a slot with KVM_MEM_READONLY)
# or a device that takes commands, as U-Boot wants it. Variables survive a reset and a new QEMU. The
# stock kernel starts from a disk, by bootz and by bootefi.

# shellcheck source=tests/qemu/firmware.bash
. "$(dirname "$0")/firmware.bash"

make_disk
MORE="$firmware/u-boot.bin $disk" TIMEOUT=${TIMEOUT:-1800} HOST_CMDLINE=damon_stat.enabled=N \
	on_board_with_qemu "$prompts"'
	mv /add/disk.img /tmp/
	flash u-boot.bin
	flash variables
	prompt="=> "
	power_on() {
		start "$@" -M virt,highmem=off -accel kvm -cpu host -smp 2 -m 256 \
			-drive if=pflash,format=raw,readonly=on,file=/tmp/u-boot.bin \
			-drive if=pflash,format=raw,file=/tmp/variables \
			-drive if=none,id=disk,file=/tmp/disk.img,format=raw -device virtio-blk-device,drive=disk
		stop_autoboot 1
	}
	stop_autoboot() {
		must patiently said_or_ended "Hit any key" $1
		types
		first_prompt
	}
	# counts COMMAND: the accesses to the flashes that do not go to memory.
	trace=/sys/kernel/debug/tracing
	counts() {
		echo >$trace/trace
		asks "$1"
		accesses=$(grep -c kvm_mmio: $trace/trace)
	}
	last_answer() { tail -c +$((size + 1)) /tmp/$vm.console | plain | grep "^$flash: "; }
	arguments="console=ttyAMA0 panic=-1 quiet cryptomgr.notests=1 guest=disk"
	power_on
	asks flinfo
	must answers "Bank # 2: CFI conformant flash"
	echo "gpa < 0x8000000" >$trace/events/kvm/kvm_mmio/filter
	echo 1 >$trace/events/kvm/kvm_mmio/enable
	# The flash of the program, where the drive permits no writes, and that of the variables
	for flash in 00000000 04000000; do
		counts "md.l $flash 1"
		must answers "^$flash: "
		was=$(last_answer)
		counts "crc32 $flash 10000"
		must [ $accesses = 0 ]
		# Read identifier: the commands and all reads from now on are for the device.
		counts "mw.w $flash 90"
		must [ $accesses = 1 ]
		counts "md.w $flash 1"
		must answers "^$flash: 0089"
		counts "crc32 $flash 100"
		must [ $accesses -ge 64 ]
		# Read array: it can be read, and executed, as memory again.
		counts "mw.w $flash ff"
		counts "md.l $flash 1"
		must [ $accesses = 0 ]
		must [ "$(last_answer)" = "$was" ]
	done
	echo 0 >$trace/events/kvm/kvm_mmio/enable
	echo "memory and device"

	asks "printenv where"
	must answers "not defined"
	asks "setenv where here"
	asks saveenv
	must answers "^OK"
	echo "saved"
	types reset
	stop_autoboot 2
	asks "printenv where"
	must answers "^where=here"
	must quits
	echo "kept"

	power_on -no-reboot
	asks "printenv where"
	must answers "^where=here"
	asks "virtio scan"
	asks "setenv bootargs $arguments firmware=bootz"
	asks "load virtio 0 \${kernel_addr_r} vmlinuz.efi"
	must answers "bytes read"
	asks "load virtio 0 \${ramdisk_addr_r} initrd"
	must answers "bytes read"
	types "bootz \${kernel_addr_r} \${ramdisk_addr_r}:\${filesize} \${fdt_addr}"
	must finishes
	must never "guest: started by EFI"
	must said "guest: booted by bootz, 1 boots"
	must said "guest: 2 CPUs"
	echo "bootz"

	power_on -no-reboot
	asks "virtio scan"
	asks "load virtio 0 \${kernel_addr_r} vmlinuz.efi"
	must answers "bytes read"
	asks "setenv bootargs initrd=/initrd $arguments firmware=bootefi"
	# Without a size: the kernel is then the last file that was loaded, and its EFI stub finds the initramfs
	# beside it. With one it would be a piece of memory, on no disk.
	types "bootefi \${kernel_addr_r} \${fdt_addr}"
	must finishes
	must said "guest: started by EFI"
	must said "guest: booted by bootefi, 2 boots"
	echo "bootefi"
	rmmod kvm_arm
'
for line in 'memory and device' saved kept bootz bootefi; do
	expect "^$line$"
done
