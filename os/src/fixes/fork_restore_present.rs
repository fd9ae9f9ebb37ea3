//! After a copy without locks, fork gives the write permission back only to an entry that is
//! present. It is an optimisation anyway: without it the next store takes a fault.
//!
//! Who: Andrea Arcangeli, vendor bug 471613 (comments 147 and 148); row A51. Breaks: nothing known;
//! the swap entry that it finds instead is shared, pin or no pin (fork over a swap entry). Costs: a
//! test.

use crate::patch::{Decision, ForkCopy, Patch};

pub struct ForkRestorePresent;

impl Patch for ForkRestorePresent {
    fn name(&self) -> &'static str {
        "fork-restore-present"
    }

    fn about(&self) -> &'static str {
        "fork gives the write permission back only to an entry that is present"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["fork-copy-unlocked"]
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::ForkCopying]
    }

    fn fork_copy(&self) -> Option<ForkCopy> {
        Some(ForkCopy::UnlockedIfPresent)
    }
}
