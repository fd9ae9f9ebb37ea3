//! Exploration: every interleaving of a small program, or every one with few preemptions.
//!
//! A search is a sequence of *rounds*. Between rounds it is a list of items, each the stack of a
//! depth-first search below a prefix of choices. In a round every item makes so many schedules,
//! on whichever worker is free; then the results are put together in the order of the items, and
//! the longest ones are split. Nothing here depends on how many workers there are or how fast
//! they were, and the state between two rounds is the checkpoint.
//!
//! What a search rests on: two steps are independent unless they are of one CPU or share an
//! object that one of them writes. A step announces its object, and says with
//! [`Machine::touch`](crate::Machine::touch) what else it or an oracle looks at.

mod contrast;
mod dfs;
mod item;
mod lanes;
mod merge;
mod schedule;
mod search;
mod shrink;
mod table;
mod trace;
mod visited;

pub use contrast::{Contrast, contrast};
pub use schedule::{Follow, Schedule};
pub use search::{Found, Progress, Search, first_schedule};
pub use shrink::{Shrunk, shrink};

use crate::{Chooser, Digest, Violation};

/// Something that can be run again and again from one prepared state.
pub trait Program: Sync {
    /// CPUs of its machine.
    fn cpus(&self) -> u16;

    /// Gives a worker a machine of its own, for the time of `work`.
    fn on_worker(&self, work: &mut dyn FnMut(&mut dyn Runner));
}

/// A machine that can be run.
pub trait Runner {
    /// One run from the prepared state, with this chooser.
    fn run(&mut self, chooser: Box<dyn Chooser>) -> Outcome;
}

/// How a run came out.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The first violation; none for a clean run.
    pub violation: Option<Violation>,
    /// Words of the violations that came with the first, at its step.
    pub words: Vec<&'static str>,
    /// Steps taken.
    pub steps: u64,
    /// Whether it came to its end: not given up, not refused.
    pub whole: bool,
    /// The digest of its steps.
    pub digest: Digest,
    /// A hash of the final state, for comparing searches; 0 if nobody needs it.
    pub state: u64,
}

/// How a search leaves out schedules that show nothing new.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// Not at all.
    None,
    /// Dynamic partial-order reduction and sleep sets.
    Dpor,
    /// Merging of states.
    Merge,
}
