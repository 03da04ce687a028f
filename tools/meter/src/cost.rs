// SPDX-License-Identifier: GPL-2.0

//! The cost of an operation, and the estimate of cycles for it. `Documentation/performance.md` says where
//! the weights come from.

use core::fmt::{self, Write};

use crate::batch::Total;
use crate::{Counts, Event, EVENTS};

/// Cycles of a Cortex-A15 for an event, beside the one that each instruction counts.
const fn weight(event: Event) -> u32 {
    match event {
        Event::Instruction => 1,
        // A trap into HYP mode and back, as the paper has it (ASPLOS 2014, table 3).
        Event::Exception => 27,
        // An exception already.
        Event::HypReturn => 0,
        // In sum: 20 of them, by a hypercall with and without the virtual GIC (the same table).
        Event::Gich | Event::Gicd | Event::Gicc | Event::Gicv | Event::Device => 150,
        // An access to the distributor already.
        Event::Ipi => 0,
        // Estimates of ours.
        Event::Dmb => 15,
        Event::Dsb => 30,
        Event::Isb => 20,
        Event::Exclusive => 5,
        Event::DataCache => 10,
        Event::InstructionCache => 500,
        Event::Tlb => 30,
        Event::BranchPredictor => 50,
        Event::Cp15 => 3,
    }
}

/// Writes all weights as an object of JSON.
pub fn write_weights(text: &mut impl Write) -> fmt::Result {
    for (n, event) in Event::ALL.into_iter().enumerate() {
        let before = if n > 0 { ", " } else { "{" };
        write!(text, "{before}\"{}\": {}", event.name(), weight(event))?;
    }
    text.write_char('}')
}

/// The cost of one round of an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Instructions by the counter of time. Where CPUs sleep, the time of their sleep is in it.
    pub instructions: u64,
    /// The number of events of each kind.
    events: [f64; EVENTS],
}

impl From<Total> for Cost {
    fn from(total: Total) -> Self {
        Self::new(total.instructions, &total.events, total.rounds)
    }
}

impl Cost {
    /// A cost by its instructions, and the events of so many rounds.
    pub fn new(instructions: u64, events: &Counts, rounds: u32) -> Self {
        let rounds = f64::from(rounds.max(1));
        Self {
            instructions,
            events: events.0.map(|count| count as f64 / rounds),
        }
    }

    /// The difference to the cost of another.
    #[must_use]
    pub fn above(&self, other: &Self) -> Self {
        let mut events = self.events;
        for (count, less) in events.iter_mut().zip(other.events) {
            *count = (*count - less).max(0.0);
        }
        Self {
            instructions: self.instructions.saturating_sub(other.instructions),
            events,
        }
    }

    /// The number of events of a kind.
    pub fn of(&self, event: Event) -> f64 {
        self.events[event as usize]
    }

    /// Whether the plugin was there to count.
    pub fn has_events(&self) -> bool {
        self.of(Event::Instruction) > 0.0
    }

    /// The estimate for a Cortex-A15, in cycles.
    pub fn cycles(&self) -> f64 {
        let cost = |event| f64::from(weight(event)) * self.of(event);
        Event::ALL.into_iter().map(cost).sum()
    }

    /// Writes it as members of an object of JSON.
    pub fn write_json(&self, text: &mut impl Write) -> fmt::Result {
        write!(text, "\"cost\": {}", self.instructions)?;
        if self.has_events() {
            for event in Event::ALL {
                write!(text, ", \"{}\": {:.2}", event.name(), self.of(event))?;
            }
            write!(text, ", \"cycles\": {:.0}", self.cycles())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(Event, u64)]) -> Counts {
        let mut counts = Counts::NONE;
        for &(event, count) in of {
            counts.0[event as usize] = count;
        }
        counts
    }

    #[test]
    fn cycles_are_a_weighted_sum() {
        let events = counts(&[
            (Event::Instruction, 2000),
            (Event::Gich, 20),
            (Event::Exception, 10),
        ]);
        let cost = Cost::new(200, &events, 10);
        assert_eq!(cost.cycles(), 200.0 + 2.0 * 150.0 + 27.0);
    }

    #[test]
    fn a_difference_is_not_negative() {
        let more = Cost::new(50, &counts(&[(Event::Instruction, 50)]), 1);
        let less = Cost::new(60, &counts(&[(Event::Instruction, 10), (Event::Dmb, 1)]), 1);
        let above = more.above(&less);
        assert_eq!(above.instructions, 0);
        assert_eq!(above.of(Event::Instruction), 40.0);
        assert_eq!(above.of(Event::Dmb), 0.0);
    }

    #[test]
    fn json_has_the_events_if_they_were_counted() {
        let json = |events: &Counts| {
            let mut text = String::new();
            Cost::new(5, events, 1).write_json(&mut text).unwrap();
            text
        };
        assert_eq!(json(&Counts::NONE), "\"cost\": 5");
        let counted = json(&counts(&[(Event::Instruction, 7), (Event::Dmb, 1)]));
        assert!(counted.starts_with("\"cost\": 5, \"instructions\": 7.00, "));
        assert!(counted.ends_with(", \"cycles\": 22"));
    }
}
