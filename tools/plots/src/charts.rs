// SPDX-License-Identifier: GPL-2.0

//! What the plots show: the figures of a file of `make bench`, as rows of bars.

use serde_json::{Map, Value};

/// The operations that the plot of instructions has at least. Others that have a figure of the C peer are
/// there, too.
const MAIN: [&str; 17] = [
    "hypercall (PSCI_VERSION)",
    "trapped CP15 read (ACTLR)",
    "distributor read (GICD_TYPER)",
    "MMIO read by the monitor",
    "SGI to self",
    "timer, spinning",
    "timer, WFI, beyond the wait",
    "first touch, THP always, added",
    "first touch, THP never, added",
    "KVM_RUN to an MMIO exit, 1 slot",
    "KVM_RUN to an MMIO exit, 10 slots",
    "immediate_exit over failing ioctl",
    "VM create and close",
    "VM create, 64 kept alive",
    "vCPU create",
    "vCPU init",
    "slot added, 0 others",
];
/// What that plot does not have: the host's own cost, what has that in it, or the wait of a timer, and
/// what is no cost.
const NOT_MAIN: [&str; 5] = [
    "failing ioctl",
    "KVM_RUN with immediate_exit",
    "timer, WFI",
    "KiB of memory for each of them",
    "KiB of memory for each vCPU",
];

/// The operations of which the authors of the C implementation have published the cycles.
const PUBLISHED: [&str; 4] = [
    "hypercall (PSCI_VERSION)",
    "distributor read (GICD_TYPER)",
    "MMIO read by the monitor",
    "ACK and EOI",
];

/// What is done to a slot, and the numbers of others.
const SLOT: [&str; 3] = ["added", "moved", "deleted"];
const OTHERS: [&str; 4] = ["0 others", "1 other", "100 others", "500 others"];

/// The ways to an MMIO exit: the label, and the operation.
const RUN: [(&str, &str); 6] = [
    ("1 VM, 1 slot", "KVM_RUN to an MMIO exit, 1 slot"),
    ("1 VM, 10 slots", "KVM_RUN to an MMIO exit, 10 slots"),
    ("1 VM, 500 slots", "KVM_RUN to an MMIO exit, 500 slots"),
    ("2 VMs by turns", "KVM_RUN to MMIO, by turns in 2 VMs"),
    ("8 VMs by turns", "KVM_RUN to MMIO, by turns in 8 VMs"),
    ("64 VMs by turns", "KVM_RUN to MMIO, by turns in 64 VMs"),
];
/// VMs: the label, and the operation.
const VMS: [(&str, &str); 4] = [
    ("no vCPU", "VM create and close"),
    ("1 vCPU", "VM create and close, 1 vCPU"),
    ("2 vCPUs", "VM create and close, 2 vCPUs"),
    ("4 vCPUs", "VM create and close, 4 vCPUs"),
];
/// More rows of these plots, which older files do not have.
const MORE_RUN: [(&str, &str); 2] = [
    ("one of 8 VMs", "KVM_RUN to MMIO, of one of 8 VMs"),
    ("one of 64 VMs", "KVM_RUN to MMIO, of one of 64 VMs"),
];
const MORE_VMS: [(&str, &str); 3] = [
    ("8 vCPUs", "VM create and close, 8 vCPUs"),
    ("beside 8 VMs", "VM create and close, beside 8 VMs"),
    ("beside 64 VMs", "VM create and close, beside 64 VMs"),
];

/// The machines that do ordinary work, and the one that they are compared with.
const GUESTS: [&str; 3] = ["1 vCPU", "2 vCPUs", "4 vCPUs"];
const NATIVE: &str = "native";
/// The same on two CPUs of the host.
const TWO_CPUS: &str = "2 host CPUs, ";
/// The operations between vCPUs on two CPUs of the host, and the numbers of vCPUs.
const ACROSS: [&str; 2] = [
    "SGI to a vCPU that runs, and back",
    "wake-up of a vCPU and back",
];
const VCPUS: [&str; 3] = ["2 vCPUs", "4 vCPUs", "8 vCPUs"];

const HERE: &str = "here";
const PEER: &str = "C peer";

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    /// From zero.
    Linear,
    Logarithmic,
}

/// A label, and a value of each series: not all rows have one of each.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    pub label: String,
    pub values: Vec<Option<f64>>,
}

/// A plot.
#[derive(Debug, PartialEq)]
pub(crate) struct Chart {
    /// The name of the file, without its type.
    pub name: &'static str,
    pub title: &'static str,
    /// What the values are.
    pub unit: &'static str,
    pub scale: Scale,
    pub series: Vec<&'static str>,
    pub rows: Vec<Row>,
}

/// The operations of a file, and what it does not have.
struct Costs<'a> {
    operations: &'a Map<String, Value>,
    missing: Vec<String>,
}

impl Costs<'_> {
    /// A figure of an operation, by the first of these names that there is.
    fn figure(&self, operation: &str, names: &[&str]) -> Option<f64> {
        let figures = self.operations.get(operation)?;
        names.iter().find_map(|name| figures.get(name)?.as_f64())
    }

    /// The same. If it is missing, that is noted.
    fn need(&mut self, operation: &str, names: &[&str]) -> Option<f64> {
        let figure = self.figure(operation, names);
        if figure.is_none() {
            let line = format!("\"{operation}\": {}", names.join(" or "));
            if !self.missing.contains(&line) {
                self.missing.push(line);
            }
        }
        figure
    }

    /// The instructions of an operation: those executed, or those by the clock, if there are no others.
    fn instructions(&mut self, operation: &str) -> Option<f64> {
        self.need(operation, &["instructions", "cost"])
    }

    /// A row of an operation's instructions and, if there are any, those of the C peer.
    fn beside_peer(&mut self, label: &str, operation: &str) -> Row {
        Row {
            label: label.into(),
            values: vec![
                self.instructions(operation),
                self.figure(operation, &["peer"]),
            ],
        }
    }
}

/// The kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Operations.
    Costs,
    /// Ordinary work.
    Work,
    /// Both on two CPUs of the host.
    TwoCpus,
    /// The works of `make guests`.
    Guests,
}

impl Kind {
    /// By its name, which is the file's, too.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "costs" => Some(Self::Costs),
            "work" => Some(Self::Work),
            "two-cpus" => Some(Self::TwoCpus),
            "guests" => Some(Self::Guests),
            _ => None,
        }
    }
}

/// The plots of a file, or what it does not have.
pub(crate) fn charts(kind: Kind, file: &Value) -> Result<Vec<Chart>, Vec<String>> {
    match kind {
        Kind::Costs => costs(file),
        Kind::Work => work(file),
        Kind::TwoCpus => two_cpus(file),
        Kind::Guests => guests(file),
    }
}

/// The kinds of work of a file, by those of the native machine.
fn kinds_of_work<'a>(operations: &'a Map<String, Value>, machine: &str) -> Vec<&'a str> {
    let names = operations.keys();
    names
        .filter_map(|name| name.strip_prefix(machine)?.strip_prefix(": "))
        .collect()
}

fn operations(file: &Value) -> Result<Costs<'_>, Vec<String>> {
    match file.get("operations").and_then(Value::as_object) {
        None => Err(vec!["operations".into()]),
        Some(operations) => Ok(Costs {
            operations,
            missing: Vec::new(),
        }),
    }
}

/// The plot of ordinary work.
fn work(file: &Value) -> Result<Vec<Chart>, Vec<String>> {
    let mut costs = operations(file)?;
    let rows = kinds_of_work(costs.operations, NATIVE)
        .into_iter()
        .map(|work| Row {
            label: work.into(),
            values: GUESTS
                .iter()
                .map(|guest| costs.need(&format!("{guest}: {work}"), &["ratio"]))
                .map(|ratio| ratio.map(|ratio| ratio * 100.0))
                .collect(),
        })
        .collect();
    if !costs.missing.is_empty() {
        return Err(costs.missing);
    }
    Ok(vec![Chart {
        name: "work-ratios",
        title: "Ordinary work in a guest, on one CPU of the host",
        unit: "percent of the instructions of the same work on the host",
        scale: Scale::Linear,
        series: GUESTS.into(),
        rows,
    }])
}

/// The plot of the works of guests, by the seconds that each takes in a guest and on the host. Works without a time on the host are not in it.
fn guests(file: &Value) -> Result<Vec<Chart>, Vec<String>> {
    let costs = operations(file)?;
    let rows: Vec<_> = costs
        .operations
        .keys()
        .map(|work| Row {
            label: work.into(),
            values: ["guest", "host"]
                .iter()
                .map(|machine| costs.figure(work, &[machine]))
                .collect(),
        })
        .filter(|row| row.values.iter().all(Option::is_some))
        .collect();
    if rows.is_empty() {
        return Err(vec![
            "a work with its times in a guest and on the host".into()
        ]);
    }
    Ok(vec![Chart {
        name: "guests",
        title: "Work of Debian guests on a host with Debian, emulated",
        unit: "seconds, logarithmic",
        scale: Scale::Logarithmic,
        series: vec!["in the guest", "on the host"],
        rows,
    }])
}

/// The plots of two CPUs of the host.
fn two_cpus(file: &Value) -> Result<Vec<Chart>, Vec<String>> {
    let mut costs = operations(file)?;
    let machine = format!("{TWO_CPUS}{NATIVE}");
    let works = kinds_of_work(costs.operations, &machine)
        .into_iter()
        .map(|work| Row {
            label: work.into(),
            values: GUESTS
                .iter()
                .map(|guest| costs.need(&format!("{TWO_CPUS}{guest}: {work}"), &["hyp"]))
                .map(|returns| returns.map(|returns| returns * 100.0))
                .collect(),
        })
        .collect();
    let across = ACROSS
        .iter()
        .flat_map(|what| VCPUS.map(|vcpus| format!("{what}, {vcpus}")))
        .map(|name| Row {
            values: ["hyp", "ipis", "gich"]
                .iter()
                .map(|event| costs.need(&name, &[event]))
                .collect(),
            label: name,
        })
        .collect();
    if !costs.missing.is_empty() {
        return Err(costs.missing);
    }
    Ok(vec![
        Chart {
            name: "two-cpus-work",
            title: "Ordinary work in a guest, on two CPUs of the host",
            unit: "returns from HYP mode in 100 operations",
            scale: Scale::Linear,
            series: GUESTS.into(),
            rows: works,
        },
        Chart {
            name: "two-cpus-interrupts",
            title: "Two vCPUs on two CPUs of the host",
            unit: "events for each time there and back",
            scale: Scale::Linear,
            series: vec![
                "returns from HYP mode",
                "IPIs of the host",
                "accesses to GICH",
            ],
            rows: across,
        },
    ])
}

/// The plots of operations.
fn costs(file: &Value) -> Result<Vec<Chart>, Vec<String>> {
    let mut costs = operations(file)?;
    let operations = costs.operations;
    for operation in MAIN {
        costs.need(operation, &["peer"]);
    }
    // In the file's order.
    let main = operations
        .iter()
        .filter(|(name, figures)| {
            figures.get("peer").is_some() && !NOT_MAIN.contains(&name.as_str())
        })
        .map(|(name, _)| costs.beside_peer(name, name))
        .collect();
    let published = PUBLISHED
        .iter()
        .map(|name| Row {
            label: (*name).into(),
            values: vec![
                costs.need(name, &["cycles"]),
                costs.need(name, &["peer cycles"]),
            ],
        })
        .collect();
    let slots = OTHERS
        .iter()
        .map(|others| Row {
            label: (*others).into(),
            values: SLOT
                .iter()
                .map(|what| costs.instructions(&format!("slot {what}, {others}")))
                .collect(),
        })
        .collect();
    let mut rows = |of: &[(&str, &str)]| -> Vec<Row> {
        of.iter()
            .map(|(label, operation)| costs.beside_peer(label, operation))
            .collect()
    };
    let (mut run, mut vms) = (rows(&RUN), rows(&VMS));
    let there = |(_, name): &(&str, &str)| operations.contains_key(*name);
    let more_run: Vec<_> = MORE_RUN.into_iter().filter(there).collect();
    let more_vms: Vec<_> = MORE_VMS.into_iter().filter(there).collect();
    run.extend(rows(&more_run));
    vms.extend(rows(&more_vms));
    if !costs.missing.is_empty() {
        return Err(costs.missing);
    }
    Ok(vec![
        Chart {
            name: "costs-instructions",
            title: "Instructions of an operation",
            unit: "instructions, logarithmic",
            scale: Scale::Logarithmic,
            series: vec![HERE, PEER],
            rows: main,
        },
        Chart {
            name: "costs-cycles",
            title: "Cycles of a Cortex-A15",
            unit: "cycles",
            scale: Scale::Linear,
            series: vec!["here, estimated", "C implementation, as published in 2014"],
            rows: published,
        },
        Chart {
            name: "costs-slots",
            title: "A slot is added, moved, deleted",
            unit: "instructions",
            scale: Scale::Linear,
            series: SLOT.into(),
            rows: slots,
        },
        Chart {
            name: "costs-run",
            title: "KVM_RUN to an MMIO exit",
            unit: "instructions",
            scale: Scale::Linear,
            series: vec![HERE, PEER],
            rows: run,
        },
        Chart {
            name: "costs-vms",
            title: "A VM is created and closed",
            unit: "instructions",
            scale: Scale::Linear,
            series: vec![HERE, PEER],
            rows: vms,
        },
    ])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The baselines.
    pub(crate) const BASELINES: [(Kind, &str); 3] = [
        (Kind::Costs, include_str!("../../../tests/board/costs.json")),
        (Kind::Work, include_str!("../../../tests/board/work.json")),
        (
            Kind::TwoCpus,
            include_str!("../../../tests/board/two-cpus.json"),
        ),
    ];

    /// The plots of all baselines.
    pub(crate) fn all() -> Vec<Chart> {
        let charts = |(kind, text)| charts(kind, &serde_json::from_str(text).unwrap()).unwrap();
        BASELINES.into_iter().flat_map(charts).collect()
    }

    fn baseline() -> Value {
        serde_json::from_str(BASELINES[0].1).unwrap()
    }

    /// The baseline without an operation, or without one of its figures.
    fn without(operation: &str, figure: Option<&str>) -> Value {
        let mut file = baseline();
        let operations = file["operations"].as_object_mut().unwrap();
        match figure {
            None => operations.shift_remove(operation),
            Some(figure) => operations[operation]
                .as_object_mut()
                .unwrap()
                .shift_remove(figure),
        }
        .expect("the baseline has it");
        file
    }

    #[test]
    fn a_missing_operation_is_named() {
        for (operation, line) in [
            ("SGI to self", "\"SGI to self\": peer"),
            (
                "slot moved, 100 others",
                "\"slot moved, 100 others\": instructions or cost",
            ),
            (
                "KVM_RUN to MMIO, by turns in 8 VMs",
                "\"KVM_RUN to MMIO, by turns in 8 VMs\": instructions or cost",
            ),
            (
                "VM create and close, 4 vCPUs",
                "\"VM create and close, 4 vCPUs\": instructions or cost",
            ),
            ("ACK and EOI", "\"ACK and EOI\": cycles"),
        ] {
            let missing = costs(&without(operation, None)).unwrap_err();
            assert!(
                missing.iter().any(|m| m == line),
                "{operation}: {missing:?}"
            );
        }
        assert_eq!(costs(&Value::Null), Err(vec!["operations".into()]));
    }

    #[test]
    fn all_that_is_missing_is_named_once() {
        let file = serde_json::json!({ "operations": {} });
        let missing = costs(&file).unwrap_err();
        assert!(missing.contains(&"\"vCPU init\": peer".into()));
        assert!(missing.contains(&"\"ACK and EOI\": peer cycles".into()));
        assert!(missing.contains(&"\"slot deleted, 0 others\": instructions or cost".into()));
        let mut once = missing.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), missing.len());
    }

    #[test]
    fn a_missing_figure_is_named() {
        let missing = costs(&without("hypercall (PSCI_VERSION)", Some("peer cycles"))).unwrap_err();
        assert_eq!(missing, ["\"hypercall (PSCI_VERSION)\": peer cycles"]);
        let missing = costs(&without("vCPU init", Some("peer"))).unwrap_err();
        assert_eq!(missing, ["\"vCPU init\": peer"]);
        // The clock will do, without the plugin.
        assert!(costs(&without("vCPU init", Some("instructions"))).is_ok());
    }

    #[test]
    fn a_new_figure_of_the_peer_is_shown() {
        let mut file = baseline();
        file["operations"]["something new"] = serde_json::json!({ "cost": 12, "peer": 34 });
        let charts = costs(&file).unwrap();
        let row = charts[0]
            .rows
            .iter()
            .find(|row| row.label == "something new")
            .unwrap();
        assert_eq!(row.values, [Some(12.0), Some(34.0)]);
        assert!(charts[0]
            .rows
            .iter()
            .all(|row| !NOT_MAIN.contains(&row.label.as_str())));
    }

    #[test]
    fn a_machine_that_lacks_work_is_named() {
        for (kind, machine) in [
            (Kind::Work, "4 vCPUs"),
            (Kind::TwoCpus, "2 host CPUs, 4 vCPUs"),
        ] {
            let (_, text) = BASELINES.iter().find(|(of, _)| *of == kind).unwrap();
            let name = format!("{machine}: compute");
            let file = serde_json::from_str(&text.replace(&name, "else")).unwrap();
            let missing = charts(kind, &file).unwrap_err();
            assert_eq!(missing.len(), 1);
            assert!(
                missing[0].starts_with(&format!("\"{name}\"")),
                "{missing:?}"
            );
        }
    }

    #[test]
    fn a_file_without_the_newer_rows_has_its_plots() {
        let mut file = baseline();
        let operations = file["operations"].as_object_mut().unwrap();
        for (_, name) in MORE_RUN.iter().chain(&MORE_VMS) {
            operations.shift_remove(*name);
        }
        assert_eq!(costs(&file).unwrap()[3].rows.len(), RUN.len());
    }

    #[test]
    fn works_of_guests_have_both_times() {
        let file = serde_json::json!({ "operations": {
            "boot, armhf": { "result": "a login", "guest": 90.5, "host": 60.25 },
            "a reset, armhf": { "result": "all is there" },
        } });
        let charts = charts(Kind::parse("guests").unwrap(), &file).unwrap();
        assert_eq!(charts.len(), 1);
        assert_eq!(charts[0].rows.len(), 1);
        assert_eq!(charts[0].rows[0].label, "boot, armhf");
        assert_eq!(charts[0].rows[0].values, [Some(90.5), Some(60.25)]);
        let file = serde_json::json!({ "operations": {} });
        assert_eq!(
            guests(&file),
            Err(vec![
                "a work with its times in a guest and on the host".into()
            ])
        );
    }

    #[test]
    fn each_row_has_a_value_of_each_series_or_none() {
        for chart in all() {
            for row in &chart.rows {
                assert_eq!(row.values.len(), chart.series.len(), "{}", chart.name);
                assert!(row.values[0].is_some(), "{}", row.label);
            }
        }
    }
}
