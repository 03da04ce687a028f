// SPDX-License-Identifier: GPL-2.0

//! The mapping that a stage-2 fault makes: planned from the guest's access, its slot, and the page
//! that the host has there.

use core::ops::Range;

use armv7::{
    addr::{
        Ipa,
        Pa, //
    },
    descriptor::{
        MemAttr,
        Stage2Access,
        Stage2Attrs,
        Stage2Desc, //
    },
};

use crate::{
    slot::Place,
    stage2::MapSize, //
};

/// An access of the guest that stage 2 did not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load, or a walk of the guest's tables.
    Read,
    /// A store.
    Write,
    /// The fetch of an instruction.
    Execute,
}

/// The terms on which a slot gives the guest its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The guest may not write.
    pub read_only: bool,
    /// The guest's writes are logged.
    pub is_logged: bool,
}

impl Terms {
    /// Whether the slot is memory for this kind of access.
    #[inline]
    pub const fn allow(self, access: Access) -> bool {
        !(self.read_only && matches!(access, Access::Write))
    }
}

/// The page that the host has for a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostPage {
    /// The user address.
    pub hva: usize,
    /// The physical address.
    pub pa: Pa,
    /// The memory type in the process.
    pub memory: MemAttr,
    /// The process may write to it.
    pub writable: bool,
    /// The host has a `struct page` for it: it is not a frame that a driver has mapped.
    pub is_page: bool,
    /// The host did not have to fault it in.
    pub was_resident: bool,
}

/// A mapping to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The guest's address, aligned to the size.
    pub ipa: Ipa,
    /// The physical address, aligned to the size.
    pub pa: Pa,
    /// A page or a block.
    pub size: MapSize,
    /// The user address of the page that faulted.
    pub hva: usize,
    /// The memory type.
    pub memory: MemAttr,
    /// The guest may write.
    pub writable: bool,
    /// The guest fetches instructions there.
    pub execute: bool,
    /// Writes are logged.
    pub is_logged: bool,
    /// The pages that follow can be mapped along with it.
    pub with_following: bool,
}

impl Plan {
    /// Plans the mapping for a fault at `ipa`. None if the page is not memory for this access.
    ///
    /// `is_huge` says whether the host maps the 2 MiB around the page as one huge page. It is asked
    /// only if all else allows a block.
    #[inline]
    pub fn new(
        ipa: Ipa,
        access: Access,
        place: &Place,
        terms: Terms,
        host: &HostPage,
        is_huge: impl FnOnce() -> bool,
    ) -> Option<Self> {
        // A CPU may fetch ahead, and a device would lose the data (B3.7.2): never executable.
        let is_fetch = access == Access::Execute;
        if !terms.allow(access) || is_fetch && host.memory == MemAttr::Device {
            return None;
        }
        // A log learns of a page by the first write, which has to fault, and reports single pages.
        let writable =
            host.writable && !terms.read_only && (access == Access::Write || !terms.is_logged);
        let is_block =
            host.is_page && !terms.is_logged && place.can_be_block(ipa.gfn()) && is_huge();
        let size = if is_block {
            MapSize::Block
        } else {
            MapSize::Page
        };
        let mask = !(size.bytes() - 1);
        Some(Self {
            ipa: Ipa(ipa.0 & mask),
            pa: Pa(host.pa.0 & mask),
            size,
            hva: host.hva,
            memory: host.memory,
            writable,
            execute: is_fetch,
            is_logged: terms.is_logged,
            // Where the host has to fault pages in, it will not have the next ones either.
            with_following: !is_block && host.was_resident && !terms.is_logged,
        })
    }

    /// All user addresses that it maps.
    #[inline]
    pub const fn hvas(&self) -> Range<usize> {
        let size = self.size.bytes() as usize;
        let start = self.hva & !(size - 1);
        start..start + size
    }

    /// Whether `old`, the entry at the address, maps the same memory to the guest already. Then
    /// the memory was cleaned when `old` was made.
    #[inline]
    pub const fn is_mapped_by(&self, old: Stage2Desc) -> bool {
        let size = if old.is_block() {
            MapSize::Block
        } else {
            MapSize::Page
        };
        size.bytes() >= self.size.bytes() && old.address().0 == self.pa.0 & !(size.bytes() - 1)
    }

    /// The attributes of the new entry, in place of `old`.
    ///
    /// A page that was executed stays executable when it gets other permissions: otherwise a page
    /// that is both written and executed would fault forever. Likewise a page that was written to
    /// while writes are logged stays writable.
    #[inline]
    pub fn attrs(&self, old: Option<Stage2Desc>) -> Stage2Attrs {
        let is_block = self.size == MapSize::Block;
        let old = old.filter(|old| old.address() == self.pa && old.is_block() == is_block);
        let was_executable = old.is_some_and(|old| !old.execute_never());
        let was_writable = self.is_logged && old.is_some_and(|old| old.writable());
        Stage2Attrs {
            memory: self.memory,
            access: access(self.writable || was_writable),
            execute_never: !self.execute && !was_executable,
        }
    }
}

/// The rights of the guest to memory that it may write to, or not.
#[inline]
pub const fn access(writable: bool) -> Stage2Access {
    if writable {
        Stage2Access::ReadWrite
    } else {
        Stage2Access::ReadOnly
    }
}

#[cfg(test)]
mod tests {
    use armv7::addr::PAGE_SIZE;
    use inputs::prelude::*;

    use super::*;

    const BLOCK: u64 = 2 << 20;

    fn accesses() -> impl Strategy<Value = Access> {
        one_of![
            Just(Access::Read),
            Just(Access::Write),
            Just(Access::Execute)
        ]
    }

    fn memories() -> impl Strategy<Value = MemAttr> {
        one_of![
            4 => Just(MemAttr::NormalWb),
            1 => Just(MemAttr::NormalNc),
            1 => Just(MemAttr::Device),
        ]
    }

    /// A slot of some blocks and a bit, aligned alike on both sides or not; a page of it, and the
    /// host's page there.
    #[derive(Clone, Copy, Debug)]
    struct Fault {
        place: Place,
        terms: Terms,
        ipa: Ipa,
        access: Access,
        host: HostPage,
        is_huge: bool,
    }

    fn faults() -> impl Strategy<Value = Fault> {
        let place =
            (0..3u32, 1..1600u32, one_of![Just(0u32), 0..512u32]).prop_map(|(gfn, pages, skew)| {
                Place {
                    gfn: 0x4_0000 + 256 * gfn,
                    pages,
                    hva: ((0x1000 + 256 * gfn + skew) as usize) << 12,
                }
            });
        let terms = (any::<bool>(), any::<bool>()).prop_map(|(read_only, is_logged)| Terms {
            read_only,
            is_logged,
        });
        let bools = any::<[bool; 4]>();
        (place, 0..1600u32, terms, accesses(), memories(), bools).prop_map(
            |(place, page, terms, access, memory, [writable, is_page, was_resident, is_huge])| {
                let gfn = place.gfn + page % place.pages;
                let hva = place.hva_of(gfn);
                let host = HostPage {
                    hva,
                    // A huge page is aligned, and its parts follow each other.
                    pa: Pa(0x8000_0000 + (hva as u64 & (BLOCK - 1))),
                    memory,
                    writable,
                    is_page,
                    was_resident,
                };
                Fault {
                    place,
                    terms,
                    ipa: Ipa::from_gfn(gfn),
                    access,
                    host,
                    is_huge,
                }
            },
        )
    }

    impl Fault {
        fn plan(&self) -> Option<Plan> {
            let is_huge = || self.is_huge;
            Plan::new(
                self.ipa,
                self.access,
                &self.place,
                self.terms,
                &self.host,
                is_huge,
            )
        }
    }

    inputs! {
        #![cases = 10_000]

        /// The guest gets no memory and no right that the slot or the host does not give it.
        fn no_more_than_is_given(fault in faults()) {
            let Fault { place, terms, ipa, access, host, is_huge } = fault;
            let Some(plan) = fault.plan() else {
                let is_refused = terms.read_only && access == Access::Write
                    || host.memory == MemAttr::Device && access == Access::Execute;
                prop_assert!(is_refused);
                return Ok(());
            };
            let size = plan.size.bytes();
            prop_assert_eq!((plan.ipa.0 | plan.pa.0) & (size - 1), 0);
            // The mapping has the page that faulted, and each page is where the slot and the host
            // have it.
            prop_assert!(plan.ipa <= ipa && ipa.0 < plan.ipa.0 + size);
            prop_assert_eq!(ipa.0 - plan.ipa.0, host.pa.0 - plan.pa.0);
            let hvas = plan.hvas();
            prop_assert_eq!((hvas.end - hvas.start) as u64, size);
            prop_assert_eq!((host.hva - hvas.start) as u64, ipa.0 - plan.ipa.0);
            for page in 0..size / PAGE_SIZE {
                prop_assert!(place.has(Ipa(plan.ipa.0 + page * PAGE_SIZE).gfn()));
            }
            if plan.size == MapSize::Block {
                prop_assert!(is_huge && host.is_page && !terms.is_logged);
                prop_assert!(!plan.with_following);
            }
            prop_assert!(!plan.writable || host.writable && !terms.read_only);
            prop_assert!(!plan.with_following || host.was_resident && !terms.is_logged);
            if terms.is_logged {
                prop_assert!(!plan.writable || access == Access::Write);
            }
            let attrs = plan.attrs(None);
            prop_assert_eq!(attrs.memory, host.memory);
            prop_assert_eq!(attrs.execute_never, access != Access::Execute);
            prop_assert_eq!(attrs.access == Stage2Access::ReadWrite, plan.writable);
        }

        /// Where the host lets the process write, the access that faulted goes through the next
        /// time, and the rights that the guest had to the same memory stay.
        fn enough_to_go_on(
            fault in faults(),
            same in any::<bool>(),
            executable in any::<bool>(),
            writable in any::<bool>(),
        ) {
            let Some(plan) = fault.plan() else {
                return Ok(());
            };
            let old_attrs = Stage2Attrs {
                memory: plan.memory,
                access: access(writable),
                execute_never: !executable,
            };
            let pa = Pa(plan.pa.0 + if same { 0 } else { BLOCK });
            let old = match plan.size {
                MapSize::Page => Stage2Desc::page(pa, old_attrs),
                MapSize::Block => Stage2Desc::block(pa, old_attrs),
            };
            prop_assert_eq!(plan.is_mapped_by(old), same);
            let attrs = plan.attrs(Some(old));
            prop_assert!(fault.access != Access::Execute || !attrs.execute_never);
            if fault.access == Access::Write && fault.host.writable {
                prop_assert_eq!(attrs.access, Stage2Access::ReadWrite);
            }
            prop_assert_eq!(!attrs.execute_never, plan.execute || same && executable);
            let keeps = same && writable && fault.terms.is_logged;
            prop_assert_eq!(attrs.access == Stage2Access::ReadWrite, plan.writable || keeps);
        }

        /// `is_mapped_by`: a page of a block that the guest has is mapped; a block is not mapped if
        /// the guest has only a page of it.
        fn mapped_by_more_or_less(fault in faults()) {
            let Some(plan) = fault.plan() else {
                return Ok(());
            };
            let attrs = plan.attrs(None);
            let block = Stage2Desc::block(Pa(plan.pa.0 & !(BLOCK - 1)), attrs);
            prop_assert!(plan.is_mapped_by(block));
            let page = Stage2Desc::page(plan.pa, attrs);
            prop_assert_eq!(plan.is_mapped_by(page), plan.size == MapSize::Page);
        }
    }
}
