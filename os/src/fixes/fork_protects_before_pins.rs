//! fork takes the write permission of an entry away before it asks whether its page may be pinned, and
//! gives it back to a page that it copies.
//!
//! Who: Peter Xu, mainline 70e806e4e645; dropped by f3c64eda3e50 before v5.9 was out, row U14. Breaks: nothing
//! orders the loss of the permission before the look at the pins, so a lockless pin and fork can miss
//! each other where CPUs have store buffers. Costs: two changes of the entry for each page that is
//! copied.

use crate::patch::Patch;

pub struct ForkProtectsBeforePins;

impl Patch for ForkProtectsBeforePins {
    fn name(&self) -> &'static str {
        "fork-protects-before-pins"
    }

    fn about(&self) -> &'static str {
        "fork takes write access away before it looks for pins, and gives it back to what it copies"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["fork-copy-dma-pinned"]
    }

    fn fork_protects_before_pins(&self) -> Option<bool> {
        Some(true)
    }
}
