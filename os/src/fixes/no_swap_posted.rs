//! Reclaim gives no slot to a page that has more references than mappings, as first posted: the
//! count is compared with the answer to "is it mapped", and reclaim's own reference is forgotten.
//!
//! Who: Linus Torvalds, linux-mm, 2009-03-17 18:09; row B38. Breaks: reclaim of anonymous memory,
//! which refuses every page. Costs: all of swap.

use crate::patch::{Decision, Patch, SwapInsertion};

pub struct NoSwapPosted;

impl Patch for NoSwapPosted {
    fn name(&self) -> &'static str {
        "no-swap-referenced-posted"
    }

    fn about(&self) -> &'static str {
        "reclaim swaps no page whose count is above its being mapped"
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::SwapInsertion]
    }

    fn swap_insertion(&self) -> Option<SwapInsertion> {
        Some(SwapInsertion::CountIsMapped)
    }
}
