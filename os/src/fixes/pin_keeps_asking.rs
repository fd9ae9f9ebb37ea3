//! After a fault that broke copy-on-write the slow lookup of a pin that writes goes on asking for write
//! access, unless the mapping itself may not be written.
//!
//! Who: Hugh Dickins, mainline 878b63ac889d, v2.6.29; row U02. Breaks: nothing; the races of direct I/O
//! are as they were. Costs: a fault more where somebody else was faster.

use crate::patch::Patch;

pub struct PinKeepsAsking;

impl Patch for PinKeepsAsking {
    fn name(&self) -> &'static str {
        "pin-keeps-asking"
    }

    fn about(&self) -> &'static str {
        "a pin that writes asks for write access until the entry grants it"
    }

    fn pin_keeps_asking(&self) -> Option<bool> {
        Some(true)
    }
}
