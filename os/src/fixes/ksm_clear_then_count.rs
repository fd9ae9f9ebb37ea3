//! Merging clears the entry and flushes before it compares counts: no lockless pin can come through
//! the entry any more, and one that did is counted by then. Unequal counts put the entry back.
//!
//! Who: Andrea Arcangeli, linux-mm 2009-03-11 19:59 and 2009-03-16 13:56, as merging (KSM) did it
//! then and does since 2.6.32; row B41. Breaks: where a flush does not wait for CPUs that have
//! interrupts off. Costs: a flush even of pages that are pinned. The term for the swap cache needs
//! the page lock.

use crate::patch::{MergeRule, Patch};

pub struct KsmClearThenCount;

impl Patch for KsmClearThenCount {
    fn name(&self) -> &'static str {
        "ksm-clear-then-count"
    }

    fn about(&self) -> &'static str {
        "merging clears and flushes an entry, then leaves the page alone if it has foreign references"
    }

    fn merge_rule(&self) -> Option<MergeRule> {
        Some(MergeRule::ClearThenCount)
    }
}
