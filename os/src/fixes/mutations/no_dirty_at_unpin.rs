//! Direct I/O does not mark the pages it wrote dirty when it gives them back. Row B37 asks of every
//! user of pins whether it does; direct I/O does, in both completions. Guards B37 where reclaim
//! writes pinned pages.

use crate::patch::Patch;

pub struct NoDirtyAtUnpin;

impl Patch for NoDirtyAtUnpin {
    fn name(&self) -> &'static str {
        "no-dirty-at-unpin"
    }

    fn about(&self) -> &'static str {
        "direct I/O gives pages back without marking them dirty"
    }

    fn dirty_at_unpin(&self) -> Option<bool> {
        Some(false)
    }
}
