//! The lockless pin (`get_user_pages_fast`): with interrupts off, read the entries and take
//! references, without mmap_sem or the page-table lock. A flush that frees tables cannot complete
//! meanwhile, since it waits for this CPU's interrupt.
//!
//! Who: Nick Piggin, mainline v2.6.27. Breaks: every fork-side test that relies on a lock the pin
//! would take (rows A52, B01). Costs: nothing; it is there for speed.

use crate::patch::{FastPin, Patch};

pub struct FastGup;

impl Patch for FastGup {
    fn name(&self) -> &'static str {
        "fast-gup"
    }

    fn about(&self) -> &'static str {
        "pins without locks, with interrupts off"
    }

    fn fast_pin(&self) -> Option<FastPin> {
        Some(FastPin::Plain)
    }
}
