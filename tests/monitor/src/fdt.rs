// SPDX-License-Identifier: GPL-2.0

//! The device tree, which describes the machine to the guest.

use std::ops::Range;

use vm_fdt::{FdtWriter, FdtWriterResult};

use crate::error::{Context, Result};
use crate::layout;

/// The facts of the machine for the device tree.
pub(crate) struct Description<'a> {
    pub cpus: u32,
    /// The `compatible` property of the CPUs.
    pub core: &'a str,
    pub ram_size: u64,
    pub cmdline: &'a str,
    pub initrd: Option<Range<u64>>,
    pub virtio_devices: u32,
    pub has_pmu: bool,
    /// The frequency of the timer, where CNTFRQ does not tell.
    pub timer_frequency: Option<u32>,
    pub seed: [u8; 32],
}

/// The phandle of the interrupt controller.
const GIC: u32 = 1;

// The first two cells of an interrupt of a GIC (arm,gic.yaml).
const SPI: u32 = 0;
const PPI: u32 = 1;
const EDGE_RISING: u32 = 1;
const LEVEL_HIGH: u32 = 4;
const LEVEL_LOW: u32 = 8;

/// The timer's interrupts: secure, non-secure, virtual, HYP.
const TIMER_PPIS: [u32; 4] = [13, 14, 11, 10];

/// Bits 23:0 of MPIDR of a vCPU, as KVM gives them: clusters of four.
fn mpidr(cpu: u32) -> u32 {
    (cpu >> 2 << 8) | cpu & 3
}

fn write(machine: &Description<'_>) -> FdtWriterResult<Vec<u8>> {
    let mut fdt = FdtWriter::new()?;
    let root = fdt.begin_node("")?;
    fdt.property_string("compatible", "linux,dummy-virt")?;
    fdt.property_string("model", "kvm_arm monitor")?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 2)?;
    fdt.property_u32("interrupt-parent", GIC)?;

    let serial = format!("serial@{:x}", layout::SERIAL_BASE);
    let chosen = fdt.begin_node("chosen")?;
    fdt.property_string("bootargs", machine.cmdline)?;
    fdt.property_string("stdout-path", &format!("/{serial}"))?;
    if let Some(initrd) = &machine.initrd {
        fdt.property_u64("linux,initrd-start", initrd.start)?;
        fdt.property_u64("linux,initrd-end", initrd.end)?;
    }
    fdt.property("rng-seed", &machine.seed)?;
    fdt.end_node(chosen)?;

    let memory = fdt.begin_node(&format!("memory@{:x}", layout::RAM_BASE))?;
    fdt.property_string("device_type", "memory")?;
    fdt.property_array_u64("reg", &[layout::RAM_BASE, machine.ram_size])?;
    fdt.end_node(memory)?;

    let cpus = fdt.begin_node("cpus")?;
    fdt.property_u32("#address-cells", 1)?;
    fdt.property_u32("#size-cells", 0)?;
    for cpu in 0..machine.cpus {
        let node = fdt.begin_node(&format!("cpu@{:x}", mpidr(cpu)))?;
        fdt.property_string("device_type", "cpu")?;
        fdt.property_string("compatible", machine.core)?;
        fdt.property_string("enable-method", "psci")?;
        fdt.property_u32("reg", mpidr(cpu))?;
        fdt.end_node(node)?;
    }
    fdt.end_node(cpus)?;

    let psci = fdt.begin_node("psci")?;
    let versions = ["arm,psci-1.0", "arm,psci-0.2", "arm,psci"];
    fdt.property_string_list("compatible", versions.map(String::from).to_vec())?;
    fdt.property_string("method", "hvc")?;
    fdt.end_node(psci)?;

    let mask = ((1 << machine.cpus.min(8)) - 1) << 8;
    let interrupts: Vec<u32> = TIMER_PPIS
        .iter()
        .flat_map(|ppi| [PPI, *ppi, mask | LEVEL_LOW])
        .collect();
    let timer = fdt.begin_node("timer")?;
    fdt.property_string("compatible", "arm,armv7-timer")?;
    fdt.property_array_u32("interrupts", &interrupts)?;
    fdt.property_null("always-on")?;
    if let Some(frequency) = machine.timer_frequency {
        fdt.property_u32("clock-frequency", frequency)?;
    }
    fdt.end_node(timer)?;

    if machine.has_pmu {
        let pmu = fdt.begin_node("pmu")?;
        fdt.property_string("compatible", &format!("{}-pmu", machine.core))?;
        let ppi = layout::PMU_INTID - 16;
        fdt.property_array_u32("interrupts", &[PPI, ppi, mask | LEVEL_HIGH])?;
        fdt.end_node(pmu)?;
    }

    let gic = fdt.begin_node(&format!("interrupt-controller@{:x}", layout::GIC_DIST_BASE))?;
    fdt.property_string("compatible", "arm,cortex-a15-gic")?;
    fdt.property_u32("#interrupt-cells", 3)?;
    fdt.property_null("interrupt-controller")?;
    fdt.property_array_u64(
        "reg",
        &[
            layout::GIC_DIST_BASE,
            layout::GIC_DIST_SIZE,
            layout::GIC_CPU_BASE,
            layout::GIC_CPU_SIZE,
        ],
    )?;
    fdt.property_phandle(GIC)?;
    fdt.end_node(gic)?;

    let uart = fdt.begin_node(&serial)?;
    fdt.property_string("compatible", "ns16550a")?;
    fdt.property_array_u64("reg", &[layout::SERIAL_BASE, layout::SERIAL_SIZE])?;
    fdt.property_array_u32("interrupts", &[SPI, layout::SERIAL_SPI, EDGE_RISING])?;
    fdt.property_u32("clock-frequency", 1_843_200)?;
    fdt.end_node(uart)?;

    for index in 0..machine.virtio_devices {
        let base = layout::VIRTIO_BASE + u64::from(index) * layout::VIRTIO_SIZE;
        let node = fdt.begin_node(&format!("virtio@{base:x}"))?;
        fdt.property_string("compatible", "virtio,mmio")?;
        fdt.property_array_u64("reg", &[base, layout::VIRTIO_SIZE])?;
        let spi = layout::VIRTIO_SPI + index;
        fdt.property_array_u32("interrupts", &[SPI, spi, LEVEL_HIGH])?;
        fdt.property_null("dma-coherent")?;
        fdt.end_node(node)?;
    }

    fdt.end_node(root)?;
    fdt.finish()
}

/// Makes the flattened device tree.
pub(crate) fn build(machine: &Description<'_>) -> Result<Vec<u8>> {
    write(machine).context("cannot make the device tree")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_numbered_by_clusters_of_four() {
        assert_eq!([0, 3, 4, 7].map(mpidr), [0, 3, 0x100, 0x103]);
    }

    #[test]
    fn a_tree_is_made() {
        let fdt = build(&Description {
            cpus: 4,
            core: "arm,cortex-a15",
            ram_size: 1 << 28,
            cmdline: "console=ttyS0",
            initrd: Some(0x8800_0000..0x8810_0000),
            virtio_devices: 1,
            has_pmu: true,
            timer_frequency: None,
            seed: [7; 32],
        })
        .unwrap();
        assert_eq!(fdt[..4], [0xd0, 0x0d, 0xfe, 0xed]);
        assert!(fdt.len() < layout::FDT_MAX_SIZE as usize);
        assert!(fdt.windows(4).any(|w| w == b"psci"));
    }
}
