//! Direct I/O is over, pages released and all, when its transfers are queued. Guards rows in which
//! what fork does is no part of the fix: that they look at what the device did.

use crate::patch::Patch;

pub struct CompletesEarly;

impl Patch for CompletesEarly {
    fn name(&self) -> &'static str {
        "completes-early"
    }

    fn about(&self) -> &'static str {
        "direct I/O gives pages back before the transfers are over"
    }

    fn dio_waits(&self) -> Option<bool> {
        Some(false)
    }
}
