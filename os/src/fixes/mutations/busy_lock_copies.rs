//! A write fault takes a page whose lock is busy for shared. Guards A45 and the kernels that have its
//! rule; what is left is A44.

use crate::patch::{BusyPageLock, Patch};

pub struct BusyLockCopies;

impl Patch for BusyLockCopies {
    fn name(&self) -> &'static str {
        "busy-lock-copies"
    }

    fn about(&self) -> &'static str {
        "a write fault copies where the page lock is busy"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["wait-for-page-lock"]
    }

    fn busy_page_lock(&self) -> Option<BusyPageLock> {
        Some(BusyPageLock::Copy)
    }
}
