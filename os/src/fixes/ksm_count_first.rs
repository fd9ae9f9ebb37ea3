//! Merging compares counts before it clears the entry: the order that the comment in KSM warns of.
//!
//! Who: nobody; the contrast to row B41. Breaks: a lockless pin between the look and the flush.
//! Costs: nothing that B41 does not.

use crate::patch::{MergeRule, Patch};

pub struct KsmCountFirst;

impl Patch for KsmCountFirst {
    fn name(&self) -> &'static str {
        "ksm-count-first"
    }

    fn about(&self) -> &'static str {
        "merging leaves a page alone that has foreign references before its entry is cleared"
    }

    fn merge_rule(&self) -> Option<MergeRule> {
        Some(MergeRule::CountFirst)
    }
}
