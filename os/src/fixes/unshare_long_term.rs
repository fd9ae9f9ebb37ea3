//! A pin that reads and stays has not only anonymous pages un-shared, but whatever a store would replace
//! in a private mapping: the zero page, pages of files.
//!
//! Who: David Hildenbrand, mainline 8d6a0ac09a16 and 84209e87c696, v6.2; row U21. Breaks: nothing known.
//! Costs: a page for each page of a hole that is registered.

use crate::patch::{Patch, Unshare};

pub struct UnshareLongTerm;

impl Patch for UnshareLongTerm {
    fn name(&self) -> &'static str {
        "unshare-long-term"
    }

    fn about(&self) -> &'static str {
        "a pin that stays has any page un-shared that a store would replace"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["unshare-anonymous"]
    }
    fn unshare(&self) -> Option<Unshare> {
        Some(Unshare::LongTerm)
    }
}
