//! Direct I/O takes the lock of each page when it submits, and its completion releases it; a write
//! fault takes the lock around its copy, so it waits for the disk.
//!
//! Who: Larry Woodman, 2008, in the vendor bug 471613 (comments 26 to 50); row A20. Breaks: the lock
//! is taken after the pin, and fork and a copy fit between; a request that names one page twice
//! waits for itself. Costs: requests on one page go one after the other.

use crate::patch::{Decision, DioGuard, PageGuard, Patch};

pub struct PageLockOverIo;

impl Patch for PageLockOverIo {
    fn name(&self) -> &'static str {
        "page-lock-over-io"
    }

    fn about(&self) -> &'static str {
        "direct I/O holds the page lock while the disk works, a write fault while it copies"
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::DioGuard]
    }

    fn dio_guard(&self) -> Option<DioGuard> {
        Some(DioGuard::AtSubmit(PageGuard::PageLock))
    }

    fn cow_guard(&self) -> Option<PageGuard> {
        Some(PageGuard::PageLock)
    }
}
