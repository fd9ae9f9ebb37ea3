//! Reclaim compares a page's count with its mappings, the swap cache and itself before it clears an
//! entry, under the page-table lock, and keeps the entry when somebody else has a reference.
//!
//! Who: the rule of 2.6.7, brought back by Hugh Dickins and Andrea Arcangeli, vendor bug 471613
//! (comment 107) and linux-mm, 2009-03-16 18:28 and 2009-03-17 18:46; row B40. It allows the rule
//! of B35. Breaks: a lockless pin, which can come between the look and the clearing. Costs: two
//! looks for each entry.

use crate::patch::{Decision, Patch, UnmapRule};

pub struct UnmapCountFirst;

impl Patch for UnmapCountFirst {
    fn name(&self) -> &'static str {
        "unmap-unless-referenced"
    }

    fn about(&self) -> &'static str {
        "reclaim unmaps no page that has foreign references"
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::Unmapping]
    }

    fn unmap_rule(&self) -> Option<UnmapRule> {
        Some(UnmapRule::CountFirst)
    }
}
