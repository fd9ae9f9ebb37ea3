//! A semaphore in the address space that `direct_io_worker` shares until it returns and fork takes
//! alone, outside of `mmap_sem`.
//!
//! Who: KOSAKI Motohiro, linux-mm 2009-03-16, first version; rows B31 to B33. Breaks: asynchronous
//! requests, whose call returns when they are queued; the reverse race; all other users of pins.
//! Costs: fork waits for the disk, and new direct I/O for a fork that waits.

use crate::patch::{Decision, ForkLock, Patch};

pub struct DioForkSem;

impl Patch for DioForkSem {
    fn name(&self) -> &'static str {
        "dio-fork-sem"
    }

    fn about(&self) -> &'static str {
        "a semaphore per address space: direct I/O shares it for the length of the call, fork takes it alone"
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::ForkLock]
    }

    fn fork_lock(&self) -> Option<ForkLock> {
        Some(ForkLock::Call)
    }
}
