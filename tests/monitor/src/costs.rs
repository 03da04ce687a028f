// SPDX-License-Identifier: GPL-2.0

//! The costs of operations: a table for people, and JSON for programs.
//!
//! `Documentation/performance.md` explains the columns and where the weights and the peer's figures
//! come from.

use std::fmt::Write;

use meter::{cost, Cost, Counts, Event};

/// The instructions of the C implementation (Linux 4.19, a lean build) for the same operation on the same
/// board, and the cycles that its authors measured on a Cortex-A15 (ASPLOS 2014).
const PEER: [(&str, Option<u32>, Option<u32>); 22] = [
    ("hypercall (PSCI_VERSION)", Some(990), Some(5_326)),
    ("trapped CP15 read (ACTLR)", Some(1_146), None),
    ("distributor read (GICD_TYPER)", Some(1_442), Some(5_990)),
    ("MMIO read by the monitor", Some(2_620), Some(10_119)),
    ("SGI to self", Some(2_195), None),
    ("timer, spinning", Some(3_520), None),
    ("timer, WFI", Some(17_574), None),
    ("timer, WFI, beyond the wait", Some(1_574), None),
    ("first touch, THP always, added", Some(197), None),
    ("first touch, THP never, added", Some(2_841), None),
    ("KVM_RUN to an MMIO exit, 1 slot", Some(2_300), None),
    ("KVM_RUN to an MMIO exit, 10 slots", Some(2_324), None),
    ("failing ioctl", Some(178), None),
    ("KVM_RUN with immediate_exit", Some(352), None),
    ("immediate_exit over failing ioctl", Some(174), None),
    ("VM create and close", Some(114_247), None),
    ("VM create, 64 kept alive", Some(34_256), None),
    (KIB_OF_A_VM, Some(18), None),
    ("vCPU create", Some(4_144), None),
    ("vCPU init", Some(7_664), None),
    ("slot added, 0 others", Some(8_192), None),
    ("ACK and EOI", None, Some(427)),
];

/// The row that is not a cost.
pub(crate) const KIB_OF_A_VM: &str = "KiB of memory for each of them";

/// A row of the table.
struct Row {
    name: String,
    cost: Cost,
    /// Whether it is the number of something else than instructions.
    is_amount: bool,
}

/// The columns of events.
const COLUMNS: [(&str, Event); 14] = [
    ("HYP", Event::HypReturn),
    ("GICH", Event::Gich),
    ("GICD", Event::Gicd),
    ("IPI", Event::Ipi),
    ("GICC", Event::Gicc),
    ("GICV", Event::Gicv),
    ("DMB", Event::Dmb),
    ("DSB", Event::Dsb),
    ("ISB", Event::Isb),
    ("excl", Event::Exclusive),
    ("D$", Event::DataCache),
    ("I$", Event::InstructionCache),
    ("TLB", Event::Tlb),
    ("BP", Event::BranchPredictor),
];

fn peer(name: &str) -> (Option<u32>, Option<u32>) {
    PEER.iter()
        .find(|(known, ..)| *known == name)
        .map_or((None, None), |&(_, instructions, cycles)| {
            (instructions, cycles)
        })
}

fn or_dash(figure: Option<impl ToString>) -> String {
    figure.map_or_else(|| "-".into(), |figure| figure.to_string())
}

/// The costs that were measured. It prints each as soon as it is known.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Prints the head of the table.
    pub(crate) fn print_head() {
        let mut line = format!("{:<36} {:>10} {:>10}", "operation", "here", "C peer");
        for (name, _) in COLUMNS {
            let _ = write!(line, " {name:>5}");
        }
        println!("{line} {:>10} {:>10}", "A15 cycles", "A15, C");
    }

    /// Adds a cost, and prints it.
    pub(crate) fn add(&mut self, name: &str, cost: Cost) {
        let (instructions, measured) = peer(name);
        let mut line = format!(
            "{name:<36} {:>10} {:>10}",
            cost.instructions,
            or_dash(instructions)
        );
        for (_, event) in COLUMNS {
            let figure = cost.has_events().then(|| cost.of(event).round() as u64);
            let _ = write!(line, " {:>5}", or_dash(figure));
        }
        let cycles = cost.has_events().then(|| cost.cycles().round() as u64);
        println!("{line} {:>10} {:>10}", or_dash(cycles), or_dash(measured));
        self.rows.push(Row {
            name: name.to_owned(),
            cost,
            is_amount: false,
        });
    }

    /// Adds an amount that is not a cost, and prints it.
    pub(crate) fn add_amount(&mut self, name: &str, amount: u64) {
        println!("{name:<36} {amount:>10} {:>10}", or_dash(peer(name).0));
        self.rows.push(Row {
            name: name.to_owned(),
            cost: Cost::new(amount, &Counts::NONE, 1),
            is_amount: true,
        });
    }

    /// A cost that was added.
    pub(crate) fn find(&self, name: &str) -> Option<Cost> {
        let row = self.rows.iter().find(|row| row.name == name)?;
        Some(row.cost)
    }

    /// All as JSON, an operation a line.
    pub(crate) fn json(&self) -> String {
        let mut text = String::from("{\n  \"weights\": ");
        let _ = cost::write_weights(&mut text);
        text.push_str(",\n  \"operations\": {\n");
        for (n, row) in self.rows.iter().enumerate() {
            let comma = if n + 1 < self.rows.len() { "," } else { "" };
            let _ = writeln!(text, "    {:?}: {}{comma}", row.name, row.json());
        }
        text.push_str("  }\n}\n");
        text
    }
}

impl Row {
    fn json(&self) -> String {
        let cost = &self.cost;
        if self.is_amount {
            return format!("{{\"amount\": {}}}", cost.instructions);
        }
        let mut text = String::from("{");
        let _ = cost.write_json(&mut text);
        let (instructions, cycles) = peer(&self.name);
        for (name, figure) in [("peer", instructions), ("peer cycles", cycles)] {
            if let Some(figure) = figure {
                let _ = write!(text, ", \"{name}\": {figure}");
            }
        }
        text.push('}');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_a_line_for_each_operation() {
        let mut table = Table::default();
        let mut counts = Counts::NONE;
        counts.0[Event::Instruction as usize] = 5;
        table.add("KVM_RUN", Cost::new(5, &counts, 1));
        table.add("without the plugin", Cost::new(6, &Counts::NONE, 1));
        table.add_amount("KiB", 7);
        let json = table.json();
        assert!(json.contains("    \"KVM_RUN\": {\"cost\": 5, \"instructions\": 5.00, "));
        assert!(json.contains("    \"without the plugin\": {\"cost\": 6},\n"));
        assert!(json.ends_with("    \"KiB\": {\"amount\": 7}\n  }\n}\n"));
    }

    #[test]
    fn the_peer_is_known_by_the_names_of_operations() {
        assert_eq!(peer("hypercall (PSCI_VERSION)"), (Some(990), Some(5_326)));
        assert_eq!(peer("something else"), (None, None));
    }
}
