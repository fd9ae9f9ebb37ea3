//! A write fault writes a page in place only if, after the test of mappings and swap users has
//! succeeded and the page has left the swap cache, its count is exactly 1; else it copies.
//!
//! Who: Linus Torvalds, linux-mm, 2009-03-17 00:44 (fork vs gup(-fast) fix); row B35. It closes the
//! reverse order, a fork before a read pin. Breaks: a pinned page that reclaim unmaps and a load
//! maps again is copied at the next store, without any fork (B36). Costs: a copy for every passing
//! reference, such as a batch of new pages.

use crate::patch::{Decision, Patch, WpReuse};

pub struct CountIsOne;

impl Patch for CountIsOne {
    fn name(&self) -> &'static str {
        "count-is-one"
    }

    fn about(&self) -> &'static str {
        "a write fault also copies a page whose count is not 1"
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::Reuse]
    }

    fn wp_reuse(&self) -> Option<WpReuse> {
        Some(WpReuse::AndCountIsOne)
    }
}
