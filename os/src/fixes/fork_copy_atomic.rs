//! fork allocates its copies without ever sleeping, with the page-table locks held.
//!
//! Who: proposed in vendor bug 471613 (comments 119 and 120), and refused; row A48. Breaks: fork fails
//! for want of one page where a sleeping allocation would reclaim one. Costs: reserves.

use crate::patch::{Decision, ForkCopy, Patch};

pub struct ForkCopyAtomic;

impl Patch for ForkCopyAtomic {
    fn name(&self) -> &'static str {
        "fork-copy-atomic"
    }

    fn about(&self) -> &'static str {
        "fork's copies come from an allocation that never sleeps"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["pg-gup"]
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::ForkCopying]
    }

    fn fork_copy(&self) -> Option<ForkCopy> {
        Some(ForkCopy::Atomic)
    }
}
