// SPDX-License-Identifier: GPL-2.0

//! No code: this crate's dependencies are the third-party crates of the module.
//!
//! Kbuild builds the module, and knows nothing of registries. So Cargo learns the crates here,
//! `Cargo.lock` pins them, and `tools/vendor` puts their sources where Kbuild looks.

#![no_std]
