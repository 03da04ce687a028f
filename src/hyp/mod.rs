// SPDX-License-Identifier: GPL-2.0

//! HYP mode: taking it over, what is mapped in it, and entering guests by it.

pub(crate) mod answer;
pub(crate) mod call;
pub(crate) mod context;
pub(crate) mod cpu;
pub(crate) mod flush;
pub(crate) mod id_register;
pub(crate) mod page_table;
pub(crate) mod register;
pub(crate) mod relay;
pub(crate) mod shared;
pub(crate) mod takeover;
