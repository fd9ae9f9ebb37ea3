//! A machine that was built once and runs many times.

use std::sync::Arc;

use emu::choose::ReplayChooser;
use emu::{Chooser, Record, Stop, Window};
use os::Kernel;

use crate::{Configuration, Report};

/// Steps between two ticks of whoever watches a long run.
const TICK: u64 = 5_000_000;

/// Runs that tell a chooser how long runs are.
const PROBES: u64 = 3;

/// Steps recorded at a time: some 100 MB of records.
const RECORDS: u64 = 1 << 19;

/// A prepared machine. Each run starts from the same state, whatever ran before.
pub struct Session<'w> {
    kernel: &'w Kernel<'w>,
    configuration: Arc<Configuration>,
    /// Whether the machine has the configuration's chooser already.
    chooser_set: bool,
}

impl<'w> Session<'w> {
    pub(crate) fn new(kernel: &'w Kernel<'w>, configuration: Arc<Configuration>) -> Session<'w> {
        kernel.machine.limit_steps(configuration.max_steps);
        Session {
            kernel,
            configuration,
            chooser_set: false,
        }
    }

    /// The kernel, to look at between runs.
    pub fn kernel(&self) -> &'w Kernel<'w> {
        self.kernel
    }

    /// One run with this seed.
    pub fn run(&mut self, seed: u64) -> Report {
        self.run_watched(seed, &mut |_| {})
    }

    /// The same; `tick` is told the number of steps every few millions.
    pub fn run_watched(&mut self, seed: u64, tick: &mut dyn FnMut(u64)) -> Report {
        self.begin(seed);
        let stop = self.go_on(tick);
        self.end(seed, stop)
    }

    /// One run, which is looked at on the machine: nothing is put together for a report.
    pub(crate) fn run_only(&mut self, seed: u64) -> Stop {
        self.begin(seed);
        let stop = self.kernel.machine.run();
        self.judge(&stop);
        stop
    }

    /// What is judged only at the end of a run.
    pub(crate) fn judge(&self, stop: &Stop) {
        self.kernel.finish(stop);
        if *stop != Stop::Finished {
            return;
        }
        for budget in &self.configuration.budgets {
            if let Some(message) = budget.exceeded(&self.kernel.counters()) {
                let machine = &self.kernel.machine;
                machine.violate("cost", "COST", message, Vec::new(), machine.steps());
            }
        }
    }

    /// Back to the prepared state, with this chooser instead of the configuration's.
    pub(crate) fn begin_with(&mut self, chooser: Option<Box<dyn Chooser>>, seed: u64) {
        self.chooser_set = false;
        self.kernel.machine.set_chooser(chooser);
        self.kernel.begin(seed);
    }

    /// Back to the prepared state, before the first step of a run.
    pub(crate) fn begin(&mut self, seed: u64) {
        if !self.chooser_set {
            let chooser = self.chooser(seed);
            self.kernel.machine.set_chooser(chooser);
            self.chooser_set = true;
        }
        // A reset gives the seed to the chooser, too.
        self.kernel.begin(seed);
    }

    fn chooser(&mut self, seed: u64) -> Option<Box<dyn Chooser>> {
        if let Some(saved) = &self.configuration.saved {
            return Some(Box::new(ReplayChooser::new(
                saved.segments.clone(),
                saved.steps,
                self.configuration.keeps_time(),
            )));
        }
        let mut chooser = self.configuration.chooser.make(seed)?;
        if chooser.wants_length() {
            chooser.expect(self.probe(seed));
        }
        Some(chooser)
    }

    /// Steps of the longest of a few runs, which are the same whatever is asked for afterwards.
    fn probe(&mut self, seed: u64) -> u64 {
        let machine = &self.kernel.machine;
        machine.set_chooser(self.configuration.chooser.make(seed));
        let steps = (0..PROBES).map(|probe| {
            self.kernel.begin(probe);
            machine.run();
            machine.steps()
        });
        steps.max().unwrap_or(0)
    }

    /// On to the end of the run.
    pub(crate) fn go_on(&mut self, tick: &mut dyn FnMut(u64)) -> Stop {
        loop {
            let target = self.kernel.machine.steps().saturating_add(TICK);
            if let Some(stop) = self.go_to(target) {
                return stop;
            }
            tick(self.kernel.machine.steps());
        }
    }

    /// On until `step` has been taken; `Some` if the run ended before.
    pub(crate) fn go_to(&mut self, step: u64) -> Option<Stop> {
        let machine = &self.kernel.machine;
        if machine.steps() >= step {
            return None;
        }
        machine.pause_at(step);
        let stop = machine.run();
        machine.pause_at(u64::MAX);
        (stop != Stop::Reached).then_some(stop)
    }

    /// The oracles' last look, and the report.
    pub(crate) fn end(&mut self, seed: u64, stop: Stop) -> Report {
        self.judge(&stop);
        let machine = &self.kernel.machine;
        Report {
            configuration: Arc::clone(&self.configuration),
            seed,
            stop,
            violations: machine.violations().clone(),
            warnings: machine.warnings().clone(),
            stdout: self.kernel.console().clone(),
            exit: self.kernel.exit_status(),
            steps: machine.steps(),
            cycles: machine.now(),
            digest: machine.digest(),
            counters: self.kernel.counters(),
        }
    }

    /// Runs again and hands over each step of the window, in order. A window that is larger than
    /// what is recorded at a time takes several runs; they are all the same.
    pub(crate) fn each_record<E>(
        &mut self,
        seed: u64,
        window: Window,
        take: impl FnMut(&Kernel<'w>, &Record) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each_record_by(RECORDS, seed, window, take)
    }

    fn each_record_by<E>(
        &mut self,
        at_a_time: u64,
        seed: u64,
        window: Window,
        mut take: impl FnMut(&Kernel<'w>, &Record) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut from = window.from;
        while from <= window.to {
            let to = window.to.min(from.saturating_add(at_a_time - 1));
            self.begin(seed);
            self.kernel.machine.record(Window { from, to });
            let ended = self.go_to(to).is_some();
            for record in self.kernel.machine.records().iter() {
                take(self.kernel, record)?;
            }
            if ended || to == u64::MAX {
                break;
            }
            from = to + 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Run;

    fn forkscrew(chooser: &str) -> Run {
        Run::of("forkscrew")
            .and_then(|it| it.chooser(chooser))
            .expect("known names")
    }

    #[test]
    fn a_run_in_many_pieces_is_the_same_run() {
        for chooser in ["timed", "random"] {
            let whole = forkscrew(chooser).seed(9).run().expect("it can be built");
            let pieces = forkscrew(chooser).session(|session| {
                session.begin(9);
                let mut target = 0;
                let stop = loop {
                    target += 7;
                    if let Some(stop) = session.go_to(target) {
                        break stop;
                    }
                };
                session.end(9, stop)
            });
            let pieces = pieces.expect("it can be built");
            assert_eq!(
                (pieces.digest, pieces.steps),
                (whole.digest, whole.steps),
                "{chooser}"
            );
            assert_eq!(pieces.words(), whole.words(), "{chooser}");
        }
    }

    #[test]
    fn what_ran_before_in_a_session_does_not_matter() {
        let alone = forkscrew("timed").seed(5).run().expect("it can be built");
        let after = forkscrew("timed").session(|session| {
            session.run(4);
            session.run(5)
        });
        let after = after.expect("it can be built");
        assert_eq!(after.digest, alone.digest);
        assert_eq!(after.violations, alone.violations);
        assert_eq!(after.stdout, alone.stdout);
    }

    #[test]
    fn each_step_is_handed_over_once_and_in_order() {
        let run = forkscrew("timed");
        let steps = run.run().expect("it can be built").steps;
        let seen = run.session(|session| {
            let mut seen = Vec::new();
            let all = Window {
                from: 1,
                to: u64::MAX,
            };
            let Ok(()) =
                session.each_record_by::<std::convert::Infallible>(100, 1, all, |_, it| {
                    seen.push(it.step);
                    Ok(())
                });
            seen
        });
        assert_eq!(
            seen.expect("it can be built"),
            (1..=steps).collect::<Vec<_>>()
        );
    }
}
