//! fork forgets to drop the reference that it took to a page before it knew that it would copy it.
//!
//! Who: Andrea Arcangeli, the first edition of the copy at fork, vendor bug 471613 (comments 28, 33 and
//! 35); row A12. Breaks: the page is never freed, and looks pinned to every later fork. Costs: a page
//! for each copy.

use crate::patch::Patch;

pub struct ForkCopyLeaks;

impl Patch for ForkCopyLeaks {
    fn name(&self) -> &'static str {
        "fork-copy-leaks"
    }

    fn about(&self) -> &'static str {
        "fork keeps its reference to a page that it copied"
    }

    fn fork_copy_leaks(&self) -> Option<bool> {
        Some(true)
    }
}
