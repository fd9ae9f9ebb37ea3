//! The page semaphore is taken when the batch is pinned and `mmap_sem` released: a fork and a store
//! fit in between. Guards A24 and A26.

use crate::patch::{DioGuard, PageGuard, Patch};

pub struct PageSemAtSubmit;

impl Patch for PageSemAtSubmit {
    fn name(&self) -> &'static str {
        "page-sem-at-submit"
    }

    fn about(&self) -> &'static str {
        "the page semaphore is taken when the pin is over"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["page-sem"]
    }

    fn dio_guard(&self) -> Option<DioGuard> {
        Some(DioGuard::AtSubmit(PageGuard::Semaphore))
    }
}
