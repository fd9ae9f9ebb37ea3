//! Direct I/O does not enter its ranges, nor wait for copies: write faults ask in vain. Guards A30.

use crate::patch::{Patch, RangeLock};

pub struct RangeNotEntered;

impl Patch for RangeNotEntered {
    fn name(&self) -> &'static str {
        "range-not-entered"
    }

    fn about(&self) -> &'static str {
        "direct I/O does not enter its ranges"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["dio-ranges"]
    }

    fn range_lock(&self) -> Option<RangeLock> {
        Some(RangeLock::NotEntered)
    }
}
