//! Fork leaves out the barrier between the loss of write access and its test: where reads pass writes, the
//! test can come before the loss is there to be seen. Guards B02 with store buffers.

use crate::patch::Patch;

pub struct NoForkBarrier;

impl Patch for NoForkBarrier {
    fn name(&self) -> &'static str {
        "no-fork-barrier"
    }

    fn about(&self) -> &'static str {
        "fork has no barrier between the loss of write access and its test"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["pg-gup"]
    }
    fn fork_barrier(&self) -> Option<bool> {
        Some(false)
    }
}
