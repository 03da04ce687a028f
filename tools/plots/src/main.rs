// SPDX-License-Identifier: GPL-2.0

//! `plots [--check] KIND COSTS DIRECTORY`: draws the figures of a file of `make bench` as SVG pictures into the
//! directory. The kind of file is `costs`, `work`, `two-cpus` or, for a report of
//! `make guests`, `guests`. With `--check`, nothing is written; it fails if the pictures there are not those of the file.

mod charts;
mod draw;

use std::{fs, path::Path, process::ExitCode};

use serde_json::Value;

use charts::Kind;

/// The names and the contents of all pictures of a file.
fn pictures(kind: Kind, path: &str) -> Result<Vec<(String, String)>, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let file: Value = serde_json::from_str(&text).map_err(|e| format!("{path}: {e}"))?;
    let charts = charts::charts(kind, &file).map_err(|missing| {
        let lines: Vec<String> = missing.iter().map(|m| format!("\n    {m}")).collect();
        format!("{path} lacks what the plots show:{}", lines.concat())
    })?;
    charts
        .iter()
        .map(|chart| Ok((format!("{}.svg", chart.name), draw::svg(chart)?)))
        .collect()
}

/// The names of the pictures that are not, or not the same, in the directory.
fn stale(pictures: &[(String, String)], directory: &Path) -> Vec<String> {
    let differs = |(name, svg): &&(String, String)| {
        fs::read(directory.join(name)).map_or(true, |there| there != svg.as_bytes())
    };
    let names = pictures.iter().filter(differs);
    names.map(|(name, _)| name.clone()).collect()
}

fn run() -> Result<bool, String> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let check = arguments.first().is_some_and(|first| first == "--check");
    if check {
        arguments.remove(0);
    }
    let usage = || "usage: plots [--check] costs|work|two-cpus|guests FILE DIRECTORY".to_owned();
    let [kind, costs, directory] = arguments.as_slice() else {
        return Err(usage());
    };
    let pictures = pictures(Kind::parse(kind).ok_or_else(usage)?, costs)?;
    let directory = Path::new(directory);
    let stale = stale(&pictures, directory);
    for name in &stale {
        let path = directory.join(name);
        if check {
            println!("{} is not the plot of {costs}", path.display());
        } else {
            let (_, svg) = pictures
                .iter()
                .find(|(of, _)| of == name)
                .expect("a name of theirs");
            fs::write(&path, svg).map_err(|e| format!("{}: {e}", path.display()))?;
            println!("{}", path.display());
        }
    }
    Ok(!check || stale.is_empty())
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("plots: {e}");
            ExitCode::from(2)
        }
    }
}
