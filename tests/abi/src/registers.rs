// SPDX-License-Identifier: GPL-2.0

//! KVM_GET_ONE_REG, KVM_SET_ONE_REG, KVM_GET_REG_LIST.

use kvm::uapi::{self, OneReg, Regs};
use kvm::{ioctl_mut, ioctl_ref};

use crate::check::{ensure, equal, fails, Outcome, Test, Works};
use crate::guest::Guest;

pub(crate) const TESTS: &[Test] = &[
    ("registers: core ones there and back", round_trip),
    ("registers: reset values", reset_values),
    ("registers: unknown ids", unknown),
    ("registers: modes of the CPSR", modes),
    ("registers: bad addresses", bad_address),
    ("registers: the list", list),
];

/// The core registers, in words.
const CORE_WORDS: u64 = (size_of::<Regs>() / 4) as u64;

fn is_cpsr(word: u64) -> bool {
    word == uapi::CORE_CPSR
}

fn value(word: u64) -> u32 {
    0x0101_0101u32.wrapping_mul(word as u32 + 1)
}

fn round_trip() -> Outcome {
    let guest = Guest::new(&[])?;
    let words = || (0..CORE_WORDS).filter(|word| !is_cpsr(*word));
    for word in words() {
        guest.set(word, value(word))?;
    }
    for word in words() {
        equal(
            format!("core register {word}"),
            guest.get(word)?,
            value(word),
        )?;
    }
    Ok(())
}

fn reset_values() -> Outcome {
    let guest = Guest::new(&[])?;
    equal("cpsr", guest.get(uapi::CORE_CPSR)?, 0x1d3)?;
    equal("r0", guest.get(0)?, 0)
}

fn unknown() -> Outcome {
    let guest = Guest::new(&[])?;
    let errnos = [libc::ENOENT, libc::EINVAL];
    let core = uapi::core_reg(0);
    for (what, id) in [
        ("behind the core registers", core + CORE_WORDS),
        ("far behind", core + 0xffff),
        (
            "a core register of 64 bits",
            core ^ uapi::REG_SIZE_U32 ^ uapi::REG_SIZE_U64,
        ),
        ("of arm64", core ^ uapi::REG_ARM ^ 0x6000_0000_0000_0000),
        ("of x86", core ^ uapi::REG_ARM ^ 0x2000_0000_0000_0000),
        (
            "an unknown group",
            uapi::REG_ARM | uapi::REG_SIZE_U32 | (0x77 << 16),
        ),
        ("zero", 0),
        ("all ones", u64::MAX),
        ("no such CP15 register", uapi::cp15_reg(7, 11, 13, 7)),
    ] {
        fails(format!("read of {what}"), guest.vcpu.reg(id), &errnos)?;
        fails(
            format!("write of {what}"),
            guest.vcpu.set_reg(id, 0),
            &errnos,
        )?;
    }
    Ok(())
}

fn modes() -> Outcome {
    let guest = Guest::new(&[])?;
    for mode in [0x10, 0x11, 0x12, 0x13, 0x17, 0x1b, 0x1f] {
        guest.set(uapi::CORE_CPSR, 0x1c0 | mode)?;
        equal("cpsr", guest.get(uapi::CORE_CPSR)?, 0x1c0 | mode)?;
    }
    for mode in [0, 0x14, 0x16, 0x1a] {
        let result = guest
            .vcpu
            .set_reg(uapi::core_reg(uapi::CORE_CPSR), 0x1c0 | mode);
        fails(format!("mode {mode:#x}"), result, &[libc::EINVAL])?;
    }
    Ok(())
}

fn bad_address() -> Outcome {
    let guest = Guest::new(&[])?;
    for addr in [0, 0xc000_0000, 1 << 40] {
        let reg = OneReg {
            id: uapi::core_reg(0),
            addr,
        };
        let get = ioctl_ref(&guest.vcpu, uapi::GET_ONE_REG(), &reg);
        fails(format!("read to {addr:#x}"), get, &[libc::EFAULT])?;
        let set = ioctl_ref(&guest.vcpu, uapi::SET_ONE_REG(), &reg);
        fails(format!("write from {addr:#x}"), set, &[libc::EFAULT])?;
    }
    Ok(())
}

fn list() -> Outcome {
    /// `struct kvm_reg_list` with room.
    #[repr(C)]
    struct List {
        count: u64,
        ids: [u64; 512],
    }
    let guest = Guest::new(&[])?;
    let mut list = List {
        count: 0,
        ids: [0; 512],
    };
    let small = ioctl_mut(&guest.vcpu, uapi::GET_REG_LIST(), &mut list);
    fails("no room", small, &[libc::E2BIG])?;
    let count = list.count as usize;
    ensure(
        (CORE_WORDS as usize..=512).contains(&count),
        format!("{count} registers"),
    )?;
    ioctl_mut(&guest.vcpu, uapi::GET_REG_LIST(), &mut list).works("KVM_GET_REG_LIST")?;
    for id in &list.ids[..count] {
        let mut value = 0u64;
        let reg = OneReg {
            id: *id,
            addr: (&raw mut value) as usize as u64,
        };
        ioctl_ref(&guest.vcpu, uapi::GET_ONE_REG(), &reg).works(format!("register {id:#x}"))?;
        ioctl_ref(&guest.vcpu, uapi::SET_ONE_REG(), &reg)
            .works(format!("register {id:#x}, set to what it was"))?;
    }
    for word in 0..CORE_WORDS {
        // ORIG_r0, at 17, has no meaning for a guest and may be missing.
        let listed = list.ids[..count].contains(&uapi::core_reg(word));
        ensure(
            listed || word == 17,
            format!("core register {word} is not listed"),
        )?;
    }
    Ok(())
}
