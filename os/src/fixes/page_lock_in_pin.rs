//! The lookup of a direct-I/O pin takes the page lock, tried under the page-table lock and slept for
//! without it; then the entry is looked at again. Completion releases it, from the interrupt too.
//!
//! Who: proposed by Andrea Arcangeli, 2008, in the vendor bug 471613 (comments 27, 79, 80, 86); row
//! A21. Breaks: two requests that name two pages in opposite orders wait for each other; other users
//! of pins are untouched. Costs: requests on one page go one after the other.

use crate::patch::{Decision, DioGuard, PageGuard, Patch};

pub struct PageLockInPin;

impl Patch for PageLockInPin {
    fn name(&self) -> &'static str {
        "page-lock-in-pin"
    }

    fn about(&self) -> &'static str {
        "the pin of direct I/O takes the page lock before mmap_sem is released"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["page-lock-over-io"]
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::DioGuard]
    }

    fn dio_guard(&self) -> Option<DioGuard> {
        Some(DioGuard::InPin(PageGuard::PageLock))
    }
}
