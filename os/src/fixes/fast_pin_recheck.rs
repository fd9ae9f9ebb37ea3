//! The lockless pin reads the entry again after it has counted itself, and undoes it if the entry has
//! changed: it need not rely on flushes that wait for it.
//!
//! Who: Steve Capper, the generic lockless pin, mainline 2667f50e8b81, v3.18, on x86 since v4.13. Breaks:
//! fork and reclaim that do not look for pins, as before. Costs: a read a page.

use crate::patch::{FastPin, Patch};

pub struct FastPinRecheck;

impl Patch for FastPinRecheck {
    fn name(&self) -> &'static str {
        "fast-pin-recheck"
    }

    fn about(&self) -> &'static str {
        "the lockless pin reads the entry again after it took the page"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["fast-gup"]
    }
    fn fast_pin(&self) -> Option<FastPin> {
        Some(FastPin::Recheck)
    }
}
