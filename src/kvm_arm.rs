// SPDX-License-Identifier: GPL-2.0

//! KVM for 32-bit Arm.

use kernel::prelude::*;

module! {
    type: KvmArm,
    name: "kvm_arm",
    authors: ["The kvm_arm developers"],
    description: "KVM for 32-bit Arm",
    license: "GPL",
}

struct KvmArm;

impl kernel::Module for KvmArm {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(KvmArm)
    }
}
