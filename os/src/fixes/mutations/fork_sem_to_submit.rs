//! Direct I/O gives the semaphore between pins and fork back when its transfers are queued, whoever
//! waits for them. Guards B31 and B50.

use crate::patch::{ForkLock, Patch};

pub struct ForkSemToSubmit;

impl Patch for ForkSemToSubmit {
    fn name(&self) -> &'static str {
        "fork-sem-to-submit"
    }

    fn about(&self) -> &'static str {
        "direct I/O lets fork in as soon as its transfers are queued"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["dio-fork-sem"]
    }

    fn fork_lock(&self) -> Option<ForkLock> {
        Some(ForkLock::Submit)
    }
}
