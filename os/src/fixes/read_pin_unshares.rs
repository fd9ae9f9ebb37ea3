//! Every lookup that takes a reference asks for write access in a mapping that is copied on write, so it
//! un-shares the page; the lockless pin takes only writable entries.
//!
//! Who: Linus Torvalds, mainline 17839856fd58, v5.8; row U10. Breaks: users that rely on a page staying
//! read-only; removed in v5.9. Costs: a copy at the pin.

use crate::patch::{Decision, Patch, ReadPin};

pub struct ReadPinUnshares;

impl Patch for ReadPinUnshares {
    fn name(&self) -> &'static str {
        "read-pin-unshares"
    }

    fn about(&self) -> &'static str {
        "every lookup for a pin asks for write access where the mapping allows it"
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::ReadPins]
    }

    fn read_pin(&self) -> Option<ReadPin> {
        Some(ReadPin::Own)
    }
}
