//! Early un-sharing only of anonymous pages: the lockless pin looks what a page is before it asks for
//! write access, and a lookup that only peeks at memory does not un-share at all.
//!
//! Who: review of KOSAKI Motohiro's second version, linux-mm, 2009-03-23 16:46 to 2009-04-03 03:49;
//! row B52. Breaks: nothing that B50 did not. Costs: the same waits of fork; pages that are not
//! anonymous are pinned without a lock again. Reduced: the zero page stands for pages of files.

use crate::patch::{FastEntry, FastPin, Patch};

pub struct FastEntryUnsharesAnon;

impl Patch for FastEntryUnsharesAnon {
    fn name(&self) -> &'static str {
        "fast-entry-unshares-anonymous"
    }

    fn about(&self) -> &'static str {
        "of pins through the lockless pin's entry, those of anonymous pages ask for write access"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["fast-entry-unshares"]
    }

    fn fast_pin(&self) -> Option<FastPin> {
        Some(FastPin::Plain)
    }

    fn fast_entry_unshares(&self) -> Option<FastEntry> {
        Some(FastEntry::Anonymous)
    }
}
