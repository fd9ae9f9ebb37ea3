//! fork over a mapping of huge pages counts too: a lockless pin meanwhile is undone.
//!
//! Who: David Hildenbrand, linux-mm 2022-04-28, mainline 623a1ddfeb23 (id from memory), v5.19. Until then
//! the count of row U15 left huge pages out, and a lockless pin could come between fork's test and the
//! end of fork.
//! Breaks: nothing known. Costs: as with small pages, lockless pins that go the slow way during fork.

use crate::patch::Patch;

pub struct HugeWriteProtectSeq;

impl Patch for HugeWriteProtectSeq {
    fn name(&self) -> &'static str {
        "huge-write-protect-seq"
    }

    fn about(&self) -> &'static str {
        "lockless pins are undone while another thread forks huge pages, too"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["write-protect-seq"]
    }
    fn huge_write_protect_seq(&self) -> Option<bool> {
        Some(true)
    }
}
