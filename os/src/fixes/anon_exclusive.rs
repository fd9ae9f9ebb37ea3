//! Each anonymous page has a mark that says that one address space alone has it: set on a new page and
//! when a write fault finds nobody else; a page with the mark is written in place whatever its count.
//! fork and reclaim take it away, but not from a page that may be pinned: fork copies such a page, and
//! reclaim puts its entry back. An entry in swap carries the mark.
//!
//! Who: David Hildenbrand, mainline 6c287605fd56, v5.19; row U18. Breaks: plain references, which nobody
//! can tell; pins for reading without U19; a lockless pin on a machine that flushes without
//! interrupts and lets reads pass writes (U20). Costs: a bit of each page.

use crate::patch::{ForkAnon, Patch};

pub struct AnonExclusive;

impl Patch for AnonExclusive {
    fn name(&self) -> &'static str {
        "anon-exclusive"
    }

    fn about(&self) -> &'static str {
        "pages that one address space alone has are marked, and written in place"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["dma-pins", "write-protect-seq"]
    }

    fn anon_exclusive(&self) -> Option<bool> {
        Some(true)
    }

    fn fork_anon_page(&self) -> Option<ForkAnon> {
        Some(ForkAnon::CopyIfExclusivePinned)
    }
}
