//! The pin does not share `mmap_sem` a second time, so a queued fork is no deadlock.
//!
//! Who: nobody posted it; the other half of row B08: what is left when the nesting is gone. Breaks:
//! the reverse race. Costs: as `mmap-sem-over-io`.

use crate::patch::{DioPinMode, Patch};

pub struct MmapSemOnce;

impl Patch for MmapSemOnce {
    fn name(&self) -> &'static str {
        "mmap-sem-once"
    }

    fn about(&self) -> &'static str {
        "the pin inside direct I/O relies on the mmap_sem that its caller shares"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["mmap-sem-over-io"]
    }

    fn dio_pin_mode(&self) -> Option<DioPinMode> {
        Some(DioPinMode::OverIoOnce)
    }
}
