//! The text as posted: the start of a range is rounded up to the next page, and a fault asks for a
//! page's length from its address on. A fault at the very base of the first, partly covered page
//! finds no overlap.
//!
//! Who: the same message; row A32. Nobody has reported it.

use crate::patch::{Decision, Patch, RangeLock};

pub struct DioRangesRoundUp;

impl Patch for DioRangesRoundUp {
    fn name(&self) -> &'static str {
        "dio-ranges-round-up"
    }

    fn about(&self) -> &'static str {
        "the range begins with its first whole page"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["dio-ranges"]
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::Ranges]
    }

    fn range_lock(&self) -> Option<RangeLock> {
        Some(RangeLock::RoundsUp)
    }
}
