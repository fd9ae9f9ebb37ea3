//! Pins are counted at the root of the reverse map, and fork copies every page of a root that has
//! any.
//!
//! Who: an idea of linux-mm, 2009-03-30 10:52, never posted; row B53. Breaks: nothing known where all
//! pins go the slow way. Costs: an atomic on a shared line for each pin, and copies of pages that share
//! no more with the pinned one than their root; but the count falls back to zero, unlike the mark.

use crate::patch::{Decision, ForkAnon, Patch};

pub struct PinsPerRoot;

impl Patch for PinsPerRoot {
    fn name(&self) -> &'static str {
        "pins-per-root"
    }

    fn about(&self) -> &'static str {
        "pins counted at the root of the reverse map; fork copies what has a pinned root"
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::ForkCopies]
    }

    fn pins_per_root(&self) -> Option<bool> {
        Some(true)
    }

    fn fork_anon_page(&self) -> Option<ForkAnon> {
        Some(ForkAnon::CopyIfRootPinned)
    }
}
