// SPDX-License-Identifier: GPL-2.0

//! The module's view of a device tree: the rules of `src/kvm/host.rs`, by which it finds the virtual
//! GIC and the timer when it is loaded.

use crate::tree::Tree;

/// The names of GICs with a virtual interface, in the order in which they are looked for.
pub const GICS: [&str; 4] = [
    "arm,cortex-a15-gic",
    "arm,cortex-a7-gic",
    "arm,gic-400",
    "qcom,msm-qgic2",
];

/// The name of the timer.
pub const TIMER: &str = "arm,armv7-timer";

/// The words of the log about a virtual GIC that is not whole.
pub const NO_GIC: &str = "no GICv2 with virtualization extensions";
/// The same, without GICH or GICV.
pub const NO_INTERFACE: &str = "names no virtual interface of the GIC";
/// The same, with a GICV that shares a page with something else.
pub const NO_PAGES: &str = "is not made of pages";
/// The same, without the maintenance interrupt.
pub const NO_MAINTENANCE: &str = "gives the GIC no maintenance interrupt";

/// The parts of a GIC: its distributor (GICD), the CPU interface (GICC), and both sides of the virtual
/// interface (GICH, GICV).
pub const PARTS: [&str; 4] = ["GICD", "GICC", "GICH", "GICV"];

const PAGE: u64 = 0x1000;

/// The node of the GIC that the module takes.
fn gic(tree: &Tree) -> Option<usize> {
    GICS.iter().find_map(|name| tree.compatible(name).next())
}

/// The cores, with the number of CPUs of each, in the order of the tree.
#[must_use]
pub fn cores(tree: &Tree) -> String {
    let mut cores: Vec<(String, usize)> = Vec::new();
    for cpu in tree.cpus() {
        let name = tree.strings(cpu, "compatible").concat();
        let name = name.replace("arm,cortex-a", "Cortex-A");
        match cores.iter_mut().find(|(other, _)| *other == name) {
            Some((_, count)) => *count += 1,
            None => cores.push((name, 1)),
        }
    }
    let cores = cores.iter();
    let cores = cores.map(|(name, count)| format!("{count} × {name}"));
    cores.collect::<Vec<_>>().join(", ")
}

/// The address and the size of part `index` of the GIC, or a dash.
#[must_use]
pub fn part(tree: &Tree, index: usize) -> String {
    let registers = gic(tree).and_then(|node| tree.registers(node, index));
    registers.map_or("—".into(), |(address, size)| {
        format!("{address:x} + {size:x}")
    })
}

/// The number of an interrupt: of a PPI that of the GIC's binding, which is the INTID less 16.
fn ppi(tree: &Tree, node: usize, index: usize) -> Option<String> {
    let (cells, controller) = tree.interrupt(node, index)?;
    if gic(tree) == Some(controller) {
        // The binding of the GIC: 1 for PPIs, the number, flags.
        assert_eq!((cells.len(), cells[0]), (3, 1), "not a PPI");
        return Some(cells[1].to_string());
    }
    Some(cells[0].to_string())
}

/// The maintenance interrupt, or a dash.
#[must_use]
pub fn maintenance(tree: &Tree) -> String {
    let interrupt = gic(tree).and_then(|node| ppi(tree, node, 0));
    interrupt.unwrap_or("—".into())
}

/// The timer's interrupts: secure physical, non-secure physical, virtual, hypervisor.
#[must_use]
pub fn timers(tree: &Tree) -> String {
    let Some(node) = tree.compatible(TIMER).next() else {
        return "—".into();
    };
    let interrupts = (0..4).map_while(|index| ppi(tree, node, index));
    interrupts.collect::<Vec<_>>().join(" ")
}

/// The timer's frequency in MHz, or a dash: then CNTFRQ tells it.
#[must_use]
pub fn frequency(tree: &Tree) -> String {
    let node = tree.compatible(TIMER).next();
    let cells = node.and_then(|node| tree.cells(node, "clock-frequency"));
    match cells.as_deref() {
        Some(&[hertz, ..]) => format!("{} MHz", f64::from(hertz) / 1e6),
        _ => "—".into(),
    }
}

/// The missing part of the virtual GIC, in the words of the log. Nothing is missing of a whole one.
#[must_use]
pub fn missing(tree: &Tree) -> Option<&'static str> {
    let Some(node) = gic(tree) else {
        return Some(NO_GIC);
    };
    let parts = [0, 2, 3].map(|index| tree.registers(node, index));
    let [Some(_), Some(_), Some((gicv, size))] = parts else {
        return Some(NO_INTERFACE);
    };
    if gicv % PAGE != 0 || size < 2 * PAGE || size % PAGE != 0 {
        return Some(NO_PAGES);
    }
    tree.interrupt(node, 0).is_none().then_some(NO_MAINTENANCE)
}
