//! The lockless pin and the loss of the exclusive mark have no barriers against each other. Guards U20 with
//! store buffers.

use crate::patch::Patch;

pub struct NoShareBarriers;

impl Patch for NoShareBarriers {
    fn name(&self) -> &'static str {
        "no-share-barriers"
    }

    fn about(&self) -> &'static str {
        "no barriers between the lockless pin and the loss of the exclusive mark"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["anon-exclusive-barriers"]
    }

    fn share_barriers(&self) -> Option<bool> {
        Some(false)
    }
}
