//! fork tests pinned pages whatever the parent's entry allows; an entry that was read-only stays so.
//!
//! Who: what the sticky mark of Andrea Arcangeli needs where mprotect takes the write access away for a
//! while (row A56); Nick Piggin's mark is tested like this (row B18). Breaks: nothing known. Costs: a
//! test of each page that an earlier fork shared.

use crate::patch::Patch;

pub struct ForkTestReadOnly;

impl Patch for ForkTestReadOnly {
    fn name(&self) -> &'static str {
        "fork-test-read-only"
    }

    fn about(&self) -> &'static str {
        "fork tests pages whose entries are read-only too"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["pg-gup"]
    }

    fn fork_tests_read_only(&self) -> Option<bool> {
        Some(true)
    }
}
