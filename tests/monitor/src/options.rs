// SPDX-License-Identifier: GPL-2.0

//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Context, Error, Result};
use crate::vm::Irqchip;

pub(crate) const USAGE: &str = "\
usage: monitor run --kernel ZIMAGE [--initrd FILE] [--cmdline TEXT] [--cpus N] [--mem MIB]
                   [--disk FILE]... [--irqchip device|legacy] [--move-every MS [--moves N]]
                   [--advise mergeable|hugepage|nohugepage]... [--hugetlb MIB]
                   [--slot-every MS --slot log|move] [--fifo PRIORITY]
       monitor payload --payload FILE [--cpus N] [--irqchip device|legacy] [--only NAME]...
                       [--skip NAME]... [--timer-interrupts N]
       monitor bench --payload FILE [--json FILE]

run      boots a Linux kernel; its serial console is the terminal (Ctrl-A x leaves).
         Exit status: 0 the guest powered off, 3 it asked for a restart, 1 an error.
         With --move-every, the running guest is saved each MS milliseconds and goes on in a
         new machine; N times, or until it ends. --advise is madvise() of the guest's memory.
         --hugetlb takes the last MIB of the memory from hugetlbfs. With --slot-every, each MS
         milliseconds the dirty log of the guest's memory is on for a quarter of the time, and
         then read and turned off, or its vCPUs pause while the memory moves elsewhere and back.
         --fifo gives the vCPUs' threads the policy SCHED_FIFO.
payload  runs the checks of a bare-metal payload; status 0 if all passed. --only and --skip go
         by how their names begin.
bench    measures what operations cost, in instructions under QEMU's -icount, or, on a host with
         several CPUs, what these do to each other. --json writes the costs to a file, too.";

/// The kernel's command line, unless the user gives another.
const DEFAULT_CMDLINE: &str = "console=ttyS0 earlycon";

/// The way in which the slot of the guest's memory changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotChange {
    /// Its dirty log is turned on, and read and turned off after a while.
    Log,
    /// The slot moves to other guest-physical addresses, and back.
    Move,
}

/// A Linux guest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RunOptions {
    pub kernel: PathBuf,
    pub initrd: Option<PathBuf>,
    pub cmdline: String,
    pub cpus: u32,
    pub mem: u64,
    pub disks: Vec<PathBuf>,
    pub irqchip: Irqchip,
    /// How long the guest stays in one machine before its state moves to another.
    pub move_every: Option<Duration>,
    /// How often it does so.
    pub moves: u32,
    /// Advice to the host about the guest's memory (`MADV_MERGEABLE`, …).
    pub advice: Vec<i32>,
    /// How many MiB at the end of the memory are huge pages of hugetlbfs.
    pub hugetlb: u64,
    /// The way in which the slot changes, and the time between changes.
    pub slot: Option<(Duration, SlotChange)>,
    /// The priority of the vCPUs' threads, if their policy is SCHED_FIFO.
    pub fifo: Option<i32>,
}

/// A bare-metal guest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PayloadOptions {
    pub payload: PathBuf,
    pub cpus: u32,
    pub irqchip: Irqchip,
    /// Which checks, by how their names begin.
    pub only: Vec<String>,
    pub skip: Vec<String>,
    /// How many interrupts of a timer are counted.
    pub timer_interrupts: u32,
    /// The file that gets costs as JSON.
    pub json: Option<PathBuf>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Run(RunOptions),
    Payload(PayloadOptions),
    Bench(PayloadOptions),
    Help,
}

/// The options of any command, before they are sorted out.
#[derive(Default)]
struct Values {
    kernel: Option<PathBuf>,
    initrd: Option<PathBuf>,
    cmdline: Option<String>,
    cpus: Option<u32>,
    mem: Option<u64>,
    disks: Vec<PathBuf>,
    payload: Option<PathBuf>,
    json: Option<PathBuf>,
    irqchip: Irqchip,
    move_every: Option<Duration>,
    moves: Option<u32>,
    advice: Vec<i32>,
    hugetlb: Option<u64>,
    slot_every: Option<Duration>,
    slot: Option<SlotChange>,
    fifo: Option<i32>,
    only: Vec<String>,
    skip: Vec<String>,
    timer_interrupts: Option<u32>,
}

fn number<T: std::str::FromStr<Err = std::num::ParseIntError>>(
    option: &str,
    text: &str,
) -> Result<T> {
    text.parse().context(format!("{option} {text}"))
}

fn values(allowed: &[&str], mut arguments: impl Iterator<Item = String>) -> Result<Values> {
    let mut values = Values::default();
    while let Some(argument) = arguments.next() {
        let (option, value) = match argument.split_once('=') {
            Some((option, value)) => (option.to_owned(), Some(value.to_owned())),
            None => (argument, None),
        };
        if !allowed.contains(&option.as_str()) {
            return Err(Error::new(format!("unknown option {option}\n{USAGE}")));
        }
        let value = value
            .or_else(|| arguments.next())
            .ok_or_else(|| Error::new(format!("{option} needs a value\n{USAGE}")))?;
        match option.as_str() {
            "--kernel" => values.kernel = Some(value.into()),
            "--initrd" => values.initrd = Some(value.into()),
            "--cmdline" => values.cmdline = Some(value),
            "--cpus" => values.cpus = Some(number(&option, &value)?),
            "--mem" => values.mem = Some(number(&option, &value)?),
            "--disk" => values.disks.push(value.into()),
            "--move-every" => {
                values.move_every = Some(Duration::from_millis(number(&option, &value)?));
            }
            "--moves" => values.moves = Some(number(&option, &value)?),
            "--advise" => values.advice.push(match value.as_str() {
                "mergeable" => libc::MADV_MERGEABLE,
                "hugepage" => libc::MADV_HUGEPAGE,
                "nohugepage" => libc::MADV_NOHUGEPAGE,
                _ => {
                    return Err(Error::new(
                        "--advise is `mergeable`, `hugepage` or `nohugepage`",
                    ))
                }
            }),
            "--hugetlb" => values.hugetlb = Some(number(&option, &value)?),
            "--slot-every" => {
                values.slot_every = Some(Duration::from_millis(number(&option, &value)?));
            }
            "--slot" => {
                values.slot = match value.as_str() {
                    "log" => Some(SlotChange::Log),
                    "move" => Some(SlotChange::Move),
                    _ => return Err(Error::new("--slot is `log` or `move`")),
                }
            }
            "--fifo" => values.fifo = Some(number(&option, &value)?),
            "--only" => values.only.push(value),
            "--skip" => values.skip.push(value),
            "--timer-interrupts" => values.timer_interrupts = Some(number(&option, &value)?),
            "--payload" => values.payload = Some(value.into()),
            "--json" => values.json = Some(value.into()),
            _ => {
                values.irqchip = match value.as_str() {
                    "device" => Irqchip::Device,
                    "legacy" => Irqchip::Legacy,
                    _ => return Err(Error::new("--irqchip is `device` or `legacy`")),
                }
            }
        }
    }
    Ok(values)
}

fn cpus(values: &Values) -> Result<u32> {
    match values.cpus.unwrap_or(1) {
        n @ 1..=8 => Ok(n),
        n => Err(Error::new(format!("--cpus {n}: a guest has 1 to 8 CPUs"))),
    }
}

/// The options of a payload, and `more` that are allowed.
fn payload(arguments: impl Iterator<Item = String>, more: &[&str]) -> Result<PayloadOptions> {
    let allowed = [
        "--payload",
        "--cpus",
        "--irqchip",
        "--only",
        "--skip",
        "--timer-interrupts",
    ];
    let values = values(&[&allowed, more].concat(), arguments)?;
    Ok(PayloadOptions {
        cpus: cpus(&values)?,
        irqchip: values.irqchip,
        only: values.only,
        skip: values.skip,
        timer_interrupts: values.timer_interrupts.unwrap_or(10_000),
        json: values.json,
        payload: values
            .payload
            .ok_or_else(|| Error::new(format!("--payload is missing\n{USAGE}")))?,
    })
}

/// Understands the command line, without the program's name.
pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Command> {
    match arguments.next().as_deref() {
        Some("run") => {
            let allowed = [
                "--kernel",
                "--initrd",
                "--cmdline",
                "--cpus",
                "--mem",
                "--disk",
                "--irqchip",
                "--move-every",
                "--moves",
                "--advise",
                "--hugetlb",
                "--slot-every",
                "--slot",
                "--fifo",
            ];
            let values = values(&allowed, arguments)?;
            if values.slot.is_some() != values.slot_every.is_some() {
                return Err(Error::new("--slot and --slot-every go together"));
            }
            if values.slot.is_some() && values.move_every.is_some() {
                return Err(Error::new("--slot and --move-every do not go together"));
            }
            if values.fifo.is_some() && (values.slot.is_some() || values.move_every.is_some()) {
                return Err(Error::new(
                    "--fifo goes with neither --slot nor --move-every",
                ));
            }
            Ok(Command::Run(RunOptions {
                cpus: cpus(&values)?,
                kernel: values
                    .kernel
                    .ok_or_else(|| Error::new(format!("--kernel is missing\n{USAGE}")))?,
                initrd: values.initrd,
                cmdline: values.cmdline.unwrap_or_else(|| DEFAULT_CMDLINE.into()),
                mem: values.mem.unwrap_or(256),
                disks: values.disks,
                irqchip: values.irqchip,
                move_every: values.move_every,
                moves: values.moves.unwrap_or(u32::MAX),
                advice: values.advice,
                hugetlb: values.hugetlb.unwrap_or(0),
                slot: values.slot_every.zip(values.slot),
                fifo: values.fifo,
            }))
        }
        Some("payload") => payload(arguments, &[]).map(Command::Payload),
        Some("bench") => payload(arguments, &["--json"]).map(Command::Bench),
        Some("help" | "--help" | "-h") => Ok(Command::Help),
        Some(other) => Err(Error::new(format!("unknown command {other}\n{USAGE}"))),
        None => Err(Error::new(USAGE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &str) -> Result<Command> {
        parse(words.split_whitespace().map(String::from))
    }

    #[test]
    fn a_linux_guest() {
        let command = parse_words("run --kernel z --cpus=4 --disk a --disk b --irqchip legacy");
        let Ok(Command::Run(options)) = command else {
            panic!("not a run");
        };
        assert_eq!((options.cpus, options.mem), (4, 256));
        assert_eq!(options.disks.len(), 2);
        assert_eq!(options.irqchip, Irqchip::Legacy);
        assert_eq!(options.cmdline, DEFAULT_CMDLINE);
        assert_eq!(options.advice, []);
        assert_eq!(options.hugetlb, 0);
    }

    #[test]
    fn advice_adds_up() {
        let command = parse_words("run --kernel z --advise hugepage --advise mergeable");
        let Ok(Command::Run(options)) = command else {
            panic!("not a run");
        };
        assert_eq!(options.advice, [libc::MADV_HUGEPAGE, libc::MADV_MERGEABLE]);
    }

    #[test]
    fn mistakes_are_named() {
        for (words, named) in [
            ("", "usage"),
            ("walk", "walk"),
            ("run", "--kernel"),
            ("run --kernel", "needs a value"),
            ("run --kernel z --cpus 9", "--cpus 9"),
            ("run --kernel z --mem lots", "--mem lots"),
            ("run --kernel z --advise less", "mergeable"),
            ("run --kernel z --hugetlb some", "--hugetlb some"),
            ("run --kernel z --slot log", "--slot-every"),
            ("run --kernel z --fifo 1 --move-every 1", "--move-every"),
            ("payload --disk x", "--disk"),
        ] {
            let message = parse_words(words).unwrap_err().to_string();
            assert!(message.contains(named), "{words}: {message}");
        }
    }
}
