//! Choosers: who goes next. One file each, listed in [`CHOOSERS`].

mod random;
mod replay;
mod timed;

use crate::{Access, ActorId, Object, Request};

pub use random::RandomChooser;
pub use replay::ReplayChooser;
pub use timed::Timed;

/// A way to explore: what a chooser's name on the command line makes.
pub struct ChooserKind {
    /// Its name.
    pub name: &'static str,
    /// One line on it.
    pub about: &'static str,
    /// Makes one for a seed; `None` leaves the choice to simulated time.
    pub make: fn(seed: u64) -> Option<Box<dyn Chooser>>,
}

/// The choosers there are.
pub const CHOOSERS: &[ChooserKind] = &[
    ChooserKind {
        name: "timed",
        about: "simulated time decides, with seeded jitter: the realistic one",
        make: |_| None,
    },
    ChooserKind {
        name: "random",
        about: "ignores time and picks evenly among those that can go on",
        make: |seed| Some(Box::new(RandomChooser::new(seed))),
    },
];

/// The choice before the machine.
pub struct Choice<'a> {
    /// The number of the step that will be taken.
    pub step: u64,
    /// Who took the last one.
    pub last: Option<ActorId>,
    /// Who can go on, in a fixed order; never empty.
    pub enabled: &'a [(ActorId, Request)],
    /// What the last step touched, if the chooser [tracks](Chooser::tracks) that.
    pub touched: &'a [(Object, Access)],
}

/// How a run came out, for a chooser.
pub struct End<'a> {
    /// The steps taken.
    pub steps: u64,
    /// What the last step touched.
    pub touched: &'a [(Object, Access)],
    /// Who still wanted something, and did not get it.
    pub pending: &'a [(ActorId, Request)],
}

/// Picks who goes next. The whole extension point for exploration.
pub trait Chooser {
    /// One of `choice.enabled`, or why none of them will do.
    fn choose(&mut self, choice: &Choice<'_>) -> Result<ActorId, String>;

    /// Forgets the last run and starts on another with this seed.
    fn reseed(&mut self, seed: u64);

    /// Whether it wants to be told of each step ([`Chooser::taken`]).
    fn watches(&self) -> bool {
        self.keeps_time()
    }

    /// Told of each step taken, if it [watches](Chooser::watches), with the digest after it.
    fn taken(&mut self, _step: u64, _actor: ActorId, _digest: crate::Digest) -> Result<(), String> {
        Ok(())
    }

    /// Told when the run ends by itself; an error says what should still have come.
    fn ended(&mut self, _end: &End<'_>) -> Result<(), String> {
        Ok(())
    }

    /// Whether it wants to know what steps touch ([`Choice::touched`]).
    fn tracks(&self) -> bool {
        false
    }

    /// Whether simulated time goes on deciding what is enabled (a replay of a timed run).
    fn keeps_time(&self) -> bool {
        false
    }
}
