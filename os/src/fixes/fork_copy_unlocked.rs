//! fork drops both page-table locks while it allocates and copies a pinned page, takes them again,
//! and compares the entries with what they were; if they differ it undoes its part and looks at
//! the entry again. The parent's write permission is given back in both cases.
//!
//! Who: Andrea Arcangeli, vendor bug 471613 (comments 64, 69, 103 and 104) and linux-mm, 2009-03-16
//! 13:56; the part of A42 for ordinary pages. Breaks: reclaim can have put a swap entry in the
//! parent's place, and the permission is set in that (A50). Costs: a second pair of locks for each
//! copy.

use crate::patch::{Decision, ForkCopy, Patch};

pub struct ForkCopyUnlocked;

impl Patch for ForkCopyUnlocked {
    fn name(&self) -> &'static str {
        "fork-copy-unlocked"
    }

    fn about(&self) -> &'static str {
        "fork copies a pinned page with the page-table locks dropped"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["pg-gup"]
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::ForkCopying]
    }

    fn fork_copy(&self) -> Option<ForkCopy> {
        Some(ForkCopy::Unlocked)
    }
}
