//! A pin under the page-table lock leaves no mark, so fork takes its page for one that nobody
//! pinned. Guards A41 and what else rests on a mark.

use crate::patch::{Patch, PinMark};

pub struct NoPinMark;

impl Patch for NoPinMark {
    fn name(&self) -> &'static str {
        "no-pin-mark"
    }

    fn about(&self) -> &'static str {
        "a pin under the page-table lock leaves no mark"
    }

    fn pin_mark(&self) -> Option<PinMark> {
        Some(PinMark::None)
    }
}
