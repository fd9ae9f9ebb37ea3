//! A pin that reads takes an anonymous page only if the address space alone has it. Else it faults in a
//! way of its own: the page is copied, and the copy mapped read-only.
//!
//! Who: David Hildenbrand, mainline a7f226604170 and c89357e27f20, v5.19; row U19. Breaks: pages that are
//! not anonymous, the zero page among them (U21). Costs: a copy at the pin of a shared page.

use crate::patch::{Patch, Unshare};

pub struct UnshareAnonymous;

impl Patch for UnshareAnonymous {
    fn name(&self) -> &'static str {
        "unshare-anonymous"
    }

    fn about(&self) -> &'static str {
        "a pin that reads has an anonymous page un-shared first"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["anon-exclusive"]
    }
    fn unshare(&self) -> Option<Unshare> {
        Some(Unshare::Anonymous)
    }
}
