//! The read side is acquired by the lookup of the pin: tried under the page-table lock, slept for
//! without it, and the entry looked at again, since the lock lives in the page that is looked up.
//! The write side is held until the entry points at the copy.
//!
//! Who: the rule is Andrea Arcangeli's, 2008, in the vendor bug 471613 (comments 49, 54, 58); the
//! protocol is derived; row A24. Breaks: users of pins other than direct I/O. Costs: write faults
//! wait for the disk.

use crate::patch::{Decision, DioGuard, PageGuard, Patch};

pub struct PageSemInPin;

impl Patch for PageSemInPin {
    fn name(&self) -> &'static str {
        "page-sem-in-pin"
    }

    fn about(&self) -> &'static str {
        "the pin of direct I/O shares the page semaphore before it returns"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["page-sem-to-last"]
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::DioGuard]
    }

    fn dio_guard(&self) -> Option<DioGuard> {
        Some(DioGuard::InPin(PageGuard::Semaphore))
    }
}
