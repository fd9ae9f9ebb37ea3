//! Reclaim gives pinned pages a slot, and so unmaps them. Guards U12.

use crate::patch::{Patch, SwapInsertion};

pub struct PinnedGetSlots;

impl Patch for PinnedGetSlots {
    fn name(&self) -> &'static str {
        "pinned-get-slots"
    }

    fn about(&self) -> &'static str {
        "reclaim gives pages a slot that may be pinned"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["no-swap-dma-pinned"]
    }

    fn swap_insertion(&self) -> Option<SwapInsertion> {
        Some(SwapInsertion::Always)
    }
}
