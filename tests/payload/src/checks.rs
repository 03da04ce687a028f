// SPDX-License-Identifier: GPL-2.0

//! All checks, in their order. Those that need more than one CPU come last, since only one CPU runs
//! before them.

use crate::board;
use crate::check::{check, guest_check, Check, Needs, Outcome};
use crate::doorbell;
use crate::smp;
use crate::{
    aborts, atomics, banked, cp15, debug, distributor, interrupts, memory, mmio, mmio_forms, power, sgis,
    timers, traps, vfp, waits,
};

/// The checks. The monitor's `--only` and `--skip` go by how names begin.
static CHECKS: &[Check] = &[
    check("exceptions: undefined in Arm state", 1, traps::undefined_arm),
    check("exceptions: undefined in Thumb state", 1, traps::undefined_thumb),
    check("exceptions: undefined in an IT block", 1, traps::undefined_in_it_block),
    check("exceptions: conditions that fail", 1, traps::conditions),
    check("exceptions: undefined in user mode", 1, traps::undefined_from_user_mode),
    check("exceptions: SVC", 1, traps::supervisor_calls),
    check("exceptions: VBAR, SCTLR.V and TE", 1, traps::vectors),
    check("exceptions: IRQ", 1, traps::irq),
    check("exceptions: FIQ", 1, traps::fiq),
    check("aborts: alignment", 1, aborts::alignment),
    check("aborts: translation", 1, aborts::translation),
    check("aborts: permission, domain, access flag", 1, aborts::permission),
    guest_check("aborts: external", 1, aborts::external),
    check("aborts: external, of a walk", 1, aborts::external_on_walk),
    check("aborts: long descriptors", 1, aborts::long_descriptors),
    check("aborts: registers kept", 1, aborts::registers_kept),
    guest_check("banked registers over exits", 1, banked::over_exits),
    guest_check("banked registers over each kind of exit", 1, banked::over_each_exit),
    check("VFP registers over exits", 1, vfp::over_exits),
    check("VFP traps", 1, vfp::traps),
    check("CP15: identity", 1, cp15::identity),
    guest_check("CP15: identity of the host", 1, cp15::identity_of_host),
    check("CP15: ID registers", 1, cp15::id_registers),
    check("CP15: caches", 1, cp15::cache_geometry),
    check("CP15: caches off and on", 1, cp15::caches_off),
    check("CP15: thread registers", 1, cp15::thread_registers),
    check("CP15: maintenance", 1, cp15::maintenance),
    check("CP15: MRRC", 1, cp15::all_double_reads),
    check("CP15: every MRC", 1, cp15::all_reads),
    check("CP15: every MRC in user mode", 1, cp15::user_reads),
    check("CP15: every MCR in user mode", 1, cp15::user_writes),
    guest_check("CP15: MCR to a core's own", 1, cp15::implementation_defined_writes),
    guest_check("CP15: ACTLR", 1, cp15::auxiliary_control),
    check("CP15: number of CPUs", 1, cp15::number_of_cpus),
    check("CP14: debug registers", 1, cp15::debug_registers),
    check("CP14: version of debug", 1, cp15::debug_identity),
    check("CP14: debug registers in user mode", 1, cp15::debug_registers_in_user_mode),
    check("debug: breakpoints", 1, debug::breakpoints),
    check("debug: breakpoints, Thumb", 1, debug::thumb_breakpoints),
    check("debug: breakpoints of modes", 1, debug::breakpoints_of_modes),
    check("debug: breakpoints of a context", 1, debug::linked_breakpoints),
    check("debug: watchpoints", 1, debug::watchpoints),
    check("debug: BKPT", 1, debug::breakpoint_instruction),
    check("CP15: MRC to the flags", 1, cp15::flags),
    guest_check("MMIO: read", 1, mmio::echo),
    guest_check("MMIO: all widths", 1, mmio::widths),
    check("memory: the last words", 1, memory::ends),
    guest_check("memory: ends of a small slot", 1, memory::ends_of_small_slot),
    check("memory: many pages", 1, memory::many_pages),
    check("memory: code that changes", 1, memory::own_code),
    check("memory: code at two addresses", 1, memory::aliased_code),
    check("distributor: identification", 1, distributor::identification),
    guest_check("distributor: number of interrupts", 1, distributor::identification_of_guest),
    check("distributor: registers of bits", 1, distributor::bits),
    check("distributor: registers of bytes", 1, distributor::bytes),
    check("distributor: configuration", 1, distributor::configuration),
    check("distributor: nothing", 1, distributor::reserved),
    check("SGI: to self", 1, sgis::to_self),
    check("SGI: to nobody", 1, sgis::to_nobody),
    guest_check("SGI: pending registers", 1, sgis::pending_registers),
    check("SPI: one after the other", 1, interrupts::one),
    check("SPI: priorities", 1, interrupts::priorities),
    check("SPI: nesting", 1, interrupts::nesting),
    check("SPI: binary point and mask", 1, interrupts::binary_point_and_mask),
    check("SPI: pending and active by software", 1, interrupts::by_software),
    check("SPI: off and on", 1, interrupts::switches),
    check("SPI: EOImode 1", 1, interrupts::split_end),
    check("SPI: groups", 1, interrupts::groups),
    check("SPI: preemption of handlers", 1, interrupts::preemption),
    guest_check("SPI: level", 1, interrupts::level_by_monitor),
    guest_check("SPI: lines, level and edge", 1, interrupts::lines_of_monitor),
    check("timer: counters", 1, timers::counters),
    check("timer: registers of the virtual one", 1, timers::registers),
    check("timer: registers of the physical one", 1, timers::physical_registers),
    check("timer: line of the virtual one", 1, timers::line),
    check("timer: line of the physical one", 1, timers::physical_line),
    check("timer: pending bit of the virtual one", 1, timers::pending),
    check("timer: pending bit of the physical one", 1, timers::physical_pending),
    check("timer: both together", 1, timers::together),
    check("timer: while spinning", 1, timers::spinning),
    check("timer: while sleeping", 1, timers::sleeping),
    check("timer: the physical one", 1, timers::physical_both_ways),
    check("timer: punctual", 1, timers::virtual_punctual),
    check("timer: the physical one, punctual", 1, timers::physical_punctual),
    check("timer: user mode", 1, timers::user_access),
    check("WFI: masked interrupts", 1, waits::masked_interrupts),
    check("WFI: priority mask", 1, waits::priority_mask),
    check("WFI: user mode", 1, waits::in_user_mode),
    guest_check("WFI: line of the monitor", 1, waits::line_of_monitor),
    check("PSCI: version", 1, power::version),
    guest_check("PSCI: what is refused", 1, power::refused),
    guest_check("PSCI: features", 1, power::features),
    guest_check("PSCI: registers", 1, power::registers),
    guest_check("PSCI: conduits", 1, power::conduits),
    guest_check("PSCI: CPU_SUSPEND", 1, power::suspend),
    guest_check("MMIO without syndrome: Arm", 1, mmio_forms::arm),
    guest_check("MMIO without syndrome: Thumb", 1, mmio_forms::thumb),
    guest_check("MMIO without syndrome: exclusive", 1, mmio_forms::exclusive),
    guest_check("MMIO without syndrome: across pages", 1, mmio_forms::across_pages),
    guest_check("MMIO: half in memory", 1, mmio_forms::half_in_memory),
    // All CPUs, however many, take part from here on.
    check("PSCI: CPU_ON", 1, smp::start_all),
    check("VFP registers of all CPUs", 1, vfp::of_all_cpus),
    check("debug: points of all CPUs", 1, debug::of_all_cpus),
    check("VFP registers over preemption", 1, vfp::over_preemption),
    guest_check("banked registers of all CPUs", 1, banked::of_all_cpus),
    check("CP15: identity of all CPUs", 1, cp15::identity_of_all),
    check("CP15: cache selection", 1, cp15::cache_selection),
    check("CP15: set and way", 1, cp15::set_way),
    check("distributor: private registers", 1, distributor::private),
    check("SGI: in bulk", 1, sgis::in_bulk),
    check("SPI: in bulk", 1, interrupts::in_bulk),
    check("timer: one by one in bulk", 1, timers::in_bulk),
    check("timer: the physical one in bulk", 1, timers::physical_in_bulk),
    check("timer: a period in bulk", 1, timers::periodic),
    check("timer: stopped ones", 1, timers::stopped),
    check("timer: counters agree", 1, timers::counters_agree),
    check("memory: first touch", 1, memory::first_touch),
    check("atomics: counters", 1, atomics::counters),
    check("atomics: ticket lock", 1, atomics::ticket_lock),
    check("atomics: stack", 1, atomics::stack),
    check("SGI: sources", 2, sgis::sources),
    check("SPI: targets", 2, interrupts::targets),
    check("SPI: from another CPU", 2, interrupts::from_another_cpu),
    check("WFI: by another CPU", 2, waits::by_another_cpu),
    check("WFE: by another CPU", 2, waits::events),
    check("atomics: queue", 2, atomics::queue),
    check("atomics: Peterson", 2, atomics::peterson),
    check("atomics: Dekker", 2, atomics::dekker),
    check("memory: code of another CPU", 2, memory::code_of_another_cpu),
    check("memory: a page that moves", 2, memory::moving_page),
    check("PSCI: off and on", 2, power::off_and_on),
    check("PSCI: all off and on", 2, power::all_off_and_on),
    check("PSCI: a fresh start", 2, power::fresh_start),
    guest_check("PSCI: several at once", 3, power::race),
];

fn outcome(check: &Check) -> Outcome {
    // Whatever was left out before, the others are needed.
    if check.cpus > 1 {
        smp::start_all()?;
    }
    (check.run)()
}

pub(crate) fn run() {
    let cpus = doorbell::cpus();
    for check in CHECKS {
        let possible = check.cpus <= cpus && (check.needs == Needs::Nothing || board::is_guest());
        if !possible || !doorbell::is_wanted(check.name) {
            continue;
        }
        match outcome(check) {
            Ok(()) => doorbell::pass(check.name),
            Err(failure) => doorbell::fail(check.name, &failure),
        }
    }
}
