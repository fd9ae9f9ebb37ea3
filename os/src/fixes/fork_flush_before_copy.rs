//! fork flushes a page from the TLBs of the parent's CPUs, and waits for all of them, after it took the
//! write access away and before it copies the page: no thread can store to it meanwhile.
//!
//! Who: Andrea Arcangeli, vendor bug 471613 (comments 28, 105 and 106); row A43. Breaks: nothing known;
//! no order between pages is promised. Costs: a round of interrupts for each page copied at fork.

use crate::patch::Patch;

pub struct ForkFlushBeforeCopy;

impl Patch for ForkFlushBeforeCopy {
    fn name(&self) -> &'static str {
        "fork-flush-before-copy"
    }

    fn about(&self) -> &'static str {
        "fork flushes a page from the parent's TLBs before it copies it"
    }

    fn fork_flushes_copied(&self) -> Option<bool> {
        Some(true)
    }
}
