// SPDX-License-Identifier: GPL-2.0

//! The debug registers of this CPU (CP14), and their loan to a guest.
//!
//! Breakpoints match by virtual address, so those of a guest would match in the host's kernel, too,
//! and the host's in a guest. DBGDSCR.MDBGen is clear from before the registers change until they
//! are the host's again. Only the world switch sets MDBGen in between, for the time in the guest.

use core::arch::asm;

use machine::cp14::{
    dscr,
    DebugUnit,
    Point,
    Points,
    MAX_BREAKPOINTS,
    MAX_WATCHPOINTS, //
};

use super::{
    register::isb,
    takeover::Lowvisor, //
};
use crate::glue::cpu::ThisCpu;

/// Reads a register of CP14.
macro_rules! mrc {
    ($crm:literal, $opc2:literal) => {{
        let value: u32;
        // SAFETY: Reads a debug register of this CPU, which the caller knows to be accessible.
        unsafe {
            asm!(
                concat!("mrc p14, 0, {}, c0, c", $crm, ", ", $opc2),
                out(reg) value,
                options(nomem, nostack, preserves_flags)
            )
        };
        value
    }};
}

/// Writes a register of CP14.
macro_rules! mcr {
    ($value:expr, $crm:literal, $opc2:literal) => {{
        let value: u32 = $value;
        // SAFETY: Writes a debug register of this CPU, which the caller knows to be accessible.
        // MDBGen is clear, or is set to the host's own value while the points are the host's, so
        // that no debug exception comes that the host does not expect.
        unsafe {
            asm!(
                concat!("mcr p14, 0, {}, c0, c", $crm, ", ", $opc2),
                in(reg) value,
                options(nostack, preserves_flags)
            )
        };
    }};
}

/// Accessors of the registers of one kind, which the instruction names by CRm.
macro_rules! points {
    ($read:ident, $write:ident, $value:literal, $control:literal, $($n:literal),*) => {
        fn $read(n: usize) -> Point {
            match n {
                $($n => Point {
                    value: mrc!($n, $value),
                    control: mrc!($n, $control),
                },)*
                _ => Point::default(),
            }
        }

        fn $write(n: usize, point: Point) {
            match n {
                $($n => {
                    mcr!(point.value, $n, $value);
                    mcr!(point.control, $n, $control);
                })*
                _ => (),
            }
        }
    };
}

points!(breakpoint, set_breakpoint, "4", "5", 0, 1, 2, 3, 4, 5);
points!(watchpoint, set_watchpoint, "6", "7", 0, 1, 2, 3);

/// DBGDIDR.
pub(super) fn didr() -> u32 {
    mrc!("0", "0")
}

/// Breakpoints, watchpoints and vector catches for the time that a guest runs.
pub(crate) struct GuestPoints {
    pub(crate) points: Points,
    pub(crate) vcr: u32,
}

/// The host's debug registers while others are in the hardware, or at least rest. Dropping it gives
/// them back.
///
/// # Invariants
///
/// The registers of this CPU can be used, MDBGen is clear, and interrupts are off.
pub(crate) struct HostDebug<'a> {
    dscr: u32,
    /// The points that were replaced, with DBGVCR.
    replaced: Option<GuestPoints>,
    unit: DebugUnit,
    _cpu: ThisCpu<'a>,
}

impl<'a> HostDebug<'a> {
    /// Has the host's breakpoints rest on this CPU, and puts a guest's in their place if there are
    /// any. `None` if the registers of this CPU cannot be used.
    #[cold]
    pub(crate) fn put_away(
        lowvisor: &Lowvisor,
        cpu: ThisCpu<'a>,
        unit: DebugUnit,
        guest: Option<&GuestPoints>,
    ) -> Option<Self> {
        if !lowvisor.can_debug(&cpu) {
            return None;
        }
        let host = mrc!("2", "2");
        mcr!(host & !dscr::MDBGEN, "2", "2");
        isb();
        let replaced = guest.map(|guest| exchange(unit, guest));
        // INVARIANT: MDBGen was cleared, and `cpu` proves that interrupts are off.
        Some(Self {
            dscr: host,
            replaced,
            unit,
            _cpu: cpu,
        })
    }
}

impl Drop for HostDebug<'_> {
    fn drop(&mut self) {
        if let Some(host) = &self.replaced {
            let _ = exchange(self.unit, host);
        }
        isb();
        mcr!(self.dscr, "2", "2");
        isb();
    }
}

/// Writes the registers that the unit has. Returns what was there.
fn exchange(unit: DebugUnit, new: &GuestPoints) -> GuestPoints {
    let mut old = GuestPoints {
        points: Points::NONE,
        vcr: mrc!("7", "0"),
    };
    let breakpoints = old
        .points
        .breakpoints
        .iter_mut()
        .zip(new.points.breakpoints);
    for (n, (old, new)) in breakpoints.enumerate().take(unit.breakpoints()) {
        *old = breakpoint(n);
        set_breakpoint(n, new);
    }
    let watchpoints = old
        .points
        .watchpoints
        .iter_mut()
        .zip(new.points.watchpoints);
    for (n, (old, new)) in watchpoints.enumerate().take(unit.watchpoints()) {
        *old = watchpoint(n);
        set_watchpoint(n, new);
    }
    mcr!(new.vcr, "7", "0");
    old
}

// The accessors know all numbers.
static_assertions::const_assert!(MAX_BREAKPOINTS == 6 && MAX_WATCHPOINTS == 4);
