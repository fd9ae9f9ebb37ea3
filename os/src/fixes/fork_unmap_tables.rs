//! fork unmaps both page tables before it allocates and copies, maps them again after, and says
//! that the parent's page-table lock nests in the child's when it takes it again.
//!
//! Who: Andrea Arcangeli, vendor bug 471613 (comments 121 to 128 and 141); row A49. Breaks: nothing
//! of its own. Costs: two more mappings for each copy, on machines that map page tables.

use crate::patch::{ForkRelock, Patch};

pub struct ForkUnmapTables;

impl Patch for ForkUnmapTables {
    fn name(&self) -> &'static str {
        "fork-unmap-tables"
    }

    fn about(&self) -> &'static str {
        "fork unmaps page tables while it copies, and annotates the lock it takes again"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["fork-copy-unlocked"]
    }

    fn fork_relock(&self) -> Option<ForkRelock> {
        Some(ForkRelock::Unmap)
    }
}
