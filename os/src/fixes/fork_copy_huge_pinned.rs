//! fork copies a huge page that may be pinned, as it does with small ones.
//!
//! Who: Peter Xu, mainline 4eae4efa2c29, v5.12; row U16. Breaks: a lockless pin between fork's
//! test and the end of fork, since the count of row U15 leaves huge pages out. Costs: a copy of 2 MiB
//! for each page that may be pinned.

use crate::patch::{ForkAnon, Patch};

pub struct ForkCopyHugePinned;

impl Patch for ForkCopyHugePinned {
    fn name(&self) -> &'static str {
        "fork-copy-huge-pinned"
    }

    fn about(&self) -> &'static str {
        "fork copies huge pages that may be pinned"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["fork-copy-dma-pinned"]
    }
    fn fork_huge_page(&self) -> Option<ForkAnon> {
        Some(ForkAnon::CopyIfDmaPinned)
    }
}
