//! read-pin-owns as posted: for a pin that reads, the lockless pin masks the write permission out of the
//! entry, and compares with a value that has it.
//!
//! Who: Andrea Arcangeli, linux-mm, 2009-03-16 13:56, asked about at 16:01; row B24. Breaks: nothing is
//! lost. Costs: every pin of anonymous memory for reading goes the slow way.

use crate::patch::{Decision, Patch, ReadPin};

pub struct ReadPinOwnsMasked;

impl Patch for ReadPinOwnsMasked {
    fn name(&self) -> &'static str {
        "read-pin-owns-masked"
    }

    fn about(&self) -> &'static str {
        "read-pin-owns, whose lockless pin never finds what it compares with"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["read-pin-owns"]
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::ReadPins]
    }

    fn read_pin(&self) -> Option<ReadPin> {
        Some(ReadPin::OwnAnonymousMasked)
    }
}
