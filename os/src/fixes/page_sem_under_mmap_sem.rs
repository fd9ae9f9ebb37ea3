//! Direct I/O takes `mmap_sem` exclusively for each batch, and shares the semaphore of each page of
//! the batch before it releases it, so that no fork fits between pin and semaphore.
//!
//! Who: Jeff Moyer, 2008, in the vendor bug 471613 (comments 84 to 87); row A25. Breaks: a request of
//! more than one batch or segment holds a page's semaphore when it asks for `mmap_sem` again, which
//! a write fault may share while it waits for that semaphore. Costs: faults wait for each pin.

use crate::patch::{Decision, DioGuard, DioPinMode, PageGuard, Patch};

pub struct PageSemUnderMmapSem;

impl Patch for PageSemUnderMmapSem {
    fn name(&self) -> &'static str {
        "page-sem-under-mmap-sem"
    }

    fn about(&self) -> &'static str {
        "direct I/O pins under an exclusive mmap_sem and shares the page semaphores before it lets go"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["page-sem-to-last"]
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::DioGuard]
    }

    fn dio_guard(&self) -> Option<DioGuard> {
        Some(DioGuard::UnderMmapSem(PageGuard::Semaphore))
    }

    fn dio_pin_mode(&self) -> Option<DioPinMode> {
        Some(DioPinMode::Exclusive)
    }
}
