//! Every caller that pins shares the fork semaphore from before the pin to the last unpin, also
//! `vmsplice` and registrations.
//!
//! Who: Linus Torvalds, linux-mm 2009-03-16; row B34. Breaks: the reverse race (conceded). Costs: who
//! keeps pins keeps fork waiting: the peer of a pipe, a device.

use crate::patch::{Decision, ForkLock, Patch};

pub struct PinsHoldForkLock;

impl Patch for PinsHoldForkLock {
    fn name(&self) -> &'static str {
        "pins-hold-fork-lock"
    }

    fn about(&self) -> &'static str {
        "whoever pins shares the fork semaphore until the pins are given back"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["dio-fork-sem"]
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::ForkLock]
    }

    fn fork_lock(&self) -> Option<ForkLock> {
        Some(ForkLock::Pins)
    }
}
