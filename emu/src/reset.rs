//! Preparing a machine for another run: a reset to a remembered state, not a rebuild.

use devices::InterruptController;

use crate::lock::LockTable;
use crate::machine::ContextState;
use crate::trace::Digest;
use crate::{Chooser, Machine, rng};

impl Machine<'_> {
    /// The present state of memory, TLBs and disk is the one that [`Machine::reset`] returns to.
    pub fn remember(&self) {
        self.memory.borrow_mut().remember();
        self.disk.borrow_mut().remember();
        for cpu in &self.cpus {
            cpu.tlb.borrow_mut().remember();
            cpu.walk_cache.borrow_mut().remember();
        }
        self.locks.borrow_mut().remember();
    }

    /// Back to the remembered state, for a run with this seed and chooser. The guest puts back
    /// what is its own: threads, locks, root tables.
    pub fn reset(&self, seed: u64) {
        self.tear_down();
        self.memory.borrow_mut().reset();
        let disk_used = self.disk_used.replace(false);
        let devices_used = disk_used || self.size.store_buffers;
        if disk_used {
            self.disk.borrow_mut().reset();
            self.dma.borrow_mut().clear();
            self.head.set(None);
            self.disk_queue.borrow_mut().clear();
        }
        if devices_used {
            self.transfer_contexts.iter().for_each(ContextState::clear);
        }
        for cpu in &self.cpus {
            cpu.tlb.borrow_mut().reset();
            cpu.walk_cache.borrow_mut().reset();
            cpu.handler_depth.set(0);
            cpu.declared.set(false);
            cpu.running.set(None);
            cpu.leave.set(None);
            cpu.irqs_enabled.set(true);
            cpu.need_resched.set(false);
            cpu.woken.set(false);
            cpu.idle_context.clear();
            cpu.interrupts.put_back(|controller| {
                controller.clone_from(&InterruptController::new());
                cpu.handler_contexts.iter().for_each(ContextState::clear);
            });
        }
        let made = self.threads_made.replace(0);
        for thread in &self.threads.borrow()[..made] {
            thread.alive.set(false);
        }
        self.free_threads.borrow_mut().clear();
        self.locks.put_back(LockTable::reset);
        self.counters.borrow_mut().fill(0);
        self.violations.borrow_mut().clear();
        self.warnings.borrow_mut().clear();
        self.reset_engine(seed, devices_used);
    }

    fn reset_engine(&self, seed: u64, devices_used: bool) {
        let engine = &self.engine;
        engine.chosen.set(None);
        engine.last.set(None);
        engine.granted.set(false);
        engine.clock.set(0);
        engine.steps.set(0);
        engine.digest.set(Digest::new());
        engine.records.borrow_mut().clear();
        engine.footprint.borrow_mut().clear();
        if let Some(recorder) = engine.recorder.borrow_mut().as_mut() {
            *recorder = Default::default();
        }
        let (cpus, devices) = engine.times.split_at(2 * self.cpus.len());
        cpus.iter().for_each(|time| time.set(0));
        if devices_used {
            devices.iter().for_each(|time| time.set(0));
        }
        self.for_each_marked(|slot| engine.announced[slot].set(None));
        for word in &engine.marks {
            word.marked.set(0);
            word.ready.set(0);
            word.ask.set(0);
        }
        engine.stale.set(true);
        engine.run.set(engine.run.get().wrapping_add(1));
        if engine.keeps_time.get() {
            engine.timed.reset(seed);
            engine
                .idle_rng
                .replace(rng::stream(seed, rng::Purpose::Idle));
            engine
                .spinner_rng
                .replace(rng::stream(seed, rng::Purpose::Spinner));
        }
        engine.seed.set(seed);
        let (mut lead, mut chooser) = (engine.lead.borrow_mut(), engine.chooser.borrow_mut());
        lead.clear();
        if let Some(chooser) = chooser.as_mut() {
            chooser.reseed(seed);
            chooser.lead(&mut lead);
        }
        engine.led.set(0);
        engine.lead_len.set(lead.len());
        engine.tracking.set(engine.tracks.get() && lead.is_empty());
    }

    /// Looks at each step only if somebody wants to know of it.
    pub(crate) fn set_watching(&self) {
        let engine = &self.engine;
        let chooser = engine
            .chooser
            .borrow()
            .as_ref()
            .is_some_and(|it| it.watches());
        let recorder = engine.recorder.borrow().is_some();
        let chooser_of = engine.chooser.borrow();
        let tracks = chooser_of.as_ref().is_some_and(|it| it.tracks());
        engine.tracks.set(tracks);
        engine.tracking.set(tracks);
        drop(chooser_of);
        engine
            .watching
            .set(chooser || recorder || engine.recording.get());
    }

    /// Who chooses: simulated time (`None`), or a chooser. Before a reset.
    pub fn set_chooser(&self, chooser: Option<Box<dyn Chooser>>) {
        let engine = &self.engine;
        let keeps_time = chooser.as_ref().is_none_or(|it| it.keeps_time());
        engine.time_decides.set(chooser.is_none());
        engine.keeps_time.set(keeps_time);
        *engine.chooser.borrow_mut() = chooser;
        self.set_watching();
    }
}
