// SPDX-License-Identifier: GPL-2.0

//! A process whose threads call KVM at random: one round.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use kvm::Kvm;

use crate::caller::{Caller, Scene};
use crate::calls::CALLS;
use crate::files::{Files, Kind};
use crate::layout::{self, map_anonymous, GUEST, GUEST_SIZE, RUN_PAGES, RUN_SIZE, THREADS};
use crate::random::Random;
use crate::shared::Shared;
use crate::waker::{be_urgent, catch_signals, wake_all};

/// The settings of a round.
#[derive(Clone, Copy)]
pub(crate) struct Round {
    pub(crate) seed: u64,
    pub(crate) number: u32,
    pub(crate) threads: usize,
    pub(crate) steps: u32,
}

impl Round {
    /// The number from which all of the round follows.
    pub(crate) fn key(&self) -> u64 {
        Random::of(&[self.seed, self.number.into()]).long()
    }
}

/// The ids of all registers of a vCPU here.
fn registers() -> io::Result<Vec<u64>> {
    let kvm = Kvm::open()?;
    let vm = kvm.create_vm()?;
    let vcpu = vm.create_vcpu(0, kvm.vcpu_mmap_size()?)?;
    vcpu.init(&vm.preferred_target()?)?;
    vcpu.reg_list()
}

fn scene(shared: &'static Shared) -> io::Result<Scene> {
    let all = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: A new file.
    let memory_file = unsafe { libc::memfd_create(c"guest".as_ptr(), libc::MFD_CLOEXEC) };
    // SAFETY: It is ours.
    if memory_file < 0 || unsafe { libc::ftruncate(memory_file, GUEST_SIZE as _) } != 0 {
        return Err(io::Error::last_os_error());
    }
    map_anonymous(GUEST, GUEST_SIZE, all)?;
    let half = GUEST_SIZE / 2;
    layout::map(GUEST + half, half, all, libc::MAP_SHARED, memory_file)?;
    let run_pages = RUN_SIZE * crate::files::EACH;
    map_anonymous(RUN_PAGES, run_pages, all)?;
    let chances = CALLS.iter().enumerate();
    let chances = chances.flat_map(|(n, call)| std::iter::repeat_n(n, call.weight));
    Ok(Scene {
        shared,
        files: Files::new(),
        registers: registers()?,
        threads: [const { AtomicI32::new(0) }; THREADS],
        memory_file,
        chances: chances.collect(),
    })
}

/// Wakes threads that are in KVM_RUN, and collects children, until all threads have ended.
fn keep_awake(scene: &Scene, running: &AtomicI32) -> Result<(), String> {
    let mut random = Random::of(&[1]);
    while running.load(Ordering::Relaxed) > 0 {
        wake_all(scene.shared, &scene.threads, &mut random);
        let mut status = 0;
        // SAFETY: The kernel writes one number.
        while unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } > 0 {
            if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) != 0 {
                return Err("a child could run a vCPU of its parent".into());
            }
        }
    }
    Ok(())
}

/// Whether a round ends by SIGKILL, which the process sends to itself.
pub(crate) fn ends_by_signal(round: Round) -> bool {
    round.number % 4 == 3
}

/// Plays a round. The process ends with it.
pub(crate) fn play(shared: &'static Shared, round: Round) -> Result<(), String> {
    catch_signals();
    let scene = scene(shared).map_err(|e| format!("the memory of a round: {e}"))?;
    let running = AtomicI32::new(round.threads as i32);
    let key = round.key();
    thread::scope(|scope| {
        let start = |n| {
            let (scene, running) = (&scene, &running);
            scope.spawn(move || {
                let result = Caller::new(scene, n)
                    .map_err(|e| format!("the memory of a thread: {e}"))
                    .and_then(|mut caller| caller.run(key, round.steps));
                if result.is_err() {
                    scene.shared.stop.store(1, Ordering::Relaxed);
                }
                running.fetch_sub(1, Ordering::Relaxed);
                result
            })
        };
        let threads: Vec<_> = (0..round.threads).map(start).collect();
        be_urgent();
        let mut random = Random::of(&[2]);
        // Some rounds end by a signal, while vCPUs run.
        if ends_by_signal(round) {
            let half = round.steps / 2;
            while shared.now[0].step.load(Ordering::Relaxed) < half
                && running.load(Ordering::Relaxed) == round.threads as i32
            {
                wake_all(shared, &scene.threads, &mut random);
            }
            if running.load(Ordering::Relaxed) == round.threads as i32 {
                // SAFETY: It is this process.
                unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            }
        }
        let awake = keep_awake(&scene, &running);
        let results = threads.into_iter().map(|thread| thread.join());
        let failed = results.filter_map(|result| match result {
            Ok(result) => result.err(),
            Err(_) => Some("a thread has panicked".into()),
        });
        let failed: Vec<String> = failed.chain(awake.err()).collect();
        if failed.is_empty() {
            Ok(())
        } else {
            Err(failed.join("; "))
        }
    })?;
    // Some rounds close their files in order, the others leave that to the kernel.
    if round.number % 2 == 0 {
        for kind in [
            Kind::Vm,
            Kind::Vgic,
            Kind::Vcpu,
            Kind::VmStats,
            Kind::VcpuStats,
        ] {
            for place in 0..crate::files::EACH {
                scene.files.put(kind, place, -1);
            }
        }
    }
    Ok(())
}
