//! The first slow pin of a private mapping breaks copy-on-write in all of it and marks it; fork leaves
//! the entries of a marked mapping writable in the parent, and copies all its pages for the child
//! afterwards. Pages of marked mappings carry a mark, and the lockless pin takes no other.
//!
//! Who: Nick Piggin, linux-mm, 2009-03-12 16:23 to 18:06, first version; row B12. Breaks: a caller
//! that has mmap_sem alone finds it released as if shared; the parent's threads tear the child's
//! pages; a page that reclaim unmapped comes back read-only, and its store trips the assertion that
//! no marked page reaches copy-on-write; as posted, a reference is lost with each copy (add
//! fork-copy-leaks). Costs: a copy of the whole mapping at each fork; no lockless pin of pages that
//! are not anonymous, here the zero page. Reduced: the child's mapping is marked as well.

use crate::patch::{FastPin, Patch};

pub struct PinnedMappings;

impl Patch for PinnedMappings {
    fn name(&self) -> &'static str {
        "pinned-mappings"
    }

    fn about(&self) -> &'static str {
        "the first pin in a mapping marks it, and fork copies all of a marked mapping"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["fast-gup"]
    }

    fn pins_mark_mappings(&self) -> Option<bool> {
        Some(true)
    }

    fn fast_pin(&self) -> Option<FastPin> {
        Some(FastPin::Marked)
    }
}
