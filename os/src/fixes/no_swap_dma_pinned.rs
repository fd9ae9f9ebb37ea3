//! Reclaim puts no page into the swap cache that may be pinned.
//!
//! Who: Linus Torvalds, mainline feb889fb40fa, v5.11; row U12. Breaks: pages in the swap cache already; a
//! lockless pin between the test and the unmapping. Costs: a test.

use crate::patch::{Patch, SwapInsertion};

pub struct NoSwapDmaPinned;

impl Patch for NoSwapDmaPinned {
    fn name(&self) -> &'static str {
        "no-swap-dma-pinned"
    }

    fn about(&self) -> &'static str {
        "reclaim gives no slot to a page that may be pinned"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["dma-pins"]
    }
    fn swap_insertion(&self) -> Option<SwapInsertion> {
        Some(SwapInsertion::NotPinned)
    }
}
