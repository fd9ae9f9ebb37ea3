//! A store to a shared page asks the reverse map who had the page first: that address space keeps
//! it, and all others get copies.
//!
//! Who: Linus Torvalds, linux-mm, 2009-03-11 19:01, 19:59 and 20:19; rebuttal by Andrea Arcangeli
//! and Nick Piggin to 2009-03-14; row B06. Breaks: where both sides have pinned the shared page for
//! reading there is no direction that suits both; merged pages have no first owner; one that unmaps
//! the page leaves it to the others. Costs: a walk of the reverse map in each such fault.

use crate::patch::{CowDirection, Patch};

pub struct CowFirstOwner;

impl Patch for CowFirstOwner {
    fn name(&self) -> &'static str {
        "cow-first-owner"
    }

    fn about(&self) -> &'static str {
        "a shared page stays with the address space that had it first; the others get copies"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["wait-for-page-lock"]
    }

    fn cow_direction(&self) -> Option<CowDirection> {
        Some(CowDirection::FirstOwner)
    }
}
