//! New anonymous pages do not have the exclusive mark, so neither fork nor reclaim keeps them for who
//! has pinned them. Guards U18 where pages go to swap: its test of pins and the mark of entries in swap
//! each suffice there without a fork.

use crate::patch::Patch;

pub struct NewPagesUnmarked;

impl Patch for NewPagesUnmarked {
    fn name(&self) -> &'static str {
        "new-pages-unmarked"
    }

    fn about(&self) -> &'static str {
        "new pages do not have the exclusive mark"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["anon-exclusive"]
    }

    fn new_pages_exclusive(&self) -> Option<bool> {
        Some(false)
    }
}
