// SPDX-License-Identifier: GPL-2.0

//! The table of ordinary work: natively and in guests, as a ratio.

use std::fmt::Write;

use serde_json::{Map, Value};

/// The machine that others are compared with, of those with as many CPUs of the host.
const NATIVE: &str = "native";
/// The columns of events: the head, and the name in JSON.
const COLUMNS: [(&str, &str); 10] = [
    ("exc", "exceptions"),
    ("HYP", "hyp"),
    ("IPI", "ipis"),
    ("GICH", "gich"),
    ("GICD", "gicd"),
    ("GICC", "gicc"),
    ("GICV", "gicv"),
    ("DMB", "dmb"),
    ("DSB", "dsb"),
    ("ISB", "isb"),
];

/// A line of the output: the machine, the work on it, and its costs.
#[derive(Debug, PartialEq)]
struct Measured {
    machine: String,
    work: String,
    costs: Map<String, Value>,
}

impl Measured {
    /// Parses a line `MACHINE: WORK: JSON`. Others are none of ours.
    fn parse(line: &str) -> Option<Result<Self, String>> {
        if line.starts_with(' ') {
            return None;
        }
        let (names, json) = line.trim_end().split_once(": {")?;
        let (machine, work) = names.split_once(": ")?;
        let costs = serde_json::from_str(&format!("{{{json}"));
        Some(match costs {
            Ok(costs) => Ok(Self {
                machine: machine.into(),
                work: work.into(),
                costs,
            }),
            Err(e) => Err(format!("{line}: {e}")),
        })
    }

    fn figure(&self, name: &str) -> Option<f64> {
        self.costs.get(name)?.as_f64()
    }

    /// The instructions that were executed.
    fn instructions(&self) -> Result<f64, String> {
        let figure = self.figure("instructions").filter(|figure| *figure > 0.0);
        figure.ok_or_else(|| format!("{}: {}: no instructions", self.machine, self.work))
    }

    /// The native machine with as many CPUs of the host.
    fn native(&self) -> String {
        match self.machine.rsplit_once(", ") {
            Some((host, _)) => format!("{host}, {NATIVE}"),
            None => NATIVE.into(),
        }
    }
}

/// The names of a list in their first order, each once.
fn once<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a String> {
    let mut list = Vec::new();
    for name in names {
        if !list.contains(&name) {
            list.push(name);
        }
    }
    list
}

/// A figure with as many digits as tell something.
fn figure(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(value) if value >= 10.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.2}"),
    }
}

/// A row of the table, but for its end.
fn row(work: &str, machine: &str, instructions: &str, ratio: &str) -> String {
    format!("{work:<46} {machine:<20} {instructions:>12} {ratio:>6}")
}

/// The columns of events of a row.
fn events(costs: &Map<String, Value>) -> String {
    let figures = COLUMNS.map(|(_, name)| figure(costs.get(name).and_then(Value::as_f64)));
    figures.map(|figure| format!(" {figure:>6}")).concat()
}

/// The operations of a file of the monitor's, which has one a line, that is among the lines.
fn operations_of_a_file(lines: &str) -> Result<Map<String, Value>, String> {
    let mut operations = Map::new();
    for line in lines.lines().filter(|line| line.starts_with("    \"")) {
        let member = line.trim().trim_end_matches(',');
        let parsed: Result<Map<String, Value>, _> = serde_json::from_str(&format!("{{{member}}}"));
        operations.extend(parsed.map_err(|e| format!("{line}: {e}"))?);
    }
    Ok(operations)
}

/// The table for people, and the operations of a file, by the lines of all machines. It is an error if a
/// machine lacks a kind of work that another one has. The operations of a file among the lines come along.
pub(crate) fn table(lines: &str) -> Result<(String, Map<String, Value>), String> {
    let more = operations_of_a_file(lines)?;
    let all: Result<Vec<_>, _> = lines.lines().filter_map(Measured::parse).collect();
    let all = all?;
    let machines = once(all.iter().map(|measured| &measured.machine));
    let works = once(all.iter().map(|measured| &measured.work));
    let find = |machine: &str, work: &str| {
        let found = all
            .iter()
            .find(|one| one.machine == machine && one.work == work);
        found.ok_or_else(|| format!("{machine}: {work} was not measured"))
    };
    let mut text = row("work", "machine", "instructions", "ratio");
    for (head, _) in COLUMNS {
        let _ = write!(text, " {head:>6}");
    }
    text.push('\n');
    let mut operations = Map::new();
    for work in works {
        for machine in &machines {
            let measured = find(machine, work)?;
            let instructions = measured.instructions()?;
            let ratio = instructions / find(&measured.native(), work)?.instructions()?;
            let (here, ratio_text) = (format!("{instructions:.0}"), format!("{ratio:.3}"));
            text += &row(work, machine, &here, &ratio_text);
            text += &events(&measured.costs);
            text.push('\n');
            let mut costs = measured.costs.clone();
            costs.insert("ratio".into(), ((ratio * 1000.0).round() / 1000.0).into());
            operations.insert(format!("{machine}: {work}"), costs.into());
        }
    }
    if operations.is_empty() {
        return Err("no work was measured".into());
    }
    for (name, figures) in more {
        if let Some(costs) = figures.as_object() {
            text += &row(
                &name,
                "",
                &figure(costs.get("instructions").and_then(Value::as_f64)),
                "",
            );
            text += &events(costs);
            text.push('\n');
        }
        operations.insert(name, figures);
    }
    Ok((text, operations))
}

/// The file, an operation a line.
pub(crate) fn json(operations: &Map<String, Value>) -> String {
    let lines: Vec<String> = operations
        .iter()
        .map(|(name, figures)| format!("    {}: {figures}", Value::from(name.as_str())))
        .collect();
    format!(
        "{{\n  \"operations\": {{\n{}\n  }}\n}}\n",
        lines.join(",\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "native: fork: {\"cost\": 10, \"instructions\": 100.00, \"hyp\": 0.00}\n\
        something else\n\
        2 vCPUs: fork: {\"cost\": 10, \"instructions\": 105.00, \"hyp\": 12.30}\r\n\
        2 host CPUs, native: fork: {\"cost\": 10, \"instructions\": 50.00}\n\
        2 host CPUs, 1 vCPU: fork: {\"cost\": 10, \"instructions\": 100.00}\n";

    #[test]
    fn the_ratio_is_to_native_on_the_same_host() {
        let (text, operations) = table(LINES).unwrap();
        assert_eq!(operations["2 vCPUs: fork"]["ratio"], 1.05);
        assert_eq!(operations["2 host CPUs, 1 vCPU: fork"]["ratio"], 2.0);
        assert_eq!(text.lines().count(), 5);
        assert!(text.lines().nth(2).unwrap().contains("1.050"));
        let file: Value = serde_json::from_str(&json(&operations)).unwrap();
        assert_eq!(file["operations"]["native: fork"]["instructions"], 100.0);
    }

    #[test]
    fn a_file_comes_along() {
        let file = "    \"SGI, 2 vCPUs\": {\"cost\": 7, \"instructions\": 6.50},\n  }\n}\n";
        let (text, operations) = table(&format!("{LINES}{file}")).unwrap();
        assert_eq!(operations["SGI, 2 vCPUs"]["instructions"], 6.5);
        assert!(text.lines().last().unwrap().starts_with("SGI, 2 vCPUs "));
    }

    #[test]
    fn each_machine_does_all_work() {
        let without = LINES.replace("2 vCPUs: fork", "2 vCPUs: pipe");
        assert_eq!(
            table(&without).unwrap_err(),
            "2 vCPUs: fork was not measured"
        );
        let lines = "2 vCPUs: fork: {\"cost\": 10, \"instructions\": 105.00}\n";
        assert_eq!(table(lines).unwrap_err(), "native: fork was not measured");
    }

    #[test]
    fn without_the_plugin_there_is_nothing() {
        let uncounted = "native: fork: {\"cost\": 10}";
        assert_eq!(
            table(uncounted).unwrap_err(),
            "native: fork: no instructions"
        );
        assert!(table("").is_err());
        assert!(table("native: fork: {\"cost\":").is_err());
    }
}
