// SPDX-License-Identifier: GPL-2.0

//! The vector that takes a guest's interrupts, as it is in `asm/interrupts.S`: from `guest_irq` on,
//! instruction by instruction.

use std::collections::HashMap;

/// The device and the memory that the vector reaches.
pub(crate) trait Bus {
    /// A load of a word.
    fn load(&mut self, address: u32) -> u32;
    /// A store of a word.
    fn store(&mut self, address: u32, value: u32);
    /// CNTV_CTL.
    fn cntv_ctl(&self) -> u32;
}

/// How the vector ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In the guest.
    Guest,
    /// With an exit, because of an interrupt.
    Exit,
}

/// One instruction, with its operands.
#[derive(Clone, Debug)]
struct Instruction {
    name: String,
    operands: Vec<String>,
}

/// The code of the vector.
#[derive(Clone, Debug)]
pub(crate) struct Vector {
    code: Vec<Instruction>,
    labels: HashMap<String, usize>,
}

/// The symbols that the vector uses, and their values here. `src/hyp/relay.rs` asserts the order of the
/// words from CTX_RELAY on, and the other values.
const SYMBOLS: [(&str, u32); 6] = [
    ("CTX_RELAY", CTX_RELAY),
    ("CTX_RELAYED", CTX_RELAYED),
    ("CNTV_CTL_MASK", 0b111),
    ("CNTV_CTL_FIRES", 0b101),
    ("GICH_LR_STATE", 0b11 << 28),
    ("EXIT_INTERRUPT", 0),
];

/// Where the relay is in the context.
pub(crate) const CTX_RELAY: u32 = 0x40;
/// Where the number of relays is.
pub(crate) const CTX_RELAYED: u32 = CTX_RELAY + 4 * 4;
/// The address of the context.
pub(crate) const CONTEXT: u32 = 0x1000;

impl Vector {
    /// The code as it is in the source, but without the instructions whose lines have `without` in them.
    pub(crate) fn new(without: Option<&str>) -> Self {
        let source = include_str!("../../../asm/interrupts.S");
        let from = source.find("\nguest_irq:").expect("there is a guest_irq");
        let to = source.find("\nguest_fiq:").expect("there is a guest_fiq");
        let (mut code, mut labels) = (Vec::new(), HashMap::new());
        let (mut in_comment, mut left_out) = (false, 0);
        for line in source[from..to].lines() {
            if in_comment || line.starts_with("/*") {
                in_comment = !line.ends_with("*/");
                continue;
            }
            if without.is_some_and(|without| line.contains(without)) {
                left_out += 1;
                continue;
            }
            let mut text = line.split('@').next().unwrap_or_default().trim();
            if let Some((label, rest)) = text.split_once(':') {
                labels.insert(label.to_owned(), code.len());
                text = rest.trim();
            }
            let (name, operands) = text.split_once('\t').unwrap_or((text, ""));
            if !name.is_empty() {
                code.push(Instruction {
                    name: name.to_owned(),
                    operands: split(operands),
                });
            }
        }
        assert_eq!(left_out == 0, without.is_none(), "no line has {without:?}");
        Self { code, labels }
    }

    /// Takes an interrupt.
    pub(crate) fn run(&self, bus: &mut impl Bus) -> End {
        let mut cpu = Cpu {
            r: [0; 16],
            zero: false,
        };
        cpu.r[13] = CONTEXT;
        let mut pc = self.labels["guest_irq"];
        for _ in 0..100 {
            let at = &self.code[pc];
            pc += 1;
            let name = at.name.as_str();
            let operand = |n: usize| at.operands[n].as_str();
            match name {
                "b" | "bne" => {
                    if name == "bne" && cpu.zero {
                        continue;
                    }
                    match operand(0) {
                        "guest_exit" => return End::Exit,
                        label => pc = self.labels[label],
                    }
                }
                "eret" => return End::Guest,
                // These order accesses to devices, which come in their order here.
                "dsb" => (),
                // The guest's registers.
                "stmia" => assert_eq!(at.operands, ["sp", "{r0 - r12}"]),
                "ldmia" if operand(0) == "sp" => assert_eq!(operand(1), "{r0 - r12}"),
                "ldmia" => {
                    let base = cpu.value(operand(0));
                    let (first, last) = operand(1)
                        .trim_matches(['{', '}'])
                        .split_once(" - ")
                        .expect("a range");
                    for (n, register) in (register(first)..=register(last)).enumerate() {
                        cpu.r[register] = bus.load(base + 4 * n as u32);
                    }
                }
                "mrc" => {
                    assert_eq!(at.operands[2..], ["r3", "c14", "c3", "1"], "CNTV_CTL");
                    cpu.r[3] = bus.cntv_ctl();
                }
                "mov" => cpu.r[register(operand(0))] = cpu.value(operand(1)),
                "and" => {
                    let value = cpu.value(operand(1)) & cpu.value(operand(2));
                    cpu.r[register(operand(0))] = value;
                }
                "add" => {
                    let value = cpu.value(operand(1)).wrapping_add(cpu.value(operand(2)));
                    cpu.r[register(operand(0))] = value;
                }
                "cmp" => cpu.zero = cpu.value(operand(0)) == cpu.value(operand(1)),
                "tst" => cpu.zero = cpu.value(operand(0)) & cpu.value(operand(1)) == 0,
                "ldr" => cpu.r[register(operand(0))] = bus.load(cpu.address(operand(1))),
                "str" => bus.store(cpu.address(operand(1)), cpu.value(operand(0))),
                _ => panic!("the vector has an instruction that is not known here: {at:?}"),
            }
        }
        panic!("the vector does not end");
    }
}

/// The registers.
struct Cpu {
    r: [u32; 16],
    zero: bool,
}

impl Cpu {
    /// A register, or a number.
    fn value(&self, operand: &str) -> u32 {
        match operand.strip_prefix('#') {
            Some(number) => sum(number),
            None => self.r[register(operand)],
        }
    }

    /// `[rN]` or `[rN, #offset]`.
    fn address(&self, operand: &str) -> u32 {
        let parts = split(operand.trim_matches(['[', ']']));
        parts.iter().map(|part| self.value(part)).sum()
    }
}

/// Operands, split at commas that are not within brackets.
fn split(operands: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in operands.chars() {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            _ => (),
        }
        if c == ',' && depth == 0 {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

/// A sum of numbers and symbols, or a symbol in parentheses.
fn sum(text: &str) -> u32 {
    let value = |term: &str| {
        let term = term.trim_matches(['(', ')', ' ']);
        let symbol = SYMBOLS.iter().find(|(name, _)| *name == term);
        symbol.map_or_else(|| term.parse().expect(term), |(_, value)| *value)
    };
    text.split('+').map(value).sum()
}

fn register(name: &str) -> usize {
    match name {
        "sp" => 13,
        _ => name
            .strip_prefix('r')
            .and_then(|n| n.parse().ok())
            .expect(name),
    }
}
