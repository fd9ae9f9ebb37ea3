//! The address space has a sequence count, odd while fork goes over a mapping. A lockless pin reads it
//! first, goes the slow way if it is odd, and undoes what it pinned if it has changed.
//!
//! Who: Jason Gunthorpe, mainline 57efa1fe5957, v5.11; row U15. Breaks: nothing known. Costs: two reads a
//! call, and slow pins while another thread forks.

use crate::patch::Patch;

pub struct WriteProtectSeq;

impl Patch for WriteProtectSeq {
    fn name(&self) -> &'static str {
        "write-protect-seq"
    }

    fn about(&self) -> &'static str {
        "a lockless pin during fork is undone, and goes the slow way"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["dma-pins", "fork-copy-dma-pinned"]
    }

    fn write_protect_seq(&self) -> Option<bool> {
        Some(true)
    }
}
