// SPDX-License-Identifier: GPL-2.0

//! The decoder of loads and stores against an independent disassembler.
//!
//! Each instruction that is decoded is written as an assembler would, and has to be what capstone
//! says. Each that is not decoded has to be none of these loads and stores for capstone, either, or
//! be UNPREDICTABLE, which a disassembler does not mind: [`unpredictable`] says why, from the text
//! alone.
//!
//! `DECODER_MILLIONS` says how many random instructions of each set are tried.

use armv7::insn::{decode, Address, Instruction, LoadStore, LoadStoreKind, Offset, Shift};
use decoder::{Disassembler, Random};
use inputs::prelude::*;

const REGISTERS: [&str; 16] = [
    "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "sb", "sl", "fp", "ip", "sp", "lr", "pc",
];

fn name(n: u8) -> &'static str {
    REGISTERS[usize::from(n)]
}

const CONDITIONS: [&str; 15] = [
    "eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le", "",
];

fn list(list: u16) -> String {
    let names: Vec<&str> = (0..16u8)
        .filter(|n| (list >> n) & 1 != 0)
        .map(name)
        .collect();
    format!("{{{}}}", names.join(", "))
}

fn address(address: &Address) -> String {
    let base = name(address.rn);
    let sign = if address.add { "" } else { "-" };
    let offset = match address.offset {
        Offset::Immediate(value) => format!("#{sign}{value}"),
        Offset::Register { rm, shift } => {
            let shift = match shift {
                Shift::Lsl(0) => String::new(),
                Shift::Lsl(n) => format!(", lsl #{n}"),
                Shift::Lsr(n) => format!(", lsr #{n}"),
                Shift::Asr(n) => format!(", asr #{n}"),
                Shift::Ror(n) => format!(", ror #{n}"),
                Shift::Rrx => ", rrx".into(),
            };
            format!("{sign}{}{shift}", name(rm))
        }
    };
    let is_zero = offset == "#0";
    match (address.index, address.writeback) {
        (true, false) if is_zero => format!("[{base}]"),
        (true, false) => format!("[{base}, {offset}]"),
        (true, true) => format!("[{base}, {offset}]!"),
        (false, _) => format!("[{base}], {offset}"),
    }
}

/// The instruction as an assembler has it, without aliases.
fn text(insn: &LoadStore) -> String {
    let cond = insn
        .cond
        .map_or("", |cond| CONDITIONS[cond.bits() as usize]);
    let at = address(&insn.address);
    let base = format!("[{}]", name(insn.address.rn));
    let verb = |load: bool| if load { "ldr" } else { "str" };
    match insn.kind {
        LoadStoreKind::Single {
            rt,
            bytes,
            signed,
            load,
            unprivileged,
        } => {
            let size = match (bytes, signed) {
                (1, false) => "b",
                (1, true) => "sb",
                (2, false) => "h",
                (2, true) => "sh",
                _ => "",
            };
            let t = if unprivileged { "t" } else { "" };
            format!("{}{size}{t}{cond} {}, {at}", verb(load), name(rt))
        }
        LoadStoreKind::Dual { rt, rt2, load } => {
            format!("{}d{cond} {}, {}, {at}", verb(load), name(rt), name(rt2))
        }
        LoadStoreKind::Multiple { list: all, load } => {
            let mode = match (insn.address.add, insn.address.index) {
                (true, false) => "",
                (true, true) => "ib",
                (false, true) => "db",
                (false, false) => "da",
            };
            let verb = if load { "ldm" } else { "stm" };
            let mark = if insn.address.writeback { "!" } else { "" };
            format!(
                "{verb}{mode}{cond} {}{mark}, {}",
                name(insn.address.rn),
                list(all)
            )
        }
        LoadStoreKind::LoadExclusive { rt, rt2, bytes } => {
            let second = rt2.map_or(String::new(), |rt2| format!(", {}", name(rt2)));
            format!("ldrex{}{cond} {}{second}, {at}", exclusive(bytes), name(rt))
        }
        LoadStoreKind::StoreExclusive { rd, rt, rt2, bytes } => {
            let second = rt2.map_or(String::new(), |rt2| format!(", {}", name(rt2)));
            format!(
                "strex{}{cond} {}, {}{second}, {at}",
                exclusive(bytes),
                name(rd),
                name(rt)
            )
        }
        LoadStoreKind::TableBranch { bytes } => {
            format!("tb{} {at}", if bytes == 1 { "b" } else { "h" })
        }
        LoadStoreKind::Swap { rt, rt2, bytes } => {
            let b = if bytes == 1 { "b" } else { "" };
            format!("swp{b}{cond} {}, {}, {base}", name(rt), name(rt2))
        }
    }
}

fn exclusive(bytes: u8) -> &'static str {
    match bytes {
        1 => "b",
        2 => "h",
        4 => "",
        _ => "d",
    }
}

/// Numbers in decimal.
fn decimal(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("0x") {
        let (before, hex) = rest.split_at(at);
        let digits = &hex[2..];
        let end = digits
            .find(|c: char| !c.is_ascii_hexdigit())
            .unwrap_or(digits.len());
        out.push_str(before);
        out.push_str(&u64::from_str_radix(&digits[..end], 16).unwrap().to_string());
        rest = &digits[end..];
    }
    out.push_str(rest);
    out
}

/// The text of capstone, without aliases and encodings' suffixes; nothing if it knows no such
/// instruction.
fn capstone_text(disassembler: &Disassembler, instruction: Instruction) -> Option<String> {
    let (mnemonic, operands) = disassembler.read(instruction)?;
    let mnemonic = mnemonic.replace(".w", "");
    let mut operands = decimal(&operands);
    if let Some(plain) = operands.strip_suffix(", #0]") {
        operands = format!("{plain}]");
    }
    for (alias, verb, mode) in [("push", "stm", "db"), ("pop", "ldm", "")] {
        if let Some(cond) = mnemonic.strip_prefix(alias) {
            return Some(format!("{verb}{mode}{cond} sp!, {operands}"));
        }
    }
    Some(format!("{mnemonic} {operands}"))
}

/// Whether capstone's text is one of the loads and stores that are decoded.
fn is_meant(text: &str) -> bool {
    let mnemonic = text.split(' ').next().unwrap_or("");
    ["ldr", "str", "ldm", "stm", "swp", "tbb", "tbh"]
        .iter()
        .any(|verb| mnemonic.starts_with(verb))
}

/// One register pushed or popped has two encodings with the same meaning.
fn same(ours: &str, theirs: &str) -> bool {
    if ours == theirs {
        return true;
    }
    let single = |text: &str| -> Option<String> {
        let (verb, rest) = text.split_once(" sp!, {")?;
        let register = rest.strip_suffix('}')?;
        if register.contains(',') {
            return None;
        }
        if let Some(cond) = verb.strip_prefix("stmdb") {
            return Some(format!("str{cond} {register}, [sp, #-4]!"));
        }
        let cond = verb.strip_prefix("ldm")?;
        Some(format!("ldr{cond} {register}, [sp], #4"))
    };
    let push_or_pop = single(theirs);
    push_or_pop.as_deref() == Some(ours)
        || single(ours).as_deref() == Some(theirs)
        // Capstone takes a subtraction for an addition there.
        || push_or_pop.is_some_and(|text| text.replace("], #4", "], #-4") == ours)
}

/// Why an instruction that capstone names is not to be emulated; nothing if it should have been
/// decoded.
fn unpredictable(text: &str, instruction: Instruction) -> Option<&'static str> {
    let (mnemonic, operands) = text.split_once(' ')?;
    if operands.contains('^') {
        return Some("registers of user mode, or a return from an exception");
    }
    let thumb = !matches!(instruction, Instruction::Arm(_));
    let is_list = mnemonic.starts_with("ldm") || mnemonic.starts_with("stm");
    if is_list {
        let (base, list) = operands.split_once(", {")?;
        let list: Vec<&str> = list.trim_end_matches('}').split(", ").collect();
        let writeback = base.ends_with('!');
        let base = base.trim_end_matches('!');
        let load = mnemonic.starts_with("ldm");
        if base == "pc" {
            return Some("the PC as the base of a list");
        }
        if writeback && list.contains(&base) && (load || thumb) {
            return Some("the base is in the list and written back");
        }
        if thumb && (list.len() < 2 || list.contains(&"sp")) {
            return Some("lists of Thumb have two registers, and SP is none of them");
        }
        if thumb && list.contains(&"pc") && (!load || list.contains(&"lr")) {
            return Some("the PC in a list of Thumb");
        }
        return None;
    }
    let (registers, memory) = operands.split_once('[')?;
    let registers: Vec<&str> = registers
        .split(", ")
        .map(str::trim)
        .filter(|register| !register.is_empty())
        .collect();
    let inside: Vec<&str> = memory
        .split([']', ','])
        .map(|part| part.trim().trim_start_matches('-'))
        .collect();
    let base = inside.first().copied().unwrap_or("");
    let writeback = memory.contains('!') || memory.contains("],");
    let index = inside
        .iter()
        .skip(1)
        .copied()
        .find(|part| REGISTERS.contains(part));
    if writeback && (base == "pc" || registers.contains(&base)) {
        return Some("a base that is the PC, or is transferred, and written back");
    }
    if index == Some("pc") || (thumb && index == Some("sp")) {
        return Some("such an index");
    }
    if mnemonic.starts_with("tb") {
        let fields = matches!(instruction, Instruction::Thumb32(word) if word & 0xff00 != 0xf000);
        return (base == "sp" || fields)
            .then_some("SP as the base, or bits that should be one or zero");
    }
    let is_exclusive = mnemonic.starts_with("ldrex") || mnemonic.starts_with("strex");
    let is_dual = mnemonic.starts_with("ldrd") || mnemonic.starts_with("strd");
    if is_exclusive || mnemonic.starts_with("swp") {
        let (first, rest) = registers.split_first()?;
        if base == "pc" || registers.contains(&"pc") || (thumb && registers.contains(&"sp")) {
            return Some("the PC, or in Thumb SP, in an exclusive access");
        }
        if !mnemonic.starts_with("ldrex") && (base == *first || rest.contains(first)) {
            return Some("the status is where the base or the data is");
        }
        if mnemonic.starts_with("swp") && rest.contains(&base) {
            return Some("a swap of its base");
        }
        if mnemonic.starts_with("ldrexd") && registers.first() == registers.get(1) {
            return Some("two words for one register");
        }
        if !thumb && mnemonic.contains("exd") {
            return Some("two words need an even register and the next");
        }
        if let Instruction::Arm(word) = instruction {
            if mnemonic.starts_with("swp") && word & 0xf00 != 0
                || is_exclusive && word & 0xf00 != 0xf00
                || mnemonic.starts_with("ldrex") && word & 0xf != 0xf
            {
                return Some("bits that should be one or zero");
            }
        }
        if let Instruction::Thumb32(word) = instruction {
            let fields = if mnemonic.starts_with("ldrexb") || mnemonic.starts_with("ldrexh") {
                word & 0xf0f != 0xf0f
            } else if mnemonic.starts_with("strexb") || mnemonic.starts_with("strexh") {
                word & 0xf00 != 0xf00
            } else if mnemonic.starts_with("ldrexd") {
                word & 0xf != 0xf
            } else {
                mnemonic.starts_with("ldrex") && word & 0xf00 != 0xf00
            };
            if fields {
                return Some("bits that should be one");
            }
        }
        return None;
    }
    if is_dual {
        let (rt, rt2) = (registers.first()?, registers.get(1)?);
        if thumb {
            if [rt, rt2]
                .iter()
                .any(|register| ["sp", "pc"].contains(*register))
            {
                return Some("SP or the PC as one of two");
            }
            if mnemonic.starts_with("ldr") && rt == rt2 {
                return Some("two words for one register");
            }
            if base == "pc" && !mnemonic.starts_with("ldr") {
                return Some("a store relative to the PC");
            }
            return None;
        }
        if let Instruction::Arm(word) = instruction {
            let n = (word >> 12) & 0xf;
            if n & 1 != 0 || n == 14 {
                return Some("two words need an even register and the next");
            }
            if word & (1 << 24) == 0 && word & (1 << 21) != 0 {
                return Some("two words as user mode would");
            }
            if word & (1 << 22) == 0 && word & 0xf00 != 0 {
                return Some("bits that should be zero");
            }
            if mnemonic.starts_with("ldr") && index.is_some_and(|index| registers.contains(&index))
            {
                return Some("the index is loaded");
            }
        }
        return None;
    }
    let narrow = !["ldr", "str"].contains(&mnemonic.get(..3)?)
        || mnemonic[3..].starts_with(['b', 'h', 's'])
        || mnemonic[3..].starts_with('t');
    if registers.contains(&"pc") && (narrow || thumb) {
        return Some("the PC is stored, or a part of it is loaded");
    }
    if thumb && registers.contains(&"sp") && narrow {
        return Some("SP as a part of a word");
    }
    if thumb && base == "pc" && mnemonic.starts_with("str") {
        return Some("a store relative to the PC");
    }
    if let Instruction::Arm(word) = instruction {
        let is_extra = (word >> 25) & 7 == 0;
        if is_extra && word & (1 << 22) == 0 && word & 0xf00 != 0 {
            return Some("bits that should be zero");
        }
        if is_extra && registers.contains(&"pc") {
            return Some("the PC is stored, or a part of it is loaded");
        }
    }
    None
}

struct Checker {
    disassembler: Disassembler,
    decoded: u64,
    refused: u64,
}

impl Checker {
    fn new() -> Self {
        Self {
            disassembler: Disassembler::new(),
            decoded: 0,
            refused: 0,
        }
    }

    fn check(&mut self, instruction: Instruction) {
        let theirs = capstone_text(&self.disassembler, instruction);
        match decode(instruction) {
            Ok(insn) => {
                self.decoded += 1;
                let ours = text(&insn);
                let Some(theirs) = theirs else {
                    panic!("{instruction:x?}: {ours}, which capstone does not know");
                };
                assert!(
                    same(&ours, &theirs),
                    "{instruction:x?}: {ours}, for capstone {theirs}"
                );
            }
            Err(_) => {
                let Some(theirs) = theirs.filter(|text| is_meant(text)) else {
                    return;
                };
                self.refused += 1;
                assert!(
                    unpredictable(&theirs, instruction).is_some(),
                    "{instruction:x?}: not decoded, for capstone {theirs}"
                );
            }
        }
    }
}

fn millions() -> u64 {
    let text = std::env::var("DECODER_MILLIONS").unwrap_or_else(|_| "10".into());
    text.parse::<u64>().expect("DECODER_MILLIONS") * 1_000_000
}

#[test]
fn thumb_16_all() {
    let mut checker = Checker::new();
    for half in 0..=u16::MAX {
        if !Instruction::is_wide(half) {
            checker.check(Instruction::Thumb16(half));
        }
    }
    // All forms of 5.2: a third of the space.
    assert!(checker.decoded > 15_000, "{} decoded", checker.decoded);
}

#[test]
fn arm_random() {
    let mut checker = Checker::new();
    let mut random = Random(0x0123_4567_89ab_cdef);
    for _ in 0..millions() {
        checker.check(Instruction::Arm(random.word()));
    }
    assert!(checker.decoded > millions() / 5, "{}", checker.decoded);
}

#[test]
fn thumb_32_random() {
    let mut checker = Checker::new();
    let mut random = Random(0xfedc_ba98_7654_3210);
    for _ in 0..millions() {
        // Instructions with the bits of loads and stores.
        let word = random.word();
        let top = if word & 1 == 0 {
            0b111_0100
        } else {
            0b111_1100
        };
        let word = (random.word() & 0x01ff_ffff) | (top << 25);
        checker.check(Instruction::Thumb32(word));
    }
    assert!(checker.decoded > millions() / 10, "{}", checker.decoded);
}

/// Every combination of the bits that choose a form, with registers and offsets at their ends.
#[test]
fn structured() {
    let mut checker = Checker::new();
    let registers = [0u32, 1, 4, 13, 14, 15];
    let lows = [
        0u32, 1, 0x10, 0xff, 0x104, 0xf9f, 0xf91, 0x0b1, 0x9fd, 0xa01, 0xb7f, 0xfff,
    ];
    for form in 0..0x100u32 {
        for rn in registers {
            for rt in registers {
                for low in lows {
                    let rest = (rn << 16) | (rt << 12) | low;
                    for cond in [0u32, 14, 15] {
                        checker.check(Instruction::Arm((cond << 28) | (form << 20) | rest));
                    }
                    for top in [0b1110_1000u32, 0b1110_1001, 0b1111_1000, 0b1111_1001] {
                        let word = (top << 24) | ((form & 0xf) << 20) | rest;
                        checker.check(Instruction::Thumb32(word));
                    }
                }
            }
        }
    }
    assert!(checker.decoded > 50_000, "{} decoded", checker.decoded);
}

inputs! {
    fn any_arm_instruction(words in prop::collection::vec(any::<u32>(), 1..16)) {
        let mut checker = Checker::new();
        for word in words {
            checker.check(Instruction::Arm(word));
        }
    }

    fn any_thumb_instruction(halves in prop::collection::vec(any::<[u16; 2]>(), 1..16)) {
        let mut checker = Checker::new();
        for [first, second] in halves {
            checker.check(if Instruction::is_wide(first) {
                Instruction::Thumb32((u32::from(first) << 16) | u32::from(second))
            } else {
                Instruction::Thumb16(first)
            });
        }
    }
}
