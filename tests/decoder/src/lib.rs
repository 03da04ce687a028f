// SPDX-License-Identifier: GPL-2.0

//! `armv7::insn` against an independent disassembler: see `tests/agreement.rs`.
