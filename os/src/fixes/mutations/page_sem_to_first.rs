//! The page semaphore is released when the first transfer that carries the page is over, whatever is
//! still under way. Guards A24.

use crate::patch::{GuardUntil, Patch};

pub struct PageSemToFirst;

impl Patch for PageSemToFirst {
    fn name(&self) -> &'static str {
        "page-sem-to-first"
    }

    fn about(&self) -> &'static str {
        "the page semaphore is released when the first transfer of its page is over"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["page-sem-to-last"]
    }

    fn guard_until(&self) -> Option<GuardUntil> {
        Some(GuardUntil::FirstTransfer)
    }
}
