// SPDX-License-Identifier: GPL-2.0

//! The state of a vCPU's debugging: its own debug registers, and the points of the monitor.

use kernel::prelude::*;
use machine::cp14::{
    dscr,
    DebugRegs,
    Point,
    Points,
    MAX_BREAKPOINTS, //
};

use crate::hyp::debug_registers::GuestPoints;

/// The debugging of a vCPU.
pub(crate) struct VcpuDebug {
    /// The guest's own registers.
    pub(crate) regs: DebugRegs,
    pub(super) monitor: Option<KBox<Monitor>>,
    /// A point of the host has matched while this vCPU ran.
    pub(super) host_rests: bool,
    /// The host's points must not be in effect while the guest runs.
    is_switched: bool,
}

/// The monitor's debugging.
pub(super) struct Monitor {
    pub(super) points: Points,
    pub(super) steps: bool,
    /// The address of the instruction that is being stepped.
    pub(super) stepped: Option<u32>,
    /// The breakpoints that end the step.
    pub(super) ends: [Point; MAX_BREAKPOINTS],
    /// They are those for the next entry.
    pub(super) is_planned: bool,
}

impl Monitor {
    /// Whether a step is over, now that the guest is at `pc`.
    pub(super) fn has_stepped_to(&self, pc: u32) -> bool {
        self.stepped.is_some_and(|stepped| stepped != pc)
    }
}

impl VcpuDebug {
    /// Nobody debugs.
    pub(crate) const NONE: Self = Self {
        regs: DebugRegs::RESET,
        monitor: None,
        host_rests: false,
        is_switched: false,
    };

    /// Whether anything has to be done for debugging before an entry and behind it.
    #[inline(always)]
    pub(crate) fn is_switched(&self) -> bool {
        self.is_switched
    }

    /// A change takes effect with the next entry.
    pub(super) fn settle(&mut self) {
        self.is_switched = self.monitor.is_some() || self.host_rests || self.regs.is_active();
    }

    /// Whether the end of a step has to be planned before the next entry.
    pub(super) fn wants_plan(&self) -> bool {
        let monitor = self.monitor.as_ref();
        monitor.is_some_and(|monitor| monitor.steps && !monitor.is_planned)
    }

    /// The monitor changes the registers: a step begins anew.
    pub(crate) fn forget_step(&mut self) {
        if let Some(monitor) = &mut self.monitor {
            monitor.stepped = None;
            monitor.is_planned = false;
        }
    }

    /// The points for the hardware, and DBGDSCR with them, if any of them can have an effect.
    pub(super) fn for_hardware(&self) -> Option<(GuestPoints, u32)> {
        if let Some(monitor) = &self.monitor {
            let mut points = monitor.points;
            if monitor.steps {
                points.breakpoints = monitor.ends;
            }
            let points = GuestPoints {
                points: points.confined(),
                vcr: 0,
            };
            return (monitor.steps || monitor.points != Points::NONE)
                .then_some((points, dscr::MDBGEN));
        }
        self.regs.is_active().then(|| {
            let points = GuestPoints {
                points: self.regs.points().confined(),
                vcr: self.regs.vcr(),
            };
            (points, self.regs.dscr())
        })
    }
}
