//! Each address space keeps the ranges of its direct I/O in flight and counts its copies under way.
//! Direct I/O waits for the copies and enters its range before it pins; a write fault that must copy
//! in a range is sent back to fault again. The range is left at completion, from the interrupt too,
//! with the reference on the address space that it took.
//!
//! Who: Fujitsu, in the vendor bug 471613 (comment 78); last form posted by KAMEZAWA Hiroyuki,
//! linux-mm 2009-03-16 (diolock2); row A30. Breaks: the test has no owner, so the submitter's own
//! copy is sent back too, for as long as a child shares the page (A31); the last reference on the
//! address space may be dropped in the interrupt, whose teardown sleeps (A34). Not modelled: the mark
//! that an address space has done direct I/O at all, which only saves time. Costs: a fault in a
//! range spins for the whole I/O.

use crate::patch::{Decision, Patch, RangeLock};

pub struct DioRanges;

impl Patch for DioRanges {
    fn name(&self) -> &'static str {
        "dio-ranges"
    }

    fn about(&self) -> &'static str {
        "ranges of direct I/O in flight and copies of their pages exclude each other"
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::Ranges]
    }

    fn range_lock(&self) -> Option<RangeLock> {
        Some(RangeLock::Whole)
    }
}
