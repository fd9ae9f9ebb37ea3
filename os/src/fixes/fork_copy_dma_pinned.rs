//! fork copies an anonymous page that may be pinned, if the address space ever pinned anything, into a
//! frame taken with the locks dropped; the parent's entry stays writable throughout.
//!
//! Who: Peter Xu and Linus Torvalds, mainline 70e806e4e645 and f3c64eda3e50, v5.9; rows U13 and U14. As
//! it was merged first, it began with what is `fork-protects-before-pins` here.
//! Breaks: a lockless pin between the test and the loss of write access (closed by U15); the copy can be
//! torn by a store, which v5.9 accepts for pinned pages. Costs: a copy for each page that may be
//! pinned.

use crate::patch::{Decision, ForkAnon, Patch};

pub struct ForkCopyDmaPinned;

impl Patch for ForkCopyDmaPinned {
    fn name(&self) -> &'static str {
        "fork-copy-dma-pinned"
    }

    fn about(&self) -> &'static str {
        "fork copies pages that may be pinned, and leaves the parent's entry alone"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["dma-pins"]
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::ForkCopies]
    }

    fn fork_anon_page(&self) -> Option<ForkAnon> {
        Some(ForkAnon::CopyIfDmaPinned)
    }
}
