// SPDX-License-Identifier: GPL-2.0

//! The files of the corpora: an input is a line of hexadecimal digits. An empty line is the empty
//! input, and `#` begins a comment.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Where the corpora are.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The file of a property in a module: modules are folders, but for those that are called tests.
pub(crate) fn file_of(module: &str, name: &str) -> PathBuf {
    let mut file = folder();
    file.extend(module.split("::").filter(|part| *part != "tests"));
    file.push(format!("{name}.hex"));
    file
}

fn parse(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !text.is_ascii() || digits.len() % 2 != 0 {
        return None;
    }
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(pair).collect()
}

/// The inputs, and the lines in which they are.
pub(crate) fn read(file: &Path) -> Result<Vec<(usize, Vec<u8>)>, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut inputs = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        if text.starts_with('#') {
            continue;
        }
        let input = parse(text)
            .ok_or_else(|| format!("{}:{line}: no bytes in hexadecimal", file.display()))?;
        inputs.push((line, input));
    }
    Ok(inputs)
}

/// Writes the inputs, the short ones first, so that the same ones give the same file.
#[cfg(feature = "guided")]
pub(crate) fn write(file: &Path, mut inputs: Vec<Vec<u8>>) -> std::io::Result<()> {
    use std::fmt::Write;

    inputs.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    inputs.dedup();
    let mut text = String::new();
    for input in inputs {
        for byte in input {
            write!(text, "{byte:02x}").expect("a string takes all");
        }
        text.push('\n');
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, text)
}
