//! The page lock is taken when the batch is pinned and `mmap_sem` released. Guards A21; what is left
//! is A20.

use crate::patch::{DioGuard, PageGuard, Patch};

pub struct PageLockAtSubmit;

impl Patch for PageLockAtSubmit {
    fn name(&self) -> &'static str {
        "page-lock-at-submit"
    }

    fn about(&self) -> &'static str {
        "the page lock is taken when the pin is over"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["page-lock-in-pin"]
    }

    fn dio_guard(&self) -> Option<DioGuard> {
        Some(DioGuard::AtSubmit(PageGuard::PageLock))
    }
}
