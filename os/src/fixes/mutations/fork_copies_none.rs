//! fork shares every page, pinned or not. Guards what rests on fork's copies of pinned pages.

use crate::patch::{ForkAnon, Patch};

pub struct ForkCopiesNone;

impl Patch for ForkCopiesNone {
    fn name(&self) -> &'static str {
        "fork-copies-none"
    }

    fn about(&self) -> &'static str {
        "fork shares every page, whoever pinned it"
    }

    fn fork_anon_page(&self) -> Option<ForkAnon> {
        Some(ForkAnon::Share)
    }

    fn fork_huge_page(&self) -> Option<ForkAnon> {
        Some(ForkAnon::Share)
    }
}
