// SPDX-License-Identifier: GPL-2.0

//! `costs BASELINE NEW`: compares two files of `make bench`. It fails if a figure is more than 3 %
//! above the baseline.
//!
//! `costs --work LINES NEW`: makes such a file of the lines of ordinary work, and prints its table.

mod work;

use std::fs;
use std::process::ExitCode;

use serde_json::{Map, Value};

/// The growth that is no failure, in percent.
const GROWTH: f64 = 3.0;
/// A growth by less than this is no failure either: a batch may be hit by something of the host's own.
const SLACK: f64 = 0.5;
/// Figures that follow from others, or do not belong to this module.
const DERIVED: [&str; 4] = ["cycles", "peer", "peer cycles", "ratio"];

/// Operations of the stock kernel alone, by how their names begin.
const NOT_OURS: [&str; 2] = ["native", "failing ioctl"];
/// Operations that differ from run to run, and the growth that is no failure. A VM that goes waits for the
/// host's kernel, which idles meanwhile in this way or that. Which of two tasks goes first after a wake-up
/// depends on what the scheduler has in its books. First touches without huge pages vary by 1 %, and what
/// a guest adds is a small difference of two of them. The host's free memory is known by whole slabs only.
/// And where a Linux guest with several vCPUs puts its tasks follows from all that has happened before.
const LOOSE: [(&str, f64); 7] = [
    ("first touch, THP never, added", 16.0),
    ("VM create and close", 8.0),
    ("wake-up of a vCPU", 8.0),
    ("KiB of memory", 100.0),
    ("1 vCPU: ", 6.0),
    ("2 vCPUs: ", 25.0),
    ("4 vCPUs: ", 25.0),
];
/// Operations of which only the instructions are compared: what else a page costs depends on the zone of
/// the host's memory that it comes from, and what else the work of several vCPUs costs, on where its tasks are.
const ONLY_INSTRUCTIONS: [&str; 4] = [
    "first touch, THP never",
    "VM create and close",
    "2 vCPUs: ",
    "4 vCPUs: ",
];
/// Work of a guest, which takes pages that it had before or has not had yet: the host cleans those from its
/// caches.
const TAKES_PAGES: &str = "1 vCPU: ";
const OF_NEW_PAGES: &str = "dcache";
/// Operations in which a vCPU polls for a while before it sleeps: what the loop consists of is the more, the
/// less of the time something else takes.
const POLLS: [&str; 4] = [
    "1 vCPU: timer",
    "timer, WFI",
    "wake-up of a vCPU",
    "irqfd wakes",
];
const IN_THE_LOOP: [&str; 5] = ["dmb", "dsb", "isb", "exclusives", "cp15"];

/// Whether a name begins like one of a list.
fn begins(name: &str, list: &[&str]) -> bool {
    list.iter().any(|begin| name.starts_with(begin))
}

/// The result of a comparison: lines for people.
#[derive(Debug, Default, PartialEq)]
struct Verdict {
    /// The figures that are dearer than in the baseline, or are gone.
    worse: Vec<String>,
    /// Those that are cheaper.
    better: Vec<String>,
    /// Those that the baseline does not have.
    new: Vec<String>,
}

fn operations(file: &Value) -> Option<&Map<String, Value>> {
    file.get("operations")?.as_object()
}

/// Whether `cost` is what the emulated clock says, of an operation of which the instructions are known
/// better.
fn is_clock(figures: &Value, name: &str) -> bool {
    name == "cost" && figures.get("instructions").is_some()
}

/// Compares the figures of an operation.
fn compare_operation(operation: &str, before: &Value, now: &Value, verdict: &mut Verdict) {
    let (Some(before_figures), Some(now_figures)) = (before.as_object(), now.as_object()) else {
        verdict.worse.push(format!("{operation}: no figures"));
        return;
    };
    let loose = LOOSE.iter().find(|(begin, _)| operation.starts_with(begin));
    let factor = loose.map_or(GROWTH, |(_, growth)| *growth) / 100.0;
    let (only_instructions, polls) = (
        begins(operation, &ONLY_INSTRUCTIONS),
        begins(operation, &POLLS),
    );
    for (name, old) in before_figures {
        if DERIVED.contains(&name.as_str())
            || is_clock(before, name)
            || (name != "instructions" && only_instructions)
            || (polls && IN_THE_LOOP.contains(&name.as_str()))
            || (operation.starts_with(TAKES_PAGES) && name == OF_NEW_PAGES)
        {
            continue;
        }
        let (Some(old), Some(new)) = (old.as_f64(), now_figures.get(name).and_then(Value::as_f64))
        else {
            verdict.worse.push(format!("{operation}: {name} is gone"));
            continue;
        };
        let line = format!("{operation}: {name} {old} -> {new}");
        if new > old * (1.0 + factor) && new > old + SLACK {
            verdict.worse.push(line);
        } else if new < old * (1.0 - factor) && new < old - SLACK {
            verdict.better.push(line);
        }
    }
}

/// Compares two files.
fn compare(before: &Value, now: &Value) -> Result<Verdict, String> {
    let missing = |which| format!("the {which} file has no operations");
    let before = operations(before).ok_or_else(|| missing("first"))?;
    let now = operations(now).ok_or_else(|| missing("second"))?;
    let mut verdict = Verdict::default();
    let ours = before.iter().filter(|(name, _)| !begins(name, &NOT_OURS));
    for (operation, figures) in ours {
        match now.get(operation) {
            Some(new) => compare_operation(operation, figures, new, &mut verdict),
            None => verdict.worse.push(format!("{operation}: was not measured")),
        }
    }
    for operation in now.keys().filter(|name| !before.contains_key(*name)) {
        verdict.new.push(operation.clone());
    }
    Ok(verdict)
}

fn read(path: &str) -> Result<Value, String> {
    serde_json::from_str(&text(path)?).map_err(|e| format!("{path}: {e}"))
}

fn text(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))
}

fn run() -> Result<bool, String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (before, now) = match arguments.as_slice() {
        [option, lines, new] if option == "--work" => {
            let (table, operations) = work::table(&text(lines)?)?;
            print!("{table}");
            fs::write(new, work::json(&operations)).map_err(|e| format!("{new}: {e}"))?;
            return Ok(true);
        }
        [before, now] => (before, now),
        _ => return Err("usage: costs BASELINE NEW | costs --work LINES NEW".into()),
    };
    let verdict = compare(&read(before)?, &read(now)?)?;
    for (what, lines) in [
        ("not in the baseline", &verdict.new),
        ("lower than in the baseline", &verdict.better),
        ("DEARER than in the baseline", &verdict.worse),
    ] {
        if !lines.is_empty() {
            println!("{what}:");
            lines.iter().for_each(|line| println!("    {line}"));
        }
    }
    if !verdict.worse.is_empty() {
        println!(
            "{} figures have grown above {before} by more than {GROWTH} %. If that is meant to be so, \
             `make bench-baseline` writes it anew, and the commit says why.",
            verdict.worse.len()
        );
    } else if !verdict.better.is_empty() || !verdict.new.is_empty() {
        println!("`make bench-baseline` makes these the new baseline.");
    }
    Ok(verdict.worse.is_empty())
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("costs: {e}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(before: Value, now: Value) -> Verdict {
        let file = |figures| json!({ "operations": { "hypercall": figures } });
        compare(&file(before), &file(now)).unwrap()
    }

    #[test]
    fn three_percent_are_allowed() {
        let before = json!({ "instructions": 1000.0, "dmb": 10.0 });
        assert_eq!(
            verdict(
                before.clone(),
                json!({ "instructions": 1029.0, "dmb": 10.4 })
            ),
            Verdict::default()
        );
        let worse = verdict(before, json!({ "instructions": 1031.0, "dmb": 11.0 })).worse;
        assert_eq!(
            worse,
            [
                "hypercall: instructions 1000 -> 1031",
                "hypercall: dmb 10 -> 11",
            ]
        );
    }

    #[test]
    fn an_event_that_never_was_is_a_growth() {
        let worse = verdict(json!({ "gich": 0.0 }), json!({ "gich": 1.0 })).worse;
        assert_eq!(worse, ["hypercall: gich 0 -> 1"]);
        // A batch of 32 rounds that was hit by one.
        let verdict = verdict(json!({ "gich": 0.0 }), json!({ "gich": 0.03 }));
        assert_eq!(verdict, Verdict::default());
    }

    #[test]
    fn lower_is_told_and_no_failure() {
        let verdict = verdict(
            json!({ "instructions": 900.0 }),
            json!({ "instructions": 250.0 }),
        );
        assert_eq!(verdict.better, ["hypercall: instructions 900 -> 250"]);
        assert!(verdict.worse.is_empty());
    }

    #[test]
    fn the_clock_and_derived_figures_do_not_count() {
        let before = json!({ "cost": 100, "instructions": 50.0, "cycles": 100, "peer": 1 });
        let now = json!({ "cost": 900, "instructions": 50.0, "cycles": 900, "peer": 9 });
        assert_eq!(verdict(before, now), Verdict::default());
        // Without the plugin, the clock is all there is.
        let worse = verdict(json!({ "cost": 100 }), json!({ "cost": 900 })).worse;
        assert_eq!(worse, ["hypercall: cost 100 -> 900"]);
    }

    #[test]
    fn a_guest_may_take_new_pages() {
        let file = |figures| json!({ "operations": { "1 vCPU: fork and wait": figures } });
        let before = file(json!({ "instructions": 10.0, "dcache": 12.0, "gich": 2.0 }));
        let now = file(json!({ "instructions": 10.0, "dcache": 14.0, "gich": 3.0 }));
        let worse = compare(&before, &now).unwrap().worse;
        assert_eq!(worse, ["1 vCPU: fork and wait: gich 2 -> 3"]);
    }

    #[test]
    fn some_operations_are_not_compared_or_in_part() {
        let file = |name: &str, figures| json!({ "operations": { name: figures } });
        let few = json!({ "instructions": 10.0, "isb": 1.0 });
        let many = json!({ "instructions": 10.0, "isb": 2.0 });
        for (name, differ) in [
            ("first touch, THP never, added", 0),
            ("VM create and close, 1 vCPU", 0),
            ("timer, WFI", 0),
            ("native sleep", 0),
            ("first touch, THP always", 1),
        ] {
            let verdict = compare(&file(name, few.clone()), &file(name, many.clone())).unwrap();
            assert_eq!(verdict.worse.len(), differ, "{name}");
        }
    }

    #[test]
    fn what_is_gone_is_a_failure() {
        let file = json!({ "operations": { "a": { "cost": 1 } } });
        let other = json!({ "operations": { "b": { "cost": 1 } } });
        let verdict = compare(&file, &other).unwrap();
        assert_eq!(verdict.worse, ["a: was not measured"]);
        assert_eq!(verdict.new, ["b"]);
        assert!(compare(&json!({}), &file).is_err());
    }
}
