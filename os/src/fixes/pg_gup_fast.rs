//! The lockless pin sets the sticky mark too, after it took its reference.
//!
//! Who: the edition in which Linus Torvalds found the hole, kernel list 2009-03-11; row B01.
//! Breaks: fork can take write access away and test the mark between the pin's read of the entry
//! and its mark. Costs: a second atomic operation a page.

use crate::patch::{FastPin, Patch};

pub struct PgGupFast;

impl Patch for PgGupFast {
    fn name(&self) -> &'static str {
        "pg-gup-fast"
    }

    fn about(&self) -> &'static str {
        "the lockless pin marks pages too"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["fast-gup", "pg-gup"]
    }

    fn fast_pin(&self) -> Option<FastPin> {
        Some(FastPin::Mark)
    }
}
