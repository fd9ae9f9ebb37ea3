//! Reclaim gives no slot to a page that has more references than mappings, with the comparison
//! repaired: the count of mappings, and reclaim's own reference.
//!
//! Who: Linus Torvalds, linux-mm, 2009-03-17 18:09, with the corrections of the replies (18:46 to
//! 19:55); row B38. Breaks: a page that is in the swap cache when it is pinned is not looked at; a
//! pin can come between the test and the unmapping; a page that is reused while it is being
//! written stays in the swap cache. Costs: two looks for each page.

use crate::patch::{Decision, Patch, SwapInsertion};

pub struct NoSwapReferenced;

impl Patch for NoSwapReferenced {
    fn name(&self) -> &'static str {
        "no-swap-referenced"
    }

    fn about(&self) -> &'static str {
        "reclaim swaps no page that has foreign references"
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::SwapInsertion]
    }

    fn swap_insertion(&self) -> Option<SwapInsertion> {
        Some(SwapInsertion::CountIsMappings)
    }
}
