//! A pin sets the mark of use that reclaim looks at (PG_referenced).
//!
//! Who: proposed on linux-mm, 2009-03-17 18:19; row B39. Breaks: nothing is closed, the mark only
//! lasts for one scan. Costs: a flag for each pin.

use crate::patch::{Patch, PinMark};

pub struct PinReferenced;

impl Patch for PinReferenced {
    fn name(&self) -> &'static str {
        "pin-referenced"
    }

    fn about(&self) -> &'static str {
        "a pin counts as a use of the page for reclaim"
    }

    fn pin_mark(&self) -> Option<PinMark> {
        Some(PinMark::Referenced)
    }
}
