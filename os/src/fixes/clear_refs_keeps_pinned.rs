//! Clearing soft-dirty marks leaves entries writable whose page may be pinned: its next store would
//! find more references than one, and copy.
//!
//! Who: Linus Torvalds, mainline 9348b73c2e1b, January 2021, v5.11; the companion of U12. Breaks: a
//! lockless pin between the test and the loss of the permission. Costs: stores to pinned pages go
//! unnoticed.

use crate::patch::Patch;

pub struct ClearRefsKeepsPinned;

impl Patch for ClearRefsKeepsPinned {
    fn name(&self) -> &'static str {
        "clear-refs-keeps-pinned"
    }

    fn about(&self) -> &'static str {
        "soft-dirty clearing write-protects no page that may be pinned"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["dma-pins"]
    }

    fn clear_refs_keeps_pinned(&self) -> Option<bool> {
        Some(true)
    }
}
