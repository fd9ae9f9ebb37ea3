//! How a run ends: one value, never a panic.

use std::fmt;

use crate::Object;

/// Why a run stopped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Nothing was left to do.
    Finished,
    /// Nobody could go on, and somebody wanted to.
    Deadlock(Vec<Waiting>),
    /// Actors repeat themselves without progress.
    Livelock(Vec<crate::ActorId>),
    /// The bound on the number of steps was reached.
    StepsExhausted,
    /// A chooser asked for a step that the machine could not make (a replay of something else).
    Diverged(String),
    /// The step asked for was reached.
    Reached,
}

/// Somebody who waits, in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// Who.
    pub who: String,
    /// What for, and who holds it.
    pub what: String,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} waits for {}", self.who, self.what)
    }
}

/// What an oracle found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The oracle's stable id (`dma-target`, `shadow-memory`, ...).
    pub oracle: &'static str,
    /// The verdict word (`CORRUPT`, `STALETLB`, ...).
    pub word: &'static str,
    /// One sentence that names both sides.
    pub message: String,
    /// The step at which it was found.
    pub step: u64,
    /// The clock then, in cycles.
    pub cycle: u64,
    /// The objects whose steps tell the story; a diagram shows those.
    pub focus: Vec<Object>,
    /// The earliest step of the story.
    pub since: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}) at step {}: {}",
            self.word, self.oracle, self.step, self.message
        )
    }
}
