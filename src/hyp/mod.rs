// SPDX-License-Identifier: GPL-2.0

//! HYP mode: how it is taken over, the memory that is mapped in it, and the entry of guests.

pub(crate) mod answer;
pub(crate) mod call;
pub(crate) mod context;
pub(crate) mod cpu;
pub(crate) mod debug_registers;
pub(crate) mod distributor;
pub(crate) mod doorbell;
pub(crate) mod fault;
pub(crate) mod flush;
mod id_register;
pub(crate) mod identity;
pub(crate) mod lock;
pub(crate) mod page_table;
pub(crate) mod register;
pub(crate) mod relay;
pub(crate) mod shared;
pub(crate) mod table_entry;
pub(crate) mod takeover;
pub(crate) mod tlb;
