// SPDX-License-Identifier: GPL-2.0

//! No code: this crate's dependencies are the third-party crates of the module.
//!
//! The module itself is built by Kbuild, which knows nothing of registries. So Cargo is told here
//! what it needs, `Cargo.lock` pins it, and `tools/vendor` puts the sources where Kbuild looks.

#![no_std]
