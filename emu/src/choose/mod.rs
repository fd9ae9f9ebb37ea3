//! Choosers: who goes next. One file each, listed in [`CHOOSERS`].

mod pct;
mod random;
mod replay;
mod timed;

use crate::{ActorId, Object, Request, Touch};

pub use pct::PctChooser;
pub use random::RandomChooser;
pub use replay::ReplayChooser;
pub use timed::Timed;

/// A way to explore: what a chooser's name on the command line makes.
#[derive(Clone, Copy)]
pub struct ChooserKind {
    /// Its name.
    pub name: &'static str,
    /// One line on it.
    pub about: &'static str,
    /// What may follow the name, after a colon.
    pub argument: Option<Argument>,
    /// Makes one.
    pub make: Make,
}

/// A number that follows a chooser's name: `pct:3`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Argument {
    /// What it is called.
    pub name: &'static str,
    /// The least it may be.
    pub least: u64,
    /// The most.
    pub most: u64,
    /// Whether the name alone says too little.
    pub needed: bool,
}

/// What decides.
#[derive(Clone, Copy)]
pub enum Make {
    /// Simulated time.
    Time,
    /// A chooser for a seed, and the [`Argument`] if one was given. A seed is a schedule.
    Chooser(fn(seed: u64, argument: Option<u64>) -> Box<dyn Chooser>),
    /// A search over all schedules, with at most so many preemptions if an argument was given:
    /// nothing for a single run.
    Search,
}

/// The choosers there are.
pub const CHOOSERS: &[ChooserKind] = &[
    ChooserKind {
        name: "timed",
        about: "simulated time decides, with seeded jitter: the realistic one",
        argument: None,
        make: Make::Time,
    },
    ChooserKind {
        name: "random",
        about: "ignores time and picks evenly among those that can go on",
        argument: None,
        make: Make::Chooser(|seed, _| Box::new(RandomChooser::new(seed))),
    },
    ChooserKind {
        name: "pct",
        about: "random priorities that change DEPTH - 1 times: finds what takes few ordered steps",
        argument: Some(pct::DEPTH),
        make: Make::Chooser(|seed, depth| {
            Box::new(PctChooser::new(seed, depth.unwrap_or(pct::DEPTH.least)))
        }),
    },
    ChooserKind {
        name: "exhaustive",
        about: "every interleaving, or each with at most so many preemptions; for `explore`",
        argument: Some(Argument {
            name: "PREEMPTIONS",
            least: 0,
            most: 1000,
            needed: false,
        }),
        make: Make::Search,
    },
];

/// The choice before the machine.
pub struct Choice<'a> {
    /// The number of the step that will be taken.
    pub step: u64,
    /// Who took the last one.
    pub last: Option<ActorId>,
    /// Who can go on, in a fixed order; never empty.
    pub enabled: &'a [ActorId],
    /// What one of them wants.
    pub wants: &'a dyn Fn(ActorId) -> Request,
    /// What the last step touched, if the chooser [tracks](Chooser::tracks) that.
    pub touched: &'a [(Object, Touch)],
    /// CPUs that could go on but for a handler on top of them or what is in their store buffer, if
    /// it tracks. Leaving them is a preemption all the same.
    pub interrupted: &'a [ActorId],
    /// Actors that their own CPU holds back: its interrupts are off, or a handler runs on it. If
    /// the chooser tracks.
    pub masked: &'a [ActorId],
    /// Whether an oracle has fired.
    pub violated: bool,
}

/// How a run came out, for a chooser.
pub struct End<'a> {
    /// The steps taken.
    pub steps: u64,
    /// What the last step touched.
    pub touched: &'a [(Object, Touch)],
    /// Who still wanted something, and did not get it.
    pub pending: &'a [(ActorId, Request)],
}

/// Picks who goes next. The whole extension point for exploration.
pub trait Chooser {
    /// One of `choice.enabled`, or why none of them will do.
    fn choose(&mut self, choice: &Choice<'_>) -> Result<ActorId, String>;

    /// Forgets the last run and starts on another with this seed.
    fn reseed(&mut self, seed: u64);

    /// Adds who goes in the first steps of the run that begins, as far as that is known: it is not
    /// asked about those, and they are not [tracked](Chooser::tracks).
    fn lead(&self, _all: &mut Vec<ActorId>) {}

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

    /// Whether it spreads what it does over a run, and wants to know how long one is.
    fn wants_length(&self) -> bool {
        false
    }

    /// Told how many steps a run takes, more or less, before the first that counts.
    fn expect(&mut self, _steps: u64) {}

    /// Whether simulated time goes on deciding what is enabled (a replay of a timed run).
    fn keeps_time(&self) -> bool {
        false
    }
}
