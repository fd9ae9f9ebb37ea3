//! fork takes its looks at count, mappings and swap cache without the page lock, so that reclaim
//! may come in between. Guards A11; what is left is A10.

use crate::patch::{ForkAnon, Patch};

pub struct LooksUnlocked;

impl Patch for LooksUnlocked {
    fn name(&self) -> &'static str {
        "looks-unlocked"
    }

    fn about(&self) -> &'static str {
        "fork compares the counts without the page lock"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["fork-copy-if-foreign-locked"]
    }

    fn fork_anon_page(&self) -> Option<ForkAnon> {
        Some(ForkAnon::CopyIfForeign)
    }
}
