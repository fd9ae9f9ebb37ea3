//! Reclaim does not ask who else has a reference before it unmaps a page. Guards B40 without the
//! lockless pin, and the rule that looks after the entry is gone.

use crate::patch::{Patch, UnmapRule};

pub struct UnmapUntested;

impl Patch for UnmapUntested {
    fn name(&self) -> &'static str {
        "unmap-untested"
    }

    fn about(&self) -> &'static str {
        "reclaim unmaps pages whoever has a reference"
    }

    fn unmap_rule(&self) -> Option<UnmapRule> {
        Some(UnmapRule::Always)
    }
}
