//! A shared page has one pin at most, and remembers whose: copy-on-write leaves the page to that
//! address space. A second pin of a shared page fails with EAGAIN, as does one from another side.
//!
//! Who: mentioned on linux-mm, 2009-03-14 05:20, only to be rejected; row B07. Breaks: programs that
//! pin a page twice. Costs: a word in each page, and a walk of the reverse map when the pinner
//! stores. Reduced: no lockless pin, which would have to take the word atomically with the count.

use crate::patch::{CowDirection, Patch};

pub struct CowFirstPin;

impl Patch for CowFirstPin {
    fn name(&self) -> &'static str {
        "cow-first-pin"
    }

    fn about(&self) -> &'static str {
        "a shared page can be pinned once, and copy-on-write leaves it to the pinner"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["wait-for-page-lock"]
    }

    fn cow_direction(&self) -> Option<CowDirection> {
        Some(CowDirection::FirstPin)
    }
}
