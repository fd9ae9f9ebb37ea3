//! Before a write fault counts references it drains this CPU's batch of new pages, if the page waits
//! in one, and takes the page out of the swap cache, if nothing else names its slot.
//!
//! Who: David Hildenbrand, 2022, 5.18 (c145e0b47c77, 53a05ad9f21d); row U17. Breaks: nothing known;
//! references of other CPUs' batches stay, and still mean a copy. Costs: a drain.

use crate::patch::{Decision, Patch, WpReuse};

pub struct DrainFirst;

impl Patch for DrainFirst {
    fn name(&self) -> &'static str {
        "cow-drain-first"
    }

    fn about(&self) -> &'static str {
        "a write fault drains its batch and leaves the swap cache before it counts"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["cow-only-reference"]
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::Reuse]
    }

    fn wp_reuse(&self) -> Option<WpReuse> {
        Some(WpReuse::DrainThenOnlyReference)
    }
}
