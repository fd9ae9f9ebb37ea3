//! The rule of `pg-gup` for huge pages: fork takes the permission to write away, and when the page
//! is marked and its count differs from its map count it flushes the parent, lets the write fault's
//! own routine make the child's copy, without the parent's page-table lock, and gives the parent its
//! permission back.
//!
//! Who: Andrea Arcangeli, vendor bug 471613, comments 64, 69, 103 and 104, and kernel list
//! 2009-03-16; row A42, its part on huge pages. Breaks: nothing here: huge pages are not swapped,
//! so nobody changes the parent's entry meanwhile (for ordinary pages, A50). Costs: a copy of 2 MiB
//! for a pin of 512 bytes, and a flush.

use crate::patch::{ForkAnon, Patch};

pub struct PgGupHuge;

impl Patch for PgGupHuge {
    fn name(&self) -> &'static str {
        "pg-gup-huge"
    }

    fn about(&self) -> &'static str {
        "fork copies huge pages that are marked and pinned"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["pg-gup"]
    }

    fn fork_huge_page(&self) -> Option<ForkAnon> {
        Some(ForkAnon::CopyIfPinned)
    }
}
