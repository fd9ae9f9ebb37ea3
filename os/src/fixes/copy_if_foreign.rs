//! Fork clears the parent's write permission, takes the child's reference, and compares the count
//! with the map count, and one more if the page is in the swap cache; if they differ somebody has
//! the page pinned, and the child gets a copy at once.
//!
//! Who: Andrea Arcangeli, vendor bug 471613 (comment 7), the first attachment; row A10. Breaks: the
//! count is read before the swap-cache flag, without the page lock, and an insertion between the
//! two looks cancels a pin. Costs: a copy for every passing reference, such as a batch (A14).

use crate::patch::{Decision, ForkAnon, Patch};

pub struct CopyIfForeign;

impl Patch for CopyIfForeign {
    fn name(&self) -> &'static str {
        "fork-copy-if-foreign"
    }

    fn about(&self) -> &'static str {
        "fork copies a page whose count is not explained by mappings and swap cache"
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::ForkCopies]
    }

    fn fork_anon_page(&self) -> Option<ForkAnon> {
        Some(ForkAnon::CopyIfForeign)
    }
}
