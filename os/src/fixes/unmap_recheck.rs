//! Reclaim clears and flushes an entry, which waits for lockless pins, then compares the page's
//! count with its mappings, the swap cache and itself, and puts the entry back when somebody else
//! has a reference.
//!
//! Who: the order of same-page merging (row B41), applied to reclaim; what B40 lacks. Breaks:
//! nothing known where a flush waits for interrupts. Costs: a flush for each page that stays.

use crate::patch::{Decision, Patch, UnmapRule};

pub struct UnmapRecheck;

impl Patch for UnmapRecheck {
    fn name(&self) -> &'static str {
        "unmap-recheck"
    }

    fn about(&self) -> &'static str {
        "reclaim clears and flushes an entry, then looks for references"
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::Unmapping]
    }

    fn unmap_rule(&self) -> Option<UnmapRule> {
        Some(UnmapRule::ClearThenCount)
    }
}
