//! The lockless pin reads the entry again after the mark; if the access is gone it drops its
//! reference and goes the slow way. Fork takes write access away before it tests the mark, so at
//! least one of the two sees the other.
//!
//! Who: Andrea Arcangeli, kernel list 2009-03-11; row B02. Breaks: reversed copy-on-write (B22).
//! Costs: a barrier and a read for the first pin of a page. Both barriers matter only where the
//! atomic operations do not drain the store buffer, which this machine does not model.

use crate::patch::{FastPin, Patch};

pub struct PgGupRecheck;

impl Patch for PgGupRecheck {
    fn name(&self) -> &'static str {
        "pg-gup-recheck"
    }

    fn about(&self) -> &'static str {
        "the lockless pin looks at the entry again after the mark"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["pg-gup-fast"]
    }

    fn fast_pin(&self) -> Option<FastPin> {
        Some(FastPin::MarkAndRecheck)
    }
}
