//! The semaphore is released by whoever completes the request, the interrupt included.
//!
//! Who: KOSAKI Motohiro, linux-mm 2009-03-22, second version; half of row B50. Breaks: the reverse
//! race; other users of pins. Costs: fork waits for the disk and cannot be killed.

use crate::patch::{Decision, ForkLock, Patch};

pub struct DioForkSemToEnd;

impl Patch for DioForkSemToEnd {
    fn name(&self) -> &'static str {
        "dio-fork-sem-to-end"
    }

    fn about(&self) -> &'static str {
        "the fork semaphore is held, by nobody in particular, until the request is over"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["dio-fork-sem"]
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::ForkLock]
    }

    fn fork_lock(&self) -> Option<ForkLock> {
        Some(ForkLock::Io)
    }
}
