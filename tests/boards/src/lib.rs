// SPDX-License-Identifier: GPL-2.0

//! Boards, as their device trees describe them. The test of this crate holds the table of
//! `Documentation/boards.md` against the trees.

pub mod host;
pub mod tree;
