// SPDX-License-Identifier: GPL-2.0

//! Loads and stores of all forms, on a device.
//!
//! The machine itself is the judge: each instruction is executed twice with the same registers,
//! once on memory and once where there is none, so that this program answers for a device with the
//! same contents. Registers and contents have to be the same after.

use kvm::uapi;

use crate::check::{ensure, equal, Outcome, Test, Works};
use crate::guest::{code, slot, Guest, Memory, BASE, HOLE, PAGE};

pub(crate) const TESTS: &[Test] = &[
    ("MMIO forms: Arm", || forms(&arm_programs())),
    ("MMIO forms: Thumb", || forms(&thumb_programs())),
    ("MMIO forms: big endian", big_endian),
    ("MMIO forms: exclusive ones", exclusive),
    ("MMIO forms: loads of the PC", loads_of_pc),
    ("MMIO forms: table branches", table_branches),
    ("MMIO forms: across pages of the device", across_pages),
    (
        "MMIO forms: an instruction across pages",
        instruction_across_pages,
    ),
    ("MMIO forms: half in memory", half_in_memory),
    ("MMIO forms: unaligned ones fault", unaligned),
    ("MMIO forms: not emulated, to user space", to_user_space),
    ("MMIO forms: not emulated, an abort", abort),
    ("MMIO forms: an abort in the middle", abort_in_the_middle),
];

/// Where the same contents are in memory.
const RAM: u32 = 0x9000_0000;
/// A store here says that the guest is done.
const DONE: u32 = 0x1800_0000;
/// Contents of memory and device.
const WINDOW: usize = 2 * PAGE;
/// Where R0 and SP point to in the window.
const R0_AT: u32 = 0x800;
const SP_AT: u32 = 0x900;

const ARM: &[(&str, &[u32])] = &[
    ("ldr r1, [r0]", &[0xe590_1000]),
    ("ldr r1, [r0, #4]!", &[0xe5b0_1004]),
    ("ldr r1, [r0, #-8]!", &[0xe530_1008]),
    ("ldr r1, [r0], #4", &[0xe490_1004]),
    ("ldr r1, [r0], #-4", &[0xe410_1004]),
    ("ldr r1, [r0, r2]!", &[0xe7b0_1002]),
    ("ldr r1, [r0], r2", &[0xe690_1002]),
    ("ldr r1, [r0, r2, lsl #2]!", &[0xe7b0_1102]),
    ("ldr r1, [r0], r2, lsl #1", &[0xe690_1082]),
    ("str r1, [r0, #4]!", &[0xe5a0_1004]),
    ("str r1, [r0], #12", &[0xe480_100c]),
    ("str r1, [r0, r2]!", &[0xe7a0_1002]),
    ("str r1, [r0], -r2", &[0xe600_1002]),
    ("ldrb r1, [r0], #1", &[0xe4d0_1001]),
    ("ldrb r1, [r0, #3]!", &[0xe5f0_1003]),
    ("strb r1, [r0], #1", &[0xe4c0_1001]),
    ("strb r1, [r0, #-3]!", &[0xe560_1003]),
    ("ldrh r1, [r0], #2", &[0xe0d0_10b2]),
    ("ldrh r1, [r0, #6]!", &[0xe1f0_10b6]),
    ("strh r1, [r0], #2", &[0xe0c0_10b2]),
    ("strh r1, [r0, #-6]!", &[0xe160_10b6]),
    ("ldrsb r1, [r0], #1", &[0xe0d0_10d1]),
    ("ldrsb r1, [r0, #5]!", &[0xe1f0_10d5]),
    ("ldrsh r1, [r0], #2", &[0xe0d0_10f2]),
    ("ldrsh r1, [r0, #6]!", &[0xe1f0_10f6]),
    ("ldrd r4, r5, [r0]", &[0xe1c0_40d0]),
    ("ldrd r4, r5, [r0, #4]", &[0xe1c0_40d4]),
    ("ldrd r4, r5, [r0, #8]!", &[0xe1e0_40d8]),
    ("ldrd r4, r5, [r0], #8", &[0xe0c0_40d8]),
    ("strd r4, r5, [r0]", &[0xe1c0_40f0]),
    ("strd r4, r5, [r0, #4]", &[0xe1c0_40f4]),
    ("strd r4, r5, [r0, #-8]!", &[0xe160_40f8]),
    ("strd r4, r5, [r0], #16", &[0xe0c0_41f0]),
    ("ldmia r0, {r1, r3, r5}", &[0xe890_002a]),
    ("ldmia r0!, {r1, r3, r5}", &[0xe8b0_002a]),
    ("ldmdb r0, {r4-r11}", &[0xe910_0ff0]),
    ("ldmdb r0!, {r4-r11}", &[0xe930_0ff0]),
    ("ldmia r0, {r0, r1}", &[0xe890_0003]),
    ("stmia r0, {r1, r3, r5}", &[0xe880_002a]),
    ("stmia r0!, {r1, r3, r5, r14}", &[0xe8a0_402a]),
    ("stmdb r0, {r4-r11}", &[0xe900_0ff0]),
    ("stmdb r0!, {r1, r2}", &[0xe920_0006]),
    ("push {r1, r4, r14}", &[0xe92d_4012]),
    ("pop {r1, r4, r14}", &[0xe8bd_4012]),
    ("push {r5}", &[0xe52d_5004]),
    ("pop {r5}", &[0xe49d_5004]),
    ("ldrex r1, [r0]", &[0xe190_1f9f]),
    ("ldrexb r1, [r0]", &[0xe1d0_1f9f]),
    ("ldrexh r1, [r0]", &[0xe1f0_1f9f]),
    ("ldrexd r4, r5, [r0]", &[0xe1b0_4f9f]),
    ("ldrt r1, [r0]", &[0xe4b0_1000]),
    ("strt r1, [r0]", &[0xe4a0_1000]),
    ("ldrbt r1, [r0]", &[0xe4f0_1000]),
    ("strbt r1, [r0]", &[0xe4e0_1000]),
    ("ldrht r1, [r0]", &[0xe0f0_10b0]),
    ("strht r1, [r0]", &[0xe0e0_10b0]),
    ("ldrsbt r1, [r0]", &[0xe0f0_10d0]),
    ("ldrsht r1, [r0]", &[0xe0f0_10f0]),
    ("ldmib r0, {r1, r3}", &[0xe990_000a]),
    ("ldmib r0!, {r1, r3}", &[0xe9b0_000a]),
    ("ldmda r0, {r1, r3}", &[0xe810_000a]),
    ("ldmda r0!, {r1, r3, r4}", &[0xe830_001a]),
    ("stmib r0!, {r1, r3, r4}", &[0xe9a0_001a]),
    ("stmda r0!, {r1, r3, r4}", &[0xe820_001a]),
    ("stmda r0, {r1}", &[0xe800_0002]),
    ("ldrh r1, [r0, r2]!", &[0xe1b0_10b2]),
    ("ldrh r1, [r0], -r2", &[0xe010_10b2]),
    ("strh r1, [r0], r2", &[0xe080_10b2]),
    ("ldrd r4, r5, [r0, r2]!", &[0xe1a0_40d2]),
    ("strd r4, r5, [r0], r2", &[0xe080_40f2]),
    ("ldr r1, [r0, -r2, asr #1]!", &[0xe730_10c2]),
    ("ldr r1, [r0, r2, ror #4]", &[0xe790_1262]),
    ("swp r1, r3, [r0]", &[0xe100_1093]),
    ("swpb r1, r3, [r0]", &[0xe140_1093]),
    ("ldrt r1, [r0], #4", &[0xe4b0_1004]),
    ("strt r1, [r0], #-4", &[0xe420_1004]),
    ("ldreq r1, [r0], #4", &[0x0490_1004]),
    ("ldrne r1, [r0], #4", &[0x1490_1004]),
    ("stmneia r0!, {r1, r3}", &[0x18a0_000a]),
];

const THUMB: &[(&str, &[u16])] = &[
    ("ldr r1, [r0]", &[0x6801]),
    ("ldr r1, [r0, #4]!", &[0xf850, 0x1f04]),
    ("ldr r1, [r0, #-8]!", &[0xf850, 0x1d08]),
    ("ldr r1, [r0], #4", &[0xf850, 0x1b04]),
    ("ldr r1, [r0], #-4", &[0xf850, 0x1904]),
    ("str r1, [r0, #4]!", &[0xf840, 0x1f04]),
    ("str r1, [r0], #12", &[0xf840, 0x1b0c]),
    ("ldrb r1, [r0], #1", &[0xf810, 0x1b01]),
    ("ldrb r1, [r0, #3]!", &[0xf810, 0x1f03]),
    ("strb r1, [r0], #1", &[0xf800, 0x1b01]),
    ("strb r1, [r0, #-3]!", &[0xf800, 0x1d03]),
    ("ldrh r1, [r0], #2", &[0xf830, 0x1b02]),
    ("ldrh r1, [r0, #6]!", &[0xf830, 0x1f06]),
    ("strh r1, [r0], #2", &[0xf820, 0x1b02]),
    ("strh r1, [r0, #-6]!", &[0xf820, 0x1d06]),
    ("ldrsb r1, [r0], #1", &[0xf910, 0x1b01]),
    ("ldrsb r1, [r0, #5]!", &[0xf910, 0x1f05]),
    ("ldrsh r1, [r0], #2", &[0xf930, 0x1b02]),
    ("ldrsh r1, [r0, #6]!", &[0xf930, 0x1f06]),
    ("ldrd r4, r5, [r0]", &[0xe9d0, 0x4500]),
    ("ldrd r4, r5, [r0, #4]", &[0xe9d0, 0x4501]),
    ("ldrd r4, r5, [r0, #8]!", &[0xe9f0, 0x4502]),
    ("ldrd r4, r5, [r0], #8", &[0xe8f0, 0x4502]),
    ("strd r4, r5, [r0]", &[0xe9c0, 0x4500]),
    ("strd r4, r5, [r0, #4]", &[0xe9c0, 0x4501]),
    ("strd r4, r5, [r0, #-8]!", &[0xe960, 0x4502]),
    ("strd r4, r5, [r0], #16", &[0xe8e0, 0x4504]),
    ("ldmia r0, {r1, r3, r5}", &[0xe890, 0x002a]),
    ("ldmia r0!, {r1, r3, r5}", &[0xc82a]),
    ("ldmdb r0, {r4-r11}", &[0xe910, 0x0ff0]),
    ("ldmdb r0!, {r4-r11}", &[0xe930, 0x0ff0]),
    ("ldmia r0, {r0, r1}", &[0xc803]),
    ("stmia r0, {r1, r3, r5}", &[0xe880, 0x002a]),
    ("stmia r0!, {r1, r3, r5, r14}", &[0xe8a0, 0x402a]),
    ("stmdb r0, {r4-r11}", &[0xe900, 0x0ff0]),
    ("stmdb r0!, {r1, r2}", &[0xe920, 0x0006]),
    ("push {r1, r4, r14}", &[0xb512]),
    ("pop {r1, r4, r14}", &[0xe8bd, 0x4012]),
    ("push {r5}", &[0xb420]),
    ("pop {r5}", &[0xbc20]),
    ("ldrex r1, [r0]", &[0xe850, 0x1f00]),
    ("ldrexb r1, [r0]", &[0xe8d0, 0x1f4f]),
    ("ldrexh r1, [r0]", &[0xe8d0, 0x1f5f]),
    ("ldrexd r4, r5, [r0]", &[0xe8d0, 0x457f]),
    ("ldrt r1, [r0]", &[0xf850, 0x1e00]),
    ("strt r1, [r0]", &[0xf840, 0x1e00]),
    ("ldrbt r1, [r0]", &[0xf810, 0x1e00]),
    ("strbt r1, [r0]", &[0xf800, 0x1e00]),
    ("ldrht r1, [r0]", &[0xf830, 0x1e00]),
    ("strht r1, [r0]", &[0xf820, 0x1e00]),
    ("ldrsbt r1, [r0]", &[0xf910, 0x1e00]),
    ("ldrsht r1, [r0]", &[0xf930, 0x1e00]),
    (
        "ite eq; ldreq r1, [r0], #4; ldrne r3, [r0], #8",
        &[0xbf0c, 0xf850, 0x1b04, 0xf850, 0x3b08],
    ),
    (
        "itt ne; ldrne r1, [r0], #4; ldrne r3, [r0], #8",
        &[0xbf1c, 0xf850, 0x1b04, 0xf850, 0x3b08],
    ),
];

/// A program, and whether it is Thumb code.
struct Program {
    name: String,
    words: Vec<u32>,
    thumb: bool,
}

fn arm_programs() -> Vec<Program> {
    let program = |(name, code): &(&str, &[u32])| Program {
        name: (*name).into(),
        // str r12, [r12]
        words: [*code, &[0xe58c_c000, code::LOOP]].concat(),
        thumb: false,
    };
    ARM.iter().map(program).collect()
}

fn thumb_words(code: &[u16]) -> Vec<u32> {
    // str.w r12, [r12]; b .
    let halves = [code, &[0xf8cc, 0xc000, 0xe7fe, 0xe7fe]].concat();
    halves
        .chunks(2)
        .map(|pair| u32::from(pair[0]) | (u32::from(*pair.get(1).unwrap_or(&0xbf00)) << 16))
        .collect()
}

fn thumb_programs() -> Vec<Program> {
    let program = |(name, code): &(&str, &[u16])| Program {
        name: format!("{name} (Thumb)"),
        words: thumb_words(code),
        thumb: true,
    };
    THUMB.iter().map(program).collect()
}

/// The first content of the memory and the device.
fn contents() -> Vec<u8> {
    (0..WINDOW).map(|n| (n * 7 + n / 256 + 3) as u8).collect()
}

/// A guest with memory at [`RAM`].
struct Machine {
    guest: Guest,
    memory: Memory,
}

/// Registers R0 to R14 and CPSR, and the contents.
#[derive(Debug, PartialEq, Eq)]
struct After {
    registers: Vec<u32>,
    contents: Vec<u8>,
}

impl Machine {
    fn new() -> Result<Self, String> {
        let guest = Guest::new(&[])?;
        let memory = Memory::new(WINDOW)?;
        guest
            .vm
            .set_user_memory_region(&slot(1, RAM.into(), &memory, WINDOW))
            .works("KVM_SET_USER_MEMORY_REGION")?;
        Ok(Self { guest, memory })
    }

    /// Sets the registers for a window at `window`.
    fn prepare(&self, window: u32, cpsr: u32, pc: u32) -> Outcome {
        for n in 1..12 {
            self.guest.set(n, 0x1122_3300 + n as u32 * 0x1f)?;
        }
        self.guest.set(2, 0x10)?;
        self.guest.set(0, window + R0_AT)?;
        self.guest.set(12, DONE)?;
        self.guest.set(uapi::CORE_CPSR, cpsr)?;
        // Supervisor mode has its own SP and LR.
        self.guest.set(SVC_SP, window + SP_AT)?;
        self.guest.set(SVC_SP + 1, 0x7766_5544)?;
        self.guest.set(uapi::CORE_PC, pc)
    }

    fn fill(&self) {
        let words: Vec<u32> = contents()
            .chunks(4)
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect();
        self.memory.write_words(0, &words);
    }

    /// Runs until the guest is done. The device at [`HOLE`] is this function. Returns the accesses:
    /// address in the window, length, whether a store.
    fn run(&self, device: &mut [u8]) -> Result<Vec<(usize, usize, bool)>, String> {
        let mut accesses = Vec::new();
        loop {
            self.guest.run_to(uapi::EXIT_MMIO)?;
            let mmio = self.guest.vcpu.run.mmio();
            if mmio.phys_addr == DONE.into() {
                // The store is complete before anybody changes the registers.
                self.guest.complete()?;
                return Ok(accesses);
            }
            let at = mmio
                .phys_addr
                .checked_sub(HOLE.into())
                .map_or(usize::MAX, |at| at as usize);
            let len = mmio.len as usize;
            let bytes = at
                .checked_add(len)
                .and_then(|end| device.get_mut(at..end))
                .ok_or_else(|| format!("access to {:#x}", mmio.phys_addr))?;
            ensure(
                accesses.len() < 100 && matches!(len, 1 | 2 | 4 | 8),
                format!("length {len}"),
            )?;
            accesses.push((at, len, mmio.is_write != 0));
            if mmio.is_write != 0 {
                bytes.copy_from_slice(&mmio.data[..len]);
                ensure(
                    mmio.data[len..].iter().all(|byte| *byte == 0),
                    "more data than was stored",
                )?;
            } else {
                let mut data = [0xee; 8];
                data[..len].copy_from_slice(bytes);
                self.guest.vcpu.run.set_mmio_data(data);
            }
        }
    }

    fn registers(&self, window: u32) -> Result<Vec<u32>, String> {
        let mut registers = Vec::new();
        for n in (0..13).chain([SVC_SP, SVC_SP + 1, uapi::CORE_CPSR]) {
            let value = self.guest.get(n)?;
            // Addresses as they are in either window.
            let in_window = value.wrapping_sub(window) < WINDOW as u32;
            registers.push(if in_window { value - window } else { value });
        }
        Ok(registers)
    }

    fn after_in_memory(&self, cpsr: u32, pc: u32) -> Result<After, String> {
        self.fill();
        self.prepare(RAM, cpsr, pc)?;
        self.run(&mut [])?;
        Ok(After {
            registers: self.registers(RAM)?,
            contents: (0..WINDOW / 4)
                .flat_map(|word| self.memory.word(word * 4).to_le_bytes())
                .collect(),
        })
    }

    fn after_on_device(&self, cpsr: u32, pc: u32) -> Result<(After, usize), String> {
        let mut device = contents();
        self.prepare(HOLE, cpsr, pc)?;
        let accesses = self.run(&mut device)?;
        let after = After {
            registers: self.registers(HOLE)?,
            contents: device,
        };
        Ok((after, accesses.len()))
    }

    /// Runs a program both ways. Says how many accesses the device saw.
    fn compare(&self, program: &Program, flags: u32, pc: u32) -> Result<usize, String> {
        self.guest
            .memory
            .write_words((pc - BASE) as usize, &program.words);
        let cpsr = CPSR | flags | if program.thumb { T } else { 0 };
        let expected = self
            .after_in_memory(cpsr, pc)
            .works_as(&format!("{} in memory", program.name))?;
        let (found, accesses) = self
            .after_on_device(cpsr, pc)
            .works_as(&format!("{} on a device", program.name))?;
        equal(
            format!("{}: registers", program.name),
            found.registers,
            expected.registers,
        )?;
        for (at, (found, expected)) in found.contents.iter().zip(&expected.contents).enumerate() {
            equal(format!("{}: byte {at:#x}", program.name), found, expected)?;
        }
        Ok(accesses)
    }
}

/// Adds the name of the attempt.
trait WorksAs<T> {
    fn works_as(self, what: &str) -> Result<T, String>;
}

impl<T> WorksAs<T> for Result<T, String> {
    fn works_as(self, what: &str) -> Result<T, String> {
        self.map_err(|e| format!("{what}: {e}"))
    }
}

/// SP_svc among the core registers.
const SVC_SP: u64 = 18;
/// Supervisor mode, all masked.
const CPSR: u32 = 0x1d3;
const T: u32 = 1 << 5;
const E: u32 = 1 << 9;
const C: u32 = 1 << 29;
const Z: u32 = 1 << 30;

fn forms(programs: &[Program]) -> Outcome {
    let machine = Machine::new()?;
    for program in programs {
        // Conditional ones are executed with one of them.
        let accesses =
            machine.compare(program, 0, BASE)? + machine.compare(program, Z | C, BASE)?;
        ensure(accesses > 0, format!("{}: no access", program.name))?;
    }
    Ok(())
}

fn big_endian() -> Outcome {
    let machine = Machine::new()?;
    for program in arm_programs().iter().chain(&thumb_programs()) {
        // The store that reports the end goes to the same address in either byte order.
        machine.compare(program, E, BASE)?;
    }
    Ok(())
}

/// A device has no monitor: the store after the load may succeed or fail, but not half.
fn exclusive() -> Outcome {
    let machine = Machine::new()?;
    // The load and the store, the number of bytes, and R4 after a load of two words.
    for (name, load, store, len) in [
        ("word", 0xe190_4f9f, 0xe180_2f96, 4),
        ("byte", 0xe1d0_4f9f, 0xe1c0_2f96, 1),
        ("halfword", 0xe1f0_4f9f, 0xe1e0_2f96, 2),
        ("doubleword", 0xe1b0_4f9f, 0xe1a0_2f96, 8),
    ] {
        machine
            .guest
            .memory
            .write_words(0, &[load, store, 0xe58c_c000, code::LOOP]);
        machine.prepare(HOLE, CPSR, BASE)?;
        let stored = [machine.guest.get(6)?, machine.guest.get(7)?];
        let mut device = contents();
        let before = device.clone();
        machine.run(&mut device)?;
        let at = R0_AT as usize;
        let mut word = [0; 4];
        let first = len.min(4);
        word[..first].copy_from_slice(&before[at..at + first]);
        equal(
            format!("{name}: loaded"),
            machine.guest.get(4)?,
            u32::from_le_bytes(word),
        )?;
        let mut after = before;
        if machine.guest.get(2)? == 0 {
            let bytes: Vec<u8> = stored.iter().flat_map(|word| word.to_le_bytes()).collect();
            after[at..at + len].copy_from_slice(&bytes[..len]);
        }
        ensure(device == after, format!("{name}: what was stored"))?;
    }
    Ok(())
}

fn loads_of_pc() -> Outcome {
    let machine = Machine::new()?;
    // ldr pc, [r0], #4; ldmia r0!, {r1, pc}; pop {pc}, and Thumb: ldr.w pc, [r0], #4; pop {r1, pc}.
    let arm: [&[u32]; 3] = [&[0xe490_f004], &[0xe8b0_8002], &[0xe49d_f004]];
    let thumb: [&[u16]; 2] = [&[0xf850, 0xfb04], &[0xbd02]];
    let programs = arm
        .iter()
        .map(|code| (code.to_vec(), false))
        .chain(thumb.iter().map(|code| (thumb_words(code), true)));
    for (words, is_thumb) in programs {
        for to_thumb in [false, true] {
            let name = format!("load of the PC by {:#x}, Thumb {to_thumb}", words[0]);
            machine.guest.memory.write_words(0, &[code::LOOP; 16]);
            machine.guest.memory.write_words(0, &words[..1]);
            // str r12, [r12] in either set.
            let target = if to_thumb {
                machine
                    .guest
                    .memory
                    .write_words(0x100, &[0xc000_f8cc, 0xe7fe_e7fe]);
                BASE + 0x101
            } else {
                machine
                    .guest
                    .memory
                    .write_words(0x100, &[0xe58c_c000, code::LOOP]);
                BASE + 0x100
            };
            let cpsr = CPSR | if is_thumb { T } else { 0 };
            machine.prepare(HOLE, cpsr, BASE)?;
            let mut device: Vec<u8> = (0..WINDOW / 4).flat_map(|_| target.to_le_bytes()).collect();
            machine.run(&mut device).works_as(&name)?;
            equal(
                format!("{name}: T"),
                machine.guest.get(uapi::CORE_CPSR)? & T != 0,
                to_thumb,
            )?;
        }
    }
    Ok(())
}

/// TBB and TBH with a table in memory, then on a device: both times they come to the one entry
/// whose code sets R1 to 0x77. The code everywhere else also reports that the guest is done.
fn table_branches() -> Outcome {
    let machine = Machine::new()?;
    // An abort reports that the guest is done, with the value of R1.
    abort_vectors(&machine)?;
    const IT_EQ: u16 = 0xbf08;
    // tbb [r0, r2]; tbh [r0, r2, lsl #1]; tbb [r0, r2] as the last of an IT block.
    let forms: [(&str, &[u16], usize, u32); 3] = [
        ("TBB", &[0xe8d0, 0xf002], 1, 0xa3),
        ("TBH", &[0xe8d0, 0xf012], 2, 0x1a3),
        ("TBB in an IT block", &[IT_EQ, 0xe8d0, 0xf002], 1, 0xa2),
    ];
    for (name, code, bytes, halves) in forms {
        for (flags, is_big) in [(Z, false), (Z | E, true)] {
            // str.w r12, [r12], all over.
            machine.guest.memory.write_words(0, &[0xc000_f8cc; 0x400]);
            // movs r1, #0x77; nop.
            let target = 2 * code.len() as u32 + 2 * halves;
            ensure(target % 4 == 2, "the target is the second half of a word")?;
            let at = target as usize - 2;
            machine.guest.memory.write_words(at, &[0x2177_bf00]);
            machine.guest.memory.write_words(0, &thumb_words(code)[..1]);
            if code.len() == 3 {
                let second = u32::from(code[2]) | (0xbf00 << 16);
                machine.guest.memory.write_words(4, &[second]);
            }
            let mut table = contents();
            let entry = R0_AT as usize + 0x10 * bytes;
            let value = if is_big && bytes == 2 {
                (halves as u16).swap_bytes()
            } else {
                halves as u16
            };
            table[entry..entry + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
            let words: Vec<u32> = table
                .chunks(4)
                .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
                .collect();
            machine.memory.write_words(0, &words);
            for window in [RAM, HOLE] {
                let what = format!("{name}, big endian {is_big}, at {window:#x}");
                machine.prepare(window, CPSR | T | flags, BASE)?;
                let accesses = machine.run(&mut table.clone()).works_as(&what)?;
                equal(format!("{what}: r1"), machine.guest.get(1)?, 0x77)?;
                let cpsr = machine.guest.get(uapi::CORE_CPSR)?;
                equal(format!("{what}: T and IT"), cpsr & (T | 0x0600_fc00), T)?;
                let expected: &[_] = if window == HOLE {
                    &[(entry, bytes, false)]
                } else {
                    &[]
                };
                equal(format!("{what}: accesses"), accesses.as_slice(), expected)?;
            }
        }
    }
    Ok(())
}

fn across_pages() -> Outcome {
    let machine = Machine::new()?;
    // ldmia r0!, {r3-r10}; stmia r0!, {r3-r10}
    for code in [0xe8b0_07f8, 0xe8a0_07f8] {
        let words = [code, 0xe58c_c000, code::LOOP];
        machine.guest.memory.write_words(0, &words);
        let mut after = Vec::new();
        for window in [RAM, HOLE] {
            machine.fill();
            machine.prepare(window, CPSR, BASE)?;
            machine.guest.set(0, window + PAGE as u32 - 12)?;
            let mut device = contents();
            let accesses = machine.run(&mut device)?;
            equal(
                "accesses",
                accesses.len(),
                if window == HOLE { 8 } else { 0 },
            )?;
            if window == RAM {
                device = (0..WINDOW / 4)
                    .flat_map(|word| machine.memory.word(word * 4).to_le_bytes())
                    .collect();
            }
            after.push((machine.registers(window)?, device));
        }
        ensure(after[0] == after[1], format!("{code:#x} differs"))?;
    }
    Ok(())
}

fn instruction_across_pages() -> Outcome {
    let machine = Machine::new()?;
    // ldr.w r1, [r0], #4 with a half in each page.
    let program = Program {
        name: "ldr.w across pages".into(),
        words: thumb_words(&[0xbf00, 0xf850, 0x1b04]),
        thumb: true,
    };
    let accesses = machine.compare(&program, 0, BASE + PAGE as u32 - 4)?;
    equal("accesses", accesses, 1)
}

fn half_in_memory() -> Outcome {
    let machine = Machine::new()?;
    // The last words of the guest's memory, and the first words behind it, which have no memory.
    let end = RAM + WINDOW as u32;
    for (code, store) in [(0xe8b0_00f8, false), (0xe8a0_00f8, true)] {
        machine.fill();
        machine
            .guest
            .memory
            .write_words(0, &[code, 0xe58c_c000, code::LOOP]);
        machine.prepare(RAM, CPSR, BASE)?;
        machine.guest.set(0, end - 8)?;
        let expected: Vec<u32> = (3..8)
            .map(|n| machine.guest.get(n))
            .collect::<Result<_, _>>()?;
        let mut outside = Vec::new();
        loop {
            machine.guest.run_to(uapi::EXIT_MMIO)?;
            let mmio = machine.guest.vcpu.run.mmio();
            if mmio.phys_addr == DONE.into() {
                machine.guest.complete()?;
                break;
            }
            outside.push(mmio.phys_addr as u32 - end);
            machine.guest.answer(0x5550 + mmio.phys_addr as u32 % 16);
        }
        equal("accesses outside", outside, vec![0, 4, 8])?;
        equal("r0", machine.guest.get(0)?, end + 12)?;
        let words = [
            machine.memory.word(WINDOW - 8),
            machine.memory.word(WINDOW - 4),
        ];
        for n in 0..2 {
            let found = if store {
                words[n]
            } else {
                machine.guest.get(n as u64 + 3)?
            };
            let wanted = if store { expected[n] } else { words[n] };
            equal(format!("word {n}"), found, wanted)?;
        }
        if !store {
            equal("r5", machine.guest.get(5)?, 0x5550)?;
            equal("r7", machine.guest.get(7)?, 0x5558)?;
        }
    }
    Ok(())
}

/// Where vectors are, and the one for data aborts.
const VECTORS: usize = 0x2000;

/// The handler of data aborts stores DFSR, then DFAR, to R12.
fn abort_vectors(machine: &Machine) -> Outcome {
    machine.guest.memory.write_words(VECTORS, &[code::LOOP; 4]);
    machine.guest.memory.write_words(
        VECTORS + 0x10,
        &[
            // mrc DFSR; str; mrc DFAR; str.
            0xee15_1f10,
            0xe58c_1000,
            0xee16_1f10,
            0xe58c_1000,
            code::LOOP,
        ],
    );
    machine
        .guest
        .vcpu
        .set_reg(uapi::cp15_reg(0, 12, 0, 0), BASE + VECTORS as u32)
        .works("VBAR")
}

fn expect_abort(machine: &Machine, what: &str, dfsr: u32, dfar: u32) -> Outcome {
    for (name, expected) in [("DFSR", dfsr), ("DFAR", dfar)] {
        machine.guest.run_to(uapi::EXIT_MMIO)?;
        let mmio = machine.guest.vcpu.run.mmio();
        equal(format!("{what}: where"), mmio.phys_addr, DONE.into())?;
        let [a, b, c, d, ..] = mmio.data;
        equal(
            format!("{what}: {name}"),
            u32::from_le_bytes([a, b, c, d]),
            expected,
        )?;
    }
    machine.guest.complete()
}

fn unaligned() -> Outcome {
    let machine = Machine::new()?;
    abort_vectors(&machine)?;
    // ldmia r0, {r1, r3}; strd r4, r5, [r0]; A3.2.1: they fault for both values of SCTLR.A.
    for (code, dfsr) in [(0xe890_000a, 1), (0xe1c0_40f0, 0x801)] {
        machine.guest.memory.write_words(0, &[code, code::LOOP]);
        machine.prepare(HOLE, CPSR, BASE)?;
        machine.guest.set(0, HOLE + 2)?;
        expect_abort(&machine, &format!("{code:#x}"), dfsr, HOLE + 2)?;
    }
    Ok(())
}

/// `vldr d0, [r0]` is of the VFP, and not emulated. CPACR and FPEXC are set before.
const VFP: [u32; 6] = [
    // mov r1, #0xf00000; mcr CPACR; isb; mov r1, #0x40000000; vmsr fpexc, r1; vldr.
    0xe3a0_160f,
    0xee01_1f50,
    0xf57f_f06f,
    0xe3a0_1101,
    0xeee8_1a10,
    0xed90_0b00,
];

fn to_user_space() -> Outcome {
    let machine = Machine::new()?;
    machine
        .guest
        .vm
        .enable_cap(uapi::CAP_ARM_NISV_TO_USER, 0, [0; 4])
        .works("KVM_ENABLE_CAP")?;
    let words = [&VFP[..], &[0xe58c_c000, code::LOOP]].concat();
    machine.guest.memory.write_words(0, &words);
    machine.prepare(HOLE, CPSR, BASE)?;
    machine.guest.run_to(uapi::EXIT_ARM_NISV)?;
    let nisv = machine.guest.vcpu.run.arm_nisv();
    equal("address", nisv.fault_ipa, (HOLE + R0_AT).into())?;
    equal("syndrome: a load", nisv.esr_iss & (1 << 6), 0)?;
    equal("syndrome: no ISV", nisv.esr_iss & (1 << 24), 0)?;
    let pc = machine.guest.get(uapi::CORE_PC)?;
    equal("pc", pc, BASE + 4 * (VFP.len() as u32 - 1))?;
    // The monitor carries the access out; accesses that can be emulated still are.
    machine.guest.set(uapi::CORE_PC, pc + 4)?;
    machine.run(&mut contents())?;
    let bad = machine
        .guest
        .vm
        .enable_cap(uapi::CAP_ARM_NISV_TO_USER, 1, [0; 4]);
    crate::check::fails("flags", bad, &[libc::EINVAL])
}

fn abort() -> Outcome {
    let machine = Machine::new()?;
    abort_vectors(&machine)?;
    let words = [&VFP[..], &[code::LOOP]].concat();
    machine.guest.memory.write_words(0, &words);
    machine.prepare(HOLE, CPSR, BASE)?;
    expect_abort(&machine, "vldr", 8, HOLE + R0_AT)
}

fn abort_in_the_middle() -> Outcome {
    // The monitor gives an abort instead of the second word: no register has changed.
    let machine = Machine::new()?;
    abort_vectors(&machine)?;
    machine
        .guest
        .memory
        .write_words(0, &[0xe8b0_00f8, code::LOOP]);
    machine.prepare(HOLE, CPSR, BASE)?;
    machine.guest.run_to(uapi::EXIT_MMIO)?;
    machine.guest.answer(0x1234);
    machine.guest.run_to(uapi::EXIT_MMIO)?;
    let before = machine.guest.get(3)?;
    let events = uapi::VcpuEvents {
        ext_dabt_pending: 1,
        ..Default::default()
    };
    machine
        .guest
        .vcpu
        .set_events(&events)
        .works("KVM_SET_VCPU_EVENTS")?;
    expect_abort(&machine, "the second word", 8, HOLE + R0_AT)?;
    equal("r0", machine.guest.get(0)?, HOLE + R0_AT)?;
    equal("r3", machine.guest.get(3)?, before)
}
