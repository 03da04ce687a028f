// SPDX-License-Identifier: GPL-2.0

//! Nodes of the device tree: the addresses of their registers, their interrupts and properties.

use core::ptr::NonNull;

use armv7::addr::Pa;
use kernel::{
    bindings,
    str::{
        CStr,
        CStrExt, //
    }, //
};
use kvm_bindings as glue;

use super::safe;

/// A referenced node.
///
/// # Invariants
///
/// The pointer is valid, and the value holds a reference.
pub(crate) struct Node(NonNull<bindings::device_node>);

/// An interrupt that a node names.
#[derive(Clone, Copy)]
pub(crate) struct Interrupt {
    /// The kernel's number for it.
    pub(crate) irq: u32,
    /// The number that the interrupt controller knows (a GIC INTID).
    pub(crate) hwirq: u32,
}

impl Node {
    /// Finds the first node that is compatible with `compatible`.
    pub(crate) fn find(compatible: &CStr) -> Option<Self> {
        // SAFETY: Null pointers are allowed. They stand for the root and for any type.
        let node = unsafe {
            bindings::of_find_compatible_node(
                core::ptr::null_mut(),
                core::ptr::null(),
                compatible.as_char_ptr(),
            )
        };
        // INVARIANT: The callee took the reference.
        NonNull::new(node).map(Self)
    }

    /// The physical address and the size of register window `index`.
    pub(crate) fn registers(&self, index: u32) -> Option<(Pa, u64)> {
        let mut resource = bindings::resource::default();
        // SAFETY: The node is valid, and the callee writes to the resource.
        let ret = unsafe {
            glue::of_address_to_resource(
                self.0.as_ptr().cast(),
                index as kernel::ffi::c_int,
                (&raw mut resource).cast(),
            )
        };
        if ret != 0 {
            return None;
        }
        let start = resource.start;
        Some((Pa(start), resource.end - start + 1))
    }

    /// Interrupt `index`.
    pub(crate) fn interrupt(&self, index: u32) -> Option<Interrupt> {
        // SAFETY: The node is valid, by the type's invariant.
        let irq = unsafe { glue::of_irq_get(self.0.as_ptr().cast(), index as kernel::ffi::c_int) };
        let irq = u32::try_from(irq).ok().filter(|&irq| irq != 0)?;
        let hwirq = safe::kvm_arm_irq_to_hwirq(irq);
        Some(Interrupt { irq, hwirq })
    }

    /// The first cell of the property `name`.
    pub(crate) fn cell(&self, name: &CStr) -> Option<u32> {
        let mut value = 0;
        // SAFETY: The node is valid, and the callee writes one integer at most.
        let read = unsafe {
            glue::of_property_read_variable_u32_array(
                self.0.as_ptr().cast(),
                name.as_char_ptr(),
                &mut value,
                1,
                1,
            )
        };
        // The callee tells how many it has written, or an error.
        (read == 1).then_some(value)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SAFETY: This value holds a reference, by the type's invariant.
        unsafe { glue::kvm_arm_of_node_put(self.0.as_ptr()) };
    }
}
