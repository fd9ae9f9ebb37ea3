//! The looks of `fork-copy-if-foreign` are made with the page lock held; when it is busy the page is
//! copied.
//!
//! Who: Andrea Arcangeli, vendor bug 471613 (comments 9 and 10); row A11. Breaks: fork over the
//! swap entry of a pinned page; torn copies. Costs: as A10, and a try for the lock a page.

use crate::patch::{Decision, ForkAnon, Patch};

pub struct CopyIfForeignLocked;

impl Patch for CopyIfForeignLocked {
    fn name(&self) -> &'static str {
        "fork-copy-if-foreign-locked"
    }

    fn about(&self) -> &'static str {
        "and looks under the page lock; a busy lock means copy"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["fork-copy-if-foreign"]
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::ForkCopies]
    }

    fn fork_anon_page(&self) -> Option<ForkAnon> {
        Some(ForkAnon::CopyIfForeignLocked)
    }
}
