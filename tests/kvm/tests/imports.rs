// SPDX-License-Identifier: GPL-2.0

//! The files of the module's `src/kvm` use each other in layers: no circle has more than two files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A file, or a folder of files, by its name as a module.
type Module = String;
/// The modules that each one uses.
type Uses = BTreeMap<Module, BTreeSet<Module>>;

/// The source without comments. No string of these files has two slashes in it.
fn without_comments(source: &str) -> String {
    let lines = source.lines();
    let lines = lines.map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths in a tree of imports, such as `a::{b, c::d}`.
fn paths(tree: &str, prefix: &str, found: &mut Vec<String>) {
    let Some(brace) = tree.find('{') else {
        found.push(format!("{prefix}{tree}"));
        return;
    };
    let prefix = format!("{prefix}{}", &tree[..brace]);
    let inner = tree[brace + 1..].strip_suffix('}').unwrap_or_default();
    let (mut depth, mut start) = (0, 0);
    for (place, letter) in inner.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                paths(&inner[start..place], &prefix, found);
                start = place + 1;
            }
            _ => {}
        }
    }
    if start < inner.len() {
        paths(&inner[start..], &prefix, found);
    }
}

/// All paths that a source names from `super` or from `crate::kvm`.
fn named(source: &str) -> Vec<String> {
    let source: String = without_comments(source);
    let mut found = Vec::new();
    for import in source.split("use ").skip(1) {
        let tree: String = import.split(';').next().unwrap_or_default().into();
        let tree: String = tree.split_whitespace().collect();
        if ["super", "crate"].iter().any(|root| tree.starts_with(root)) {
            paths(&tree, "", &mut found);
        }
    }
    // Outside of imports, as in `super::halt::wait_for_interrupt(…)`.
    for root in ["super::", "crate::kvm::"] {
        for (place, _) in source.match_indices(root) {
            let path = source[place..].chars();
            let path = path.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':'));
            found.push(path.collect());
        }
    }
    found
}

/// The module that a path names, as a file so deep below `src/kvm` sees it.
fn target(path: &str, depth: usize) -> Option<Module> {
    let parts: Vec<&str> = path.split("::").collect();
    let name = match parts.as_slice() {
        ["crate", "kvm", name, ..] => name,
        _ => {
            let up = parts.iter().take_while(|part| **part == "super").count();
            // The module of a file is one deeper than the file.
            (up == depth + 1).then(|| parts.get(up))??
        }
    };
    Some((*name).into())
}

fn read(folder: &Path, module: Option<&str>, depth: usize, uses: &mut Uses) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_string();
        if path.is_dir() {
            read(&path, Some(module.unwrap_or(&name)), depth + 1, uses);
            continue;
        }
        // A `mod.rs` is the folder's own module.
        let (depth, name) = match (name.as_str(), module) {
            ("mod", None) => continue,
            ("mod", Some(module)) => (depth - 1, module.to_string()),
            (_, module) => (depth, module.unwrap_or(&name).to_string()),
        };
        let targets = named(&fs::read_to_string(&path).unwrap());
        let targets = targets.iter().filter_map(|path| target(path, depth));
        let used = uses.entry(name.clone()).or_default();
        used.extend(targets.filter(|target| *target != name));
    }
}

/// All modules that one reaches.
fn reached<'a>(uses: &'a Uses, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = uses[from].iter().map(String::as_str).collect();
    while let Some(module) = next.pop() {
        if let Some((module, used)) = uses.get_key_value(module) {
            if reached.insert(module.as_str()) {
                next.extend(used.iter().map(String::as_str));
            }
        }
    }
    reached
}

/// The modules that are in a circle with one.
fn circle<'a>(uses: &'a Uses, of: &str) -> Vec<&'a str> {
    let there = reached(uses, of);
    let back = there.into_iter();
    back.filter(|module| reached(uses, module).contains(of))
        .collect()
}

#[test]
fn paths_of_a_tree() {
    let mut found = Vec::new();
    paths("super::{a,b::{self,c},d::E,}", "", &mut found);
    let expected = ["super::a", "super::b::self", "super::b::c", "super::d::E"];
    assert_eq!(found, expected);
}

#[test]
fn no_circle_of_more_than_two() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/kvm");
    let mut uses = Uses::new();
    read(&folder, None, 0, &mut uses);
    // The imports that were read have to make sense: some are known.
    assert!(uses["run"].contains("exit") && uses["registers"].contains("running"));
    for module in uses.keys() {
        let circle = circle(&uses, module);
        assert!(circle.len() <= 2, "these use each other: {circle:?}");
    }
}
