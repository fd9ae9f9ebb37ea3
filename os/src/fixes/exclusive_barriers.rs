//! Reclaim: clear the entry; barrier; test for pins; barrier; clear the mark. The lockless pin: count;
//! barrier; read the entry again; barrier; test the mark. One of the two sees the other.
//!
//! Who: David Hildenbrand, mainline 088b8aa537c2, v6.1; row U20. Until then the flush, which waits for
//! CPUs with interrupts off, was trusted to do it. Breaks: nothing known. Costs: barriers.

use crate::patch::Patch;

pub struct ExclusiveBarriers;

impl Patch for ExclusiveBarriers {
    fn name(&self) -> &'static str {
        "anon-exclusive-barriers"
    }

    fn about(&self) -> &'static str {
        "barriers between the lockless pin and the loss of the exclusive mark"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["anon-exclusive", "fast-pin-recheck"]
    }
    fn share_barriers(&self) -> Option<bool> {
        Some(true)
    }
}
