//! The exclusive mark is taken away without a look for pins. Guards U18 and the kernels that have it.

use crate::patch::Patch;

pub struct SharesUntested;

impl Patch for SharesUntested {
    fn name(&self) -> &'static str {
        "shares-untested"
    }

    fn about(&self) -> &'static str {
        "reclaim and fork take the exclusive mark from pages that may be pinned"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["anon-exclusive"]
    }

    fn share_tests_pins(&self) -> Option<bool> {
        Some(false)
    }
}
