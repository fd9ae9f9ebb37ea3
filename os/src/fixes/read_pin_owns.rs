//! A pin that only reads breaks copy-on-write: the slow lookup of an anonymous page without write access
//! asks for a fault for writing, and the lockless pin takes only writable entries of anonymous pages.
//!
//! Who: Andrea Arcangeli, linux-mm, 2009-03-16 13:56; row B23. Breaks: the edition as posted never lets
//! the lockless pin succeed for reading (B24). Costs: a copy at the pin, which a reader would not need.

use crate::patch::{Decision, Patch, ReadPin};

pub struct ReadPinOwns;

impl Patch for ReadPinOwns {
    fn name(&self) -> &'static str {
        "read-pin-owns"
    }

    fn about(&self) -> &'static str {
        "pins for reading break copy-on-write of anonymous pages"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["pg-gup"]
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::ReadPins]
    }

    fn read_pin(&self) -> Option<ReadPin> {
        Some(ReadPin::OwnAnonymous)
    }
}
