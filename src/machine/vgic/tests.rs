// SPDX-License-Identifier: GPL-2.0

//! Tests of the interrupt controller as a whole.
