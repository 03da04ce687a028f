// SPDX-License-Identifier: GPL-2.0

//! Descriptors of the long-descriptor translation table format (B3.6), for stage 2
//! and for HYP mode's stage 1.

use crate::{
    addr::Pa,
    regs::{
        hmair,
        IPA_BITS, //
    },
};

/// The kind of a descriptor, at a given level (B3.6.1, B3.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescKind {
    /// Nothing is mapped.
    Invalid,
    /// The address of a table of the next level.
    Table,
    /// Maps 1 GiB at the first level, 2 MiB at the second.
    Block,
    /// Maps 4 KiB, at the third level.
    Page,
}

const VALID: u64 = 1 << 0;
/// With `VALID`: a table at the first and second level, a page at the third.
const TABLE_OR_PAGE: u64 = 1 << 1;
const AF: u64 = 1 << 10;
const SH_INNER: u64 = 0b11 << 8;
const XN: u64 = 1 << 54;
/// One of the bits that are left to software (`[58:55]`): the guest may have written there, by this
/// entry or one before it for the same memory.
const WAS_WRITABLE: u64 = 1 << 55;

/// `[39:12]`: descriptors hold physical addresses in place.
const ADDRESS_MASK: u64 = ((1 << IPA_BITS) - 1) & !0xfff;

const fn kind(desc: u64, level: u32) -> DescKind {
    match (desc & VALID != 0, desc & TABLE_OR_PAGE != 0, level) {
        (false, _, _) => DescKind::Invalid,
        (true, true, 1 | 2) => DescKind::Table,
        (true, true, _) => DescKind::Page,
        (true, false, 1 | 2) => DescKind::Block,
        // Reserved at the third level: the same as invalid.
        (true, false, _) => DescKind::Invalid,
    }
}

/// MemAttr of stage 2 (table B3-10): the most that memory can be; stage 1 can only make it
/// less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MemAttr {
    /// Device memory.
    Device = 0b0001,
    /// Normal memory that is not cached.
    NormalNc = 0b0101,
    /// Normal memory, Write-Back.
    NormalWb = 0b1111,
}

/// HAP of stage 2 (table B3-9): the rights of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage2Access {
    /// Nothing.
    None = 0b00,
    /// Read.
    ReadOnly = 0b01,
    /// Write.
    WriteOnly = 0b10,
    /// Read and write.
    ReadWrite = 0b11,
}

/// The attributes of a stage-2 mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage2Attrs {
    /// The memory type.
    pub memory: MemAttr,
    /// Reading and writing.
    pub access: Stage2Access,
    /// No instructions are fetched from there.
    pub execute_never: bool,
}

/// A stage-2 descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stage2Desc(pub u64);

impl Stage2Desc {
    const MEM_ATTR_SHIFT: u32 = 2;
    const HAP_SHIFT: u32 = 6;
    const HAP_WRITE: u64 = 0b10;

    /// Maps nothing.
    #[inline]
    pub const fn invalid() -> Self {
        Self(0)
    }

    /// Leads to a table of the next level. Stage 2 has no attributes there.
    #[inline]
    pub const fn table(pa: Pa) -> Self {
        Self(pa.0 & ADDRESS_MASK | TABLE_OR_PAGE | VALID)
    }

    /// Maps a page. The access flag is set.
    #[inline]
    pub const fn page(pa: Pa, attrs: Stage2Attrs) -> Self {
        Self(Self::leaf(pa, attrs) | TABLE_OR_PAGE | VALID)
    }

    /// Whether the entry, valid and not of the last level, maps a block.
    #[inline]
    pub const fn is_block(self) -> bool {
        self.0 & TABLE_OR_PAGE == 0
    }

    /// Maps a block, whose address is aligned to its size. The access flag is set.
    #[inline]
    pub const fn block(pa: Pa, attrs: Stage2Attrs) -> Self {
        Self(Self::leaf(pa, attrs) | VALID)
    }

    /// The entry of the next level that maps the part of this block that begins `offset` bytes
    /// into it: a page, or a smaller block. All else stays as it is.
    #[inline]
    #[must_use]
    pub const fn part(self, offset: u64, is_page: bool) -> Self {
        let kind = if is_page { TABLE_OR_PAGE } else { 0 };
        Self(self.0 & !TABLE_OR_PAGE | kind | offset & ADDRESS_MASK)
    }

    /// All memory is Inner Shareable: a vCPU moves between CPUs, and guests have several.
    const fn leaf(pa: Pa, attrs: Stage2Attrs) -> u64 {
        let xn = if attrs.execute_never { XN } else { 0 };
        let was_writable = if attrs.access as u64 & Self::HAP_WRITE != 0 {
            WAS_WRITABLE
        } else {
            0
        };
        pa.0 & ADDRESS_MASK
            | was_writable
            | (attrs.memory as u64) << Self::MEM_ATTR_SHIFT
            | (attrs.access as u64) << Self::HAP_SHIFT
            | SH_INNER
            | AF
            | xn
    }

    /// Its kind in a table of `level`.
    #[inline]
    pub const fn kind(self, level: u32) -> DescKind {
        kind(self.0, level)
    }

    /// The same page or block, not mapped any more. The hardware ignores all else of an invalid
    /// entry (B3.6.1).
    #[inline]
    #[must_use]
    pub const fn removed(self) -> Self {
        Self(self.0 & !VALID)
    }

    /// A block that is not mapped any more, without its first `size` bytes.
    #[inline]
    #[must_use]
    pub const fn removed_behind(self, size: u64) -> Self {
        Self(self.0 + (size & ADDRESS_MASK))
    }

    /// Whether it is a page or block that is not mapped any more.
    #[inline]
    pub const fn is_removed(self) -> bool {
        self.0 & VALID == 0 && self.0 != 0
    }

    /// Where it leads: a table, page or block.
    #[inline]
    pub const fn address(self) -> Pa {
        Pa(self.0 & ADDRESS_MASK)
    }

    /// The memory type of a page or block, if it is one that we use.
    #[inline]
    pub const fn memory(self) -> Option<MemAttr> {
        match self.0 >> Self::MEM_ATTR_SHIFT & 0xf {
            0b0001 => Some(MemAttr::Device),
            0b0101 => Some(MemAttr::NormalNc),
            0b1111 => Some(MemAttr::NormalWb),
            _ => None,
        }
    }

    /// The guest's rights to a page or block.
    #[inline]
    pub const fn access(self) -> Stage2Access {
        match self.0 >> Self::HAP_SHIFT & 0b11 {
            0b00 => Stage2Access::None,
            0b01 => Stage2Access::ReadOnly,
            0b10 => Stage2Access::WriteOnly,
            _ => Stage2Access::ReadWrite,
        }
    }

    /// Whether the guest may write to the page or block.
    #[inline]
    pub const fn writable(self) -> bool {
        self.0 & (Self::HAP_WRITE << Self::HAP_SHIFT) != 0
    }

    /// Whether the guest may have written there.
    #[inline]
    pub const fn was_writable(self) -> bool {
        self.0 & WAS_WRITABLE != 0
    }

    /// The same, where the guest may have written if it could by `before`.
    #[inline]
    #[must_use]
    pub const fn with_writes_of(self, before: Self) -> Self {
        Self(self.0 | before.0 & WAS_WRITABLE)
    }

    /// The same, where all that the guest may have written is in memory. The guest may not write.
    #[inline]
    #[must_use]
    pub const fn cleaned(self) -> Self {
        Self(self.0 & !WAS_WRITABLE)
    }

    /// Whether no instructions are fetched from the page or block.
    #[inline]
    pub const fn execute_never(self) -> bool {
        self.0 & XN != 0
    }

    /// The access flag. Without it, a use of the page or block faults (B3.7.4): the hardware does
    /// not set it.
    #[inline]
    pub const fn accessed(self) -> bool {
        self.0 & AF != 0
    }

    /// The same, without the right to write. The mark of earlier writes stays.
    #[inline]
    #[must_use]
    pub const fn write_protected(self) -> Self {
        Self(self.0 & !(Self::HAP_WRITE << Self::HAP_SHIFT))
    }

    /// The same, with the access flag set or not.
    #[inline]
    #[must_use]
    pub const fn with_accessed(self, accessed: bool) -> Self {
        Self(with_bit(self.0, AF, accessed))
    }
}

const fn with_bit(value: u64, bit: u64, set: bool) -> u64 {
    if set {
        value | bit
    } else {
        value & !bit
    }
}

/// The memory types of HYP mode's mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HypMemory {
    /// RAM, cached as the kernel has it.
    Normal,
    /// Registers of a device.
    Device,
    /// RAM, not cached.
    Uncached,
}

/// The rights of HYP mode to a mapping. Nothing is writable and executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HypAccess {
    /// Read.
    ReadOnly,
    /// Read and write.
    ReadWrite,
    /// Read and execute.
    ReadExecute,
}

/// A descriptor of HYP mode's stage 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HypDesc(pub u64);

impl HypDesc {
    const ATTR_INDEX_SHIFT: u32 = 2;
    /// `AP[1]`, which should be one: HYP mode has no unprivileged accesses (B3.7.1).
    const AP1: u64 = 1 << 6;
    /// `AP[2]`: read-only.
    const AP2: u64 = 1 << 7;

    /// Maps nothing.
    #[inline]
    pub const fn invalid() -> Self {
        Self(0)
    }

    /// Leads to a table of the next level, and restricts nothing.
    #[inline]
    pub const fn table(pa: Pa) -> Self {
        Self(pa.0 & ADDRESS_MASK | TABLE_OR_PAGE | VALID)
    }

    /// Maps a page.
    #[inline]
    pub const fn page(pa: Pa, memory: HypMemory, access: HypAccess) -> Self {
        Self(Self::leaf(pa, memory, access) | TABLE_OR_PAGE | VALID)
    }

    /// Maps a block, whose address is aligned to its size.
    #[inline]
    pub const fn block(pa: Pa, memory: HypMemory, access: HypAccess) -> Self {
        Self(Self::leaf(pa, memory, access) | VALID)
    }

    /// nG stays 0: HYP mode has no ASIDs.
    const fn leaf(pa: Pa, memory: HypMemory, access: HypAccess) -> u64 {
        let index = match memory {
            HypMemory::Normal => hmair::NORMAL,
            HypMemory::Device => hmair::DEVICE,
            HypMemory::Uncached => hmair::UNCACHED,
        };
        let access = match access {
            HypAccess::ReadOnly => Self::AP2 | XN,
            HypAccess::ReadWrite => XN,
            HypAccess::ReadExecute => Self::AP2,
        };
        pa.0 & ADDRESS_MASK
            | (index as u64) << Self::ATTR_INDEX_SHIFT
            | Self::AP1
            | access
            | SH_INNER
            | AF
    }

    /// Its kind in a table of `level`.
    #[inline]
    pub const fn kind(self, level: u32) -> DescKind {
        kind(self.0, level)
    }

    /// Where it leads: a table, page or block.
    #[inline]
    pub const fn address(self) -> Pa {
        Pa(self.0 & ADDRESS_MASK)
    }

    /// The memory type of a page or block.
    #[inline]
    pub const fn memory(self) -> Option<HypMemory> {
        match (self.0 >> Self::ATTR_INDEX_SHIFT & 7) as u32 {
            hmair::NORMAL => Some(HypMemory::Normal),
            hmair::DEVICE => Some(HypMemory::Device),
            hmair::UNCACHED => Some(HypMemory::Uncached),
            _ => None,
        }
    }

    /// HYP mode's rights to a page or block; none if it is both writable and executable,
    /// which none of ours is.
    #[inline]
    pub const fn access(self) -> Option<HypAccess> {
        match (self.0 & Self::AP2 != 0, self.0 & XN != 0) {
            (true, true) => Some(HypAccess::ReadOnly),
            (false, true) => Some(HypAccess::ReadWrite),
            (true, false) => Some(HypAccess::ReadExecute),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inputs::prelude::*;

    fn memory() -> impl Strategy<Value = MemAttr> {
        one_of![
            Just(MemAttr::Device),
            Just(MemAttr::NormalNc),
            Just(MemAttr::NormalWb)
        ]
    }

    fn access() -> impl Strategy<Value = Stage2Access> {
        one_of![
            Just(Stage2Access::None),
            Just(Stage2Access::ReadOnly),
            Just(Stage2Access::WriteOnly),
            Just(Stage2Access::ReadWrite)
        ]
    }

    fn attrs() -> impl Strategy<Value = Stage2Attrs> {
        (memory(), access(), any::<bool>()).prop_map(|(memory, access, execute_never)| {
            Stage2Attrs {
                memory,
                access,
                execute_never,
            }
        })
    }

    #[test]
    fn known_values() {
        let ram = Stage2Attrs {
            memory: MemAttr::NormalWb,
            access: Stage2Access::ReadWrite,
            execute_never: false,
        };
        assert_eq!(
            Stage2Desc::page(Pa(0x8_1234_5000), ram).0,
            1 << 55 | 0x8_1234_57ff
        );
        assert_eq!(
            Stage2Desc::block(Pa(0x4020_0000), ram).0,
            1 << 55 | 0x4020_07fd
        );
        assert_eq!(Stage2Desc::table(Pa(0x4000_1000)).0, 0x4000_1003);
        assert_eq!(
            HypDesc::page(Pa(0x4000_0000), HypMemory::Normal, HypAccess::ReadWrite).0,
            1 << 54 | 0x4000_0743
        );
        assert_eq!(
            HypDesc::block(Pa(0x4000_0000), HypMemory::Normal, HypAccess::ReadExecute).0,
            0x4000_07c1
        );
    }

    #[test]
    fn kinds() {
        for level in 1..=3 {
            assert_eq!(Stage2Desc::invalid().kind(level), DescKind::Invalid);
            // Bit 1 alone does not make it valid.
            assert_eq!(Stage2Desc(0xfff_f002).kind(level), DescKind::Invalid);
        }
        assert_eq!(Stage2Desc(3).kind(1), DescKind::Table);
        assert_eq!(Stage2Desc(3).kind(2), DescKind::Table);
        assert_eq!(Stage2Desc(3).kind(3), DescKind::Page);
        assert_eq!(Stage2Desc(1).kind(1), DescKind::Block);
        assert_eq!(Stage2Desc(1).kind(2), DescKind::Block);
        assert_eq!(Stage2Desc(1).kind(3), DescKind::Invalid);
    }

    inputs! {
        fn stage2_round_trip(frame in 0u64..1 << 28, attrs in attrs(), other in access(), flag: bool) {
            let pa = Pa(frame << 12);
            let page = Stage2Desc::page(pa, attrs);
            prop_assert_eq!(page.kind(3), DescKind::Page);
            prop_assert_eq!(Stage2Desc::block(pa, attrs).kind(2), DescKind::Block);
            prop_assert_eq!(page.address(), pa);
            prop_assert_eq!(page.memory(), Some(attrs.memory));
            prop_assert_eq!(page.access(), attrs.access);
            prop_assert_eq!(page.execute_never(), attrs.execute_never);
            prop_assert!(page.accessed());
            prop_assert_eq!(
                page.writable(),
                matches!(attrs.access, Stage2Access::WriteOnly | Stage2Access::ReadWrite)
            );
            prop_assert_eq!(page.was_writable(), page.writable());
            let protected = page.write_protected();
            prop_assert!(!protected.writable());
            prop_assert_eq!(protected.was_writable(), page.writable());
            prop_assert!(!protected.cleaned().was_writable());
            prop_assert_eq!(protected.cleaned().with_writes_of(protected), protected);
            let other = Stage2Desc::page(pa, Stage2Attrs { access: other, ..attrs });
            prop_assert_eq!(other.with_writes_of(protected).access(), other.access());
            prop_assert_eq!(
                other.with_writes_of(protected).was_writable(),
                page.writable() || other.writable()
            );
            prop_assert!(page.removed().is_removed());
            prop_assert!(!page.is_removed() && !Stage2Desc::invalid().is_removed());
            prop_assert_eq!(page.removed().kind(3), DescKind::Invalid);
            prop_assert_eq!(page.removed().address(), pa);
            prop_assert_eq!(page.with_accessed(flag).accessed(), flag);
            prop_assert_eq!(page.with_accessed(false).with_accessed(true), page);
        }

        fn hyp_round_trip(frame in 0u64..1 << 28, m in 0usize..3, a in 0usize..3) {
            let memory = [HypMemory::Normal, HypMemory::Device, HypMemory::Uncached][m];
            let access = [HypAccess::ReadOnly, HypAccess::ReadWrite, HypAccess::ReadExecute][a];
            let desc = HypDesc::page(Pa(frame << 12), memory, access);
            prop_assert_eq!(desc.address(), Pa(frame << 12));
            prop_assert_eq!(desc.memory(), Some(memory));
            prop_assert_eq!(desc.access(), Some(access));
            prop_assert_eq!(desc.kind(3), DescKind::Page);
        }
    }
}
