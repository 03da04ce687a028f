// SPDX-License-Identifier: GPL-2.0

//! The corpora as files: each has a property, and all of them together are small.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// All of them, in bytes.
const MOST_BYTES: u64 = 400_000;

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}")) {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn corpora() -> Vec<PathBuf> {
    let corpora = files(&here().join("corpus"));
    assert!(corpora.len() > 50, "only {} corpora", corpora.len());
    corpora
}

/// A property that is gone, or has another name, leaves no corpus behind.
#[test]
fn each_has_a_property() {
    let root = here().join("../..");
    let sources: Vec<String> = ["src/arch", "src/machine", "tests/decoder"]
        .iter()
        .flat_map(|folder| files(&root.join(folder)))
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .map(|file| fs::read_to_string(file).expect("a source"))
        .filter(|source| source.contains("inputs! {"))
        .collect();
    for corpus in corpora() {
        let name = corpus.file_stem().expect("a name").to_string_lossy();
        let function = format!("    fn {name}(");
        assert!(
            sources.iter().any(|source| source.contains(&function)),
            "{}: there is no such property",
            corpus.display()
        );
    }
}

#[test]
fn all_are_small() {
    let sizes = corpora().into_iter().map(|file| {
        let size = fs::metadata(&file).expect("a size").len();
        (size, file)
    });
    let mut sizes: Vec<_> = sizes.collect();
    sizes.sort();
    let all: u64 = sizes.iter().map(|(size, _)| size).sum();
    assert!(
        all <= MOST_BYTES,
        "{all} bytes, the largest is {:?}",
        sizes.last()
    );
}
