//! The text as posted: entering a range fails when a signal is pending, the caller does not look, and
//! later removes an entry that was never made.
//!
//! Who: the same message; row A35. Nobody has reported it.

use crate::patch::{Decision, Patch, RangeLock};

pub struct DioRangesIgnoreSignal;

impl Patch for DioRangesIgnoreSignal {
    fn name(&self) -> &'static str {
        "dio-ranges-ignore-signal"
    }

    fn about(&self) -> &'static str {
        "an interrupted entry of a range is ignored"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["dio-ranges"]
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::Ranges]
    }

    fn range_lock(&self) -> Option<RangeLock> {
        Some(RangeLock::IgnoresSignal)
    }
}
