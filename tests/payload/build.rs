// SPDX-License-Identifier: GPL-2.0

//! Links the payload for its place in the guest's memory.

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=payload.ld");
    if var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("arm") {
        let directory = var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        for argument in ["-nostartfiles", "-nostdlib", "-Wl,--build-id=none"] {
            println!("cargo::rustc-link-arg={argument}");
        }
        println!("cargo::rustc-link-arg=-T{directory}/payload.ld");
    }
}
