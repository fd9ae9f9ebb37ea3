//! Direct I/O shares `mmap_sem` from before the first pin until the I/O is over; the slow pin inside
//! shares it again, as it always did.
//!
//! Who: discussed by Andrea Arcangeli and Linus Torvalds, linux-mm 2009-03-11; row B08; the deadlock
//! is derived. Breaks: a fork that queues between the two makes the second wait for the fork, which
//! waits for the first. The reverse race is untouched. Costs: fork, map and unmap wait for the disk.

use crate::patch::{DioPinMode, Patch};

pub struct MmapSemOverIo;

impl Patch for MmapSemOverIo {
    fn name(&self) -> &'static str {
        "mmap-sem-over-io"
    }

    fn about(&self) -> &'static str {
        "direct I/O shares mmap_sem until the disk is done, and each pin shares it again"
    }

    fn dio_pin_mode(&self) -> Option<DioPinMode> {
        Some(DioPinMode::OverIo)
    }
}
