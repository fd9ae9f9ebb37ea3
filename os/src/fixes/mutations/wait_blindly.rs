//! A write fault that waited for the page lock does not look at the entry again: whoever held the
//! lock may have unmapped the page. Guards A45.

use crate::patch::{BusyPageLock, Patch};

pub struct WaitBlindly;

impl Patch for WaitBlindly {
    fn name(&self) -> &'static str {
        "wait-blindly"
    }

    fn about(&self) -> &'static str {
        "a write fault that waited for the page lock does not look at the entry again"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["wait-for-page-lock"]
    }

    fn busy_page_lock(&self) -> Option<BusyPageLock> {
        Some(BusyPageLock::WaitBlindly)
    }
}
