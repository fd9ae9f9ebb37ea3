//! The lockless pin leaves out the barrier between the mark and the second look at the entry: where reads
//! pass writes, the look can come before the mark is there to be seen. Guards B02 with store buffers.

use crate::patch::Patch;

pub struct NoPinBarrier;

impl Patch for NoPinBarrier {
    fn name(&self) -> &'static str {
        "no-pin-barrier"
    }

    fn about(&self) -> &'static str {
        "the lockless pin has no barrier between its mark and its second look"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["pg-gup-recheck"]
    }
    fn pin_barrier(&self) -> Option<bool> {
        Some(false)
    }
}
