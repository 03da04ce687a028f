// SPDX-License-Identifier: GPL-2.0

//! The program's options.

use crate::layout::THREADS;

const USAGE: &str =
    "usage: fuzz ioctls|guests --seed NUMBER [--calls NUMBER] [--seconds NUMBER] [--threads NUMBER] [--steps NUMBER] [--round NUMBER]";

/// The options of a run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Random guests, not random calls.
    pub(crate) guests: bool,
    pub(crate) seed: u64,
    /// The end comes after so many calls, or so many seconds.
    pub(crate) calls: u32,
    pub(crate) seconds: u64,
    pub(crate) threads: usize,
    /// The steps of each thread in a round.
    pub(crate) steps: u32,
    /// The only round to play.
    pub(crate) round: Option<u32>,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            guests: false,
            seed: 1,
            calls: u32::MAX,
            seconds: u64::MAX,
            threads: 4,
            steps: 1200,
            round: None,
        };
        let [what, rest @ ..] = arguments else {
            return Err(USAGE.into());
        };
        options.guests = match what.as_str() {
            "ioctls" => false,
            "guests" => true,
            _ => return Err(USAGE.into()),
        };
        if rest.len() % 2 != 0 {
            return Err(USAGE.into());
        }
        for pair in rest.chunks_exact(2) {
            let number: u64 = pair[1].parse().map_err(|_| USAGE.to_owned())?;
            let word = || u32::try_from(number).map_err(|_| USAGE.to_owned());
            match pair[0].as_str() {
                "--seed" => options.seed = number,
                "--calls" => options.calls = word()?,
                "--seconds" => options.seconds = number,
                "--threads" => options.threads = (number as usize).clamp(1, THREADS),
                "--steps" => options.steps = word()?,
                "--round" => options.round = Some(word()?),
                _ => return Err(USAGE.into()),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, String> {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        Options::parse(&words)
    }

    #[test]
    fn options() {
        let options = parse("ioctls --seed 18446744073709551615 --round 3").unwrap();
        assert_eq!((options.seed, options.round), (u64::MAX, Some(3)));
        assert_eq!(parse("ioctls --threads 100").unwrap().threads, THREADS);
        for wrong in [
            "",
            "ioctls --seed",
            "ioctls --seed x",
            "ioctls --calls -1",
            "hosts",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
