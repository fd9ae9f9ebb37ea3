//! The text as posted: a write fault asks for a start and an end, and the one on huge pages gives the
//! size of a huge page as the end. Above the lowest 2 MiB that range is empty, so that no copy of a
//! huge page ever waits.
//!
//! Who: the posting of `dio-ranges`, kernel list 2009-03-16; row A33. Nobody has reported it.

use crate::patch::{Decision, Patch, RangeLock};

pub struct DioRangesHugeSize;

impl Patch for DioRangesHugeSize {
    fn name(&self) -> &'static str {
        "dio-ranges-huge-size"
    }

    fn about(&self) -> &'static str {
        "a fault on a huge page asks for a range that ends at its size"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["dio-ranges"]
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::Ranges]
    }

    fn range_lock(&self) -> Option<RangeLock> {
        Some(RangeLock::HugeSize)
    }
}
