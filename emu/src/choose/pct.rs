//! `pct:DEPTH(seed)`: probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatte:
//! A randomized scheduler with probabilistic guarantees of finding bugs, ASPLOS 2010).
//!
//! Each actor (a CPU, the interrupt side of a CPU, a transfer of the disk) has a random priority,
//! and the highest that can go on does. At DEPTH - 1 steps, drawn over the length of a run, the
//! one that would go falls below everybody. With `n` actors and runs of `k` steps, a bug that takes
//! DEPTH steps in one order shows with a probability of at least 1 / (n k^(DEPTH - 1)).
//!
//! The length is that of the longest of a few probing runs with seeds of their own
//! ([`Chooser::expect`]), so what a seed means depends on the program and on nothing that ran before.
//! A run that goes on for much longer is one that polls: from there the choice is even, which
//! lets those it waits for come to their turn.

use super::{Argument, Choice, Chooser};
use crate::rng::{Choices, Purpose};
use crate::{ActorId, Role};

/// The argument.
pub(super) const DEPTH: Argument = Argument {
    name: "DEPTH",
    least: 1,
    most: 64,
    needed: true,
};

/// Priorities drawn have this bit, and those after a change point have not.
const DRAWN: u64 = 1 << 63;
/// Steps after which a run of unknown length is taken for one that polls.
const LONG: u64 = 1 << 16;

/// Random priorities that change now and then.
pub struct PctChooser {
    depth: u64,
    /// Steps of a run; 0 while nobody has said.
    length: u64,
    rng: Choices,
    /// By CPU, the interrupt side behind it; 0 for those not seen in this run.
    on_cpus: Vec<u64>,
    /// By slot of the DMA engine.
    devices: Vec<u64>,
    /// Steps at which the one that would go falls, and to which priority, the last first.
    changes: Vec<(u64, u64)>,
    /// After this step the choice is even.
    polls_after: u64,
}

impl PctChooser {
    /// A chooser for this seed; `depth` as in the paper, at least 1.
    pub fn new(seed: u64, depth: u64) -> PctChooser {
        let mut chooser = PctChooser {
            depth,
            length: 0,
            rng: Choices::new(seed, Purpose::Priority),
            on_cpus: Vec::new(),
            devices: Vec::new(),
            changes: Vec::new(),
            polls_after: LONG,
        };
        chooser.draw_changes();
        chooser
    }

    fn draw_changes(&mut self) {
        self.changes.clear();
        if self.length == 0 {
            return;
        }
        for priority in 1..self.depth {
            let step = 1 + self.rng.below(self.length);
            self.changes.push((step, priority));
        }
        self.changes.sort_unstable_by(|a, b| b.cmp(a));
    }

    fn place(&mut self, actor: ActorId) -> &mut u64 {
        let (all, at) = match actor.role() {
            Role::Device(slot) => (&mut self.devices, slot),
            _ => (&mut self.on_cpus, usize::from(actor.raw())),
        };
        if all.len() <= at {
            all.resize(at + 1, 0);
        }
        &mut all[at]
    }

    #[inline(never)]
    fn priority(&mut self, actor: ActorId) -> u64 {
        let priority = *self.place(actor);
        if priority != 0 {
            return priority;
        }
        let drawn = self.rng.next_u64() | DRAWN;
        *self.place(actor) = drawn;
        drawn
    }

    #[inline]
    fn highest(&mut self, enabled: &[ActorId]) -> ActorId {
        let mut highest = (0, enabled[0]);
        for actor in enabled {
            // Devices have greater numbers than any CPU.
            let priority = match self.on_cpus.get(usize::from(actor.raw())) {
                Some(&drawn) if drawn != 0 => drawn,
                _ => self.priority(*actor),
            };
            if priority > highest.0 {
                highest = (priority, *actor);
            }
        }
        highest.1
    }

    #[inline(never)]
    fn change(&mut self, step: u64, enabled: &[ActorId]) -> ActorId {
        let mut highest = self.highest(enabled);
        while let Some((_, priority)) = self.changes.pop_if(|it| it.0 <= step) {
            *self.place(highest) = priority;
            highest = self.highest(enabled);
        }
        highest
    }
}

impl Chooser for PctChooser {
    fn choose(&mut self, choice: &Choice<'_>) -> Result<ActorId, String> {
        if choice.step > self.polls_after {
            let at = self.rng.below(choice.enabled.len() as u64);
            return Ok(choice.enabled[at as usize]);
        }
        Ok(match self.changes.last() {
            Some(next) if next.0 <= choice.step => self.change(choice.step, choice.enabled),
            _ => self.highest(choice.enabled),
        })
    }

    fn reseed(&mut self, seed: u64) {
        self.rng = Choices::new(seed, Purpose::Priority);
        self.on_cpus.fill(0);
        self.devices.fill(0);
        self.draw_changes();
    }

    fn wants_length(&self) -> bool {
        true
    }

    fn expect(&mut self, steps: u64) {
        self.length = steps.clamp(1, 1 << 31);
        self.polls_after = steps.saturating_mul(4).saturating_add(10_000);
        self.draw_changes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Access, CpuId, Kind, Object, Request};

    const REQUEST: Request = Request::touch(Object::new(Kind::Zone, 0), Access::Update, 1);

    fn enabled(cpus: &[u16]) -> Vec<ActorId> {
        cpus.iter().map(|cpu| ActorId::cpu(CpuId(*cpu))).collect()
    }

    /// Who goes in `steps` steps, if all of these always can.
    fn run(chooser: &mut PctChooser, steps: u64, cpus: &[u16]) -> Vec<ActorId> {
        let enabled = enabled(cpus);
        let went = (1..=steps).map(|step| {
            let choice = Choice {
                step,
                last: None,
                enabled: &enabled,
                wants: &|_| REQUEST,
                touched: &[],
                interrupted: &[],
                masked: &[],
                violated: false,
            };
            chooser.choose(&choice).expect("somebody can go")
        });
        went.collect()
    }

    fn switches(went: &[ActorId]) -> usize {
        went.windows(2).filter(|it| it[0] != it[1]).count()
    }

    #[test]
    fn there_are_at_most_as_many_switches_as_change_points() {
        for depth in 1..6 {
            let mut chooser = PctChooser::new(0, depth);
            chooser.expect(100);
            let most = (0..200).map(|seed| {
                chooser.reseed(seed);
                switches(&run(&mut chooser, 100, &[0, 1, 2]))
            });
            let most = most.max().expect("some");
            assert!(most < depth as usize, "{most} switches at depth {depth}");
            assert!(depth == 1 || most > 0, "depth {depth} never switches");
        }
    }

    #[test]
    fn a_seed_is_a_schedule_whatever_ran_before() {
        let mut used = PctChooser::new(3, 4);
        used.expect(50);
        run(&mut used, 50, &[0, 1, 2, 3, 4]);
        used.reseed(9);
        let mut new = PctChooser::new(9, 4);
        new.expect(50);
        new.reseed(9);
        let cpus = [0, 1, 2];
        assert_eq!(run(&mut used, 50, &cpus), run(&mut new, 50, &cpus));
    }

    #[test]
    fn everybody_goes_first_about_equally_often() {
        let mut chooser = PctChooser::new(0, 1);
        let mut first = [0; 4];
        for seed in 0..4000 {
            chooser.reseed(seed);
            let went = run(&mut chooser, 1, &[0, 1, 2, 3]);
            first[usize::from(went[0].raw()) / 2] += 1;
        }
        assert!(first.iter().all(|it| (900..1100).contains(it)), "{first:?}");
    }

    #[test]
    fn a_run_that_polls_lets_the_others_go() {
        let mut chooser = PctChooser::new(1, 1);
        chooser.expect(10);
        let went = run(&mut chooser, 20_000, &[0, 1]);
        assert_eq!(switches(&went[..10_000]), 0);
        assert!(switches(&went) > 1000);
    }
}
