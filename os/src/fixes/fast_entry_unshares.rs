//! A pin that comes through the lockless entry faults for write on private mappings even if it only
//! reads; the lockless path takes only entries that may be written.
//!
//! Who: KOSAKI Motohiro, linux-mm 2009-03-22, second version; the other half of row B50. Breaks: users
//! of pins that do not come through this entry (B51). Costs: read-only mappings never use the
//! lockless path; whoever only looks at memory copies it.

use crate::patch::{FastEntry, FastPin, Patch};

pub struct FastEntryUnshares;

impl Patch for FastEntryUnshares {
    fn name(&self) -> &'static str {
        "fast-entry-unshares"
    }

    fn about(&self) -> &'static str {
        "pins through the lockless entry break copy-on-write early, and take only writable entries"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["fast-gup"]
    }

    fn fast_pin(&self) -> Option<FastPin> {
        Some(FastPin::WritableOnly)
    }

    fn fast_entry_unshares(&self) -> Option<FastEntry> {
        Some(FastEntry::All)
    }
}
