//! The lockless pin leaves out its second look at the entry: fork may have tested the mark before
//! it was there, and shared the page. Guards B02, on small pages and on huge ones.

use crate::patch::{FastPin, Patch};

pub struct NoRecheck;

impl Patch for NoRecheck {
    fn name(&self) -> &'static str {
        "no-recheck"
    }

    fn about(&self) -> &'static str {
        "the lockless pin marks, and does not look at the entry again"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["pg-gup-recheck"]
    }

    fn fast_pin(&self) -> Option<FastPin> {
        Some(FastPin::Mark)
    }
}
