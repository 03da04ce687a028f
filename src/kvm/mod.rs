// SPDX-License-Identifier: GPL-2.0

//! KVM as user space sees it: `/dev/kvm`, virtual machines, vCPUs, devices.

pub(crate) mod abi;
pub(crate) mod bus;
pub(crate) mod capabilities;
pub(crate) mod coalesced;
pub(crate) mod debugfs;
pub(crate) mod devices;
pub(crate) mod exit;
pub(crate) mod firmware;
pub(crate) mod gic;
pub(crate) mod guest_debug;
mod guest_memory;
pub(crate) mod halt;
pub(crate) mod host;
pub(crate) mod irq_line;
pub(crate) mod irqfd;
mod kick_sgi;
pub(crate) mod lines;
mod loaded;
pub(crate) mod mmio;
pub(crate) mod next;
pub(crate) mod pending_mmio;
pub(crate) mod pmu;
pub(crate) mod registers;
pub(crate) mod reset;
pub(crate) mod run;
pub(crate) mod run_page;
pub(crate) mod running;
pub(crate) mod stats;
pub(crate) mod stats_file;
pub(crate) mod system;
pub(crate) mod timer;
pub(crate) mod vcpu;
pub(crate) mod vcpu_attributes;
pub(crate) mod vcpu_debug;
pub(crate) mod vcpu_events;
pub(crate) mod vcpu_file;
pub(crate) mod vcpu_state;
pub(crate) mod vcpus;
pub(crate) mod vfio_device;
pub(crate) mod vgic_device;
pub(crate) mod vm;
pub(crate) mod vm_file;
pub(crate) mod vm_firmware;
pub(crate) mod vm_gic;
pub(crate) mod vm_halt;
