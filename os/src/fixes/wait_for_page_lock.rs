//! A write fault that finds the page lock busy takes a reference, drops the page-table lock, sleeps
//! on the page lock, and decides about reuse when it has it and the entry is unchanged.
//!
//! Who: Hugh Dickins and Andrea Arcangeli, 2008, in the vendor bug 471613 (comments 107 and 108);
//! row A45. Without it (A44) a DMA target is replaced because somebody held the lock for a moment.
//! Breaks: nothing known. Costs: a sleep in the fault where there was a copy.

use crate::patch::{BusyPageLock, Patch};

pub struct WaitForPageLock;

impl Patch for WaitForPageLock {
    fn name(&self) -> &'static str {
        "wait-for-page-lock"
    }

    fn about(&self) -> &'static str {
        "a write fault waits for a busy page lock instead of copying"
    }

    fn busy_page_lock(&self) -> Option<BusyPageLock> {
        Some(BusyPageLock::Wait)
    }
}
