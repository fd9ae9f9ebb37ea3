//! A reader/writer semaphore in each page: direct I/O shares it when it submits, and releases it
//! when the first transfer that carries the page ends; a write fault takes it around its copy.
//!
//! Who: Larry Woodman, 2008, in the vendor bug 471613 (comments 46 to 53), first edition; row A22.
//! Breaks: taken after the pin (as A20), released before the other transfers of the page are over.
//! Costs: a word in each page descriptor; write faults wait for the disk.

use crate::patch::{Decision, DioGuard, GuardUntil, PageGuard, Patch};

pub struct PageSemFirst;

impl Patch for PageSemFirst {
    fn name(&self) -> &'static str {
        "page-sem"
    }

    fn about(&self) -> &'static str {
        "a semaphore per page: shared by direct I/O from submission to the first transfer, exclusive to a copy"
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::DioGuard]
    }

    fn dio_guard(&self) -> Option<DioGuard> {
        Some(DioGuard::AtSubmit(PageGuard::Semaphore))
    }

    fn guard_until(&self) -> Option<GuardUntil> {
        Some(GuardUntil::FirstTransfer)
    }

    fn cow_guard(&self) -> Option<PageGuard> {
        Some(PageGuard::Semaphore)
    }
}
