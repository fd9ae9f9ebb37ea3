//! A write fault writes a page in place only if the count and the map count are both 1, looked at
//! under the page lock if it is free; it never waits, and leaves no swap cache for it.
//!
//! Who: Linus Torvalds, 2020-09-04, 5.9 (09854ba94c6a); row U11, which is B35 again. Closes a fork
//! before a read pin. Breaks: a pinned page that reclaim unmaps and a load maps again (B36), a page
//! whose entry loses its write permission while it is pinned. Costs: a copy for every passing
//! reference, the swap cache and batches of new pages included (U17).

use crate::patch::{Decision, Patch, WpReuse};

pub struct OnlyReference;

impl Patch for OnlyReference {
    fn name(&self) -> &'static str {
        "cow-only-reference"
    }

    fn about(&self) -> &'static str {
        "a write fault writes in place only a page without any other reference"
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::Reuse]
    }

    fn wp_reuse(&self) -> Option<WpReuse> {
        Some(WpReuse::OnlyReference)
    }
}
