// SPDX-License-Identifier: GPL-2.0

//! The table of real boards in `Documentation/boards.md` is true of their device trees.

use std::env;
use std::fs;
use std::path::PathBuf;

use boards::host::{self, PARTS};
use boards::tree::Tree;
use machine::core::Core;

const PAGE: &str = include_str!("../../../Documentation/boards.md");
const MODULE: &str = include_str!("../../../src/kvm/host.rs");
const LIST: &str = include_str!("../../../tools/device-trees");

/// The beginning of the first line of the table.
const HEADING: &str = "| board | device tree | cores |";

/// The folder of the trees that `tools/device-trees` has compiled.
fn trees() -> PathBuf {
    let cache = env::var("KVM_ARM_CACHE").expect("cargo runs by tools/in-root");
    let kernels = PathBuf::from(cache).join("kernel");
    let facts =
        fs::read_to_string(kernels.join("current")).expect("there is a kernel: make kernel");
    let version = facts.lines().find_map(|line| line.strip_prefix("version="));
    // The shell may have quoted it.
    let version = version.expect("a kernel has a version").replace('\\', "");
    kernels.join(version).join("trees")
}

fn tree(name: &str) -> Tree {
    let file = trees().join(format!("{name}.dtb"));
    let bytes = fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}: make kernel", file.display()));
    Tree::read(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The table: its rows as cells, without those two that are its head.
fn rows() -> Vec<Vec<&'static str>> {
    let lines = PAGE.lines().skip_while(|line| !line.starts_with(HEADING));
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// The name of the tree in a row.
fn name(row: &[&'static str]) -> &'static str {
    row[1].trim_matches('`')
}

#[test]
fn each_row_is_true_of_the_tree() {
    let mut wrong = String::new();
    for row in rows() {
        let tree = tree(name(&row));
        let mut right = vec![row[0].to_string(), row[1].to_string(), host::cores(&tree)];
        right.extend((0..PARTS.len()).map(|index| host::part(&tree, index)));
        right.extend([
            host::maintenance(&tree),
            host::timers(&tree),
            host::frequency(&tree),
            host::missing(&tree).map_or("whole".into(), |words| format!("`{words}`")),
        ]);
        if row != right {
            wrong += &format!("\n| {} |", right.join(" | "));
        }
    }
    assert!(wrong.is_empty(), "these rows have to be:{wrong}");
}

#[test]
fn each_compiled_tree_has_a_row() {
    let list = LIST.split("sources=(").nth(1);
    let list = list.and_then(|list| list.split(')').next());
    let list = list.expect("tools/device-trees has a list");
    let names = list.split_whitespace();
    let mut names: Vec<_> = names.filter_map(|path| path.rsplit('/').next()).collect();
    let mut rows: Vec<_> = rows().iter().map(|row| name(row)).collect();
    names.sort_unstable();
    rows.sort_unstable();
    assert_eq!(rows, names);
    assert!(!rows.is_empty());
}

#[test]
fn all_cores_of_the_table_are_known_to_the_module() {
    let known = Core::ALL.map(|core| core.description().name);
    for row in rows() {
        for core in row[2].split(", ") {
            let name = core.split(" × ").nth(1).unwrap_or_default();
            assert!(known.contains(&name), "{core}");
        }
    }
}

#[test]
fn the_rules_are_those_of_the_module() {
    let source = MODULE.split_whitespace().collect::<Vec<_>>().join(" ");
    // A string of the source that goes on in the next line.
    let source = source.replace("\\ ", "");
    for words in [
        host::NO_GIC,
        host::NO_INTERFACE,
        host::NO_PAGES,
        host::NO_MAINTENANCE,
    ] {
        assert!(
            source.contains(words),
            "the module does not say \"{words}\""
        );
    }
    let gics = host::GICS.map(|name| format!("c\"{name}\""));
    assert!(source.contains(&gics.join(", ")));
    assert!(source.contains(&format!("c\"{}\"", host::TIMER)));
    for rule in [
        "(node.registers(0), node.registers(2), node.registers(3))",
        "gicv.0 & 0xfff != 0 || gicv_size < 0x2000 || gicv_size & 0xfff != 0",
        "node.interrupt(0)",
        "node.interrupt(2)",
        "c\"clock-frequency\"",
    ] {
        assert!(source.contains(rule), "the module does not have {rule}");
    }
}
