//! A pin, for reading or writing, first breaks copy-on-write and then marks the page, and fork gives
//! the child a copy of each marked page that it has just shared, with both page-table locks
//! dropped; that the child's entry is still as it was left is asserted. The lockless pin takes marked
//! pages only, and neither has a barrier nor looks again.
//!
//! Who: Nick Piggin, linux-mm, 2009-03-14 04:46 and 05:06; rows B13 and, for the lockless pin, B14.
//! Breaks: reclaim unmaps the child's page in between, and the assertion fails. Costs: a copy of every
//! page that was ever pinned, until it is freed; a minor fault for the parent's next store. Reduced:
//! there are no pages of files, for which the posted text wanted the mark too.

use crate::patch::{Decision, Decow, FastPin, Patch, PinMark, ReadPin};

pub struct DecowAtFork;

impl Patch for DecowAtFork {
    fn name(&self) -> &'static str {
        "decow-at-fork"
    }

    fn about(&self) -> &'static str {
        "pins own and mark their pages; fork replaces the child's share of one by a copy"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["fast-gup"]
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::ForkCopies]
    }

    fn pin_mark(&self) -> Option<PinMark> {
        Some(PinMark::Always)
    }

    fn read_pin(&self) -> Option<ReadPin> {
        Some(ReadPin::Own)
    }

    fn fast_pin(&self) -> Option<FastPin> {
        Some(FastPin::Marked)
    }

    fn fork_decow(&self) -> Option<Decow> {
        Some(Decow::Assert)
    }
}
