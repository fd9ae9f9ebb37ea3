//! fork gives the parent's write permission back without asking whether reclaim has made the entry
//! one of swap. Guards A51; what is left is A50. To leave out the other look after the copy, at
//! whether the entry is the same, shows nothing: fork holds `mmap_sem` alone, and reclaim changes
//! who maps the page, not what the child's copy must be.

use crate::patch::{ForkCopy, Patch};

pub struct RestoreBlindly;

impl Patch for RestoreBlindly {
    fn name(&self) -> &'static str {
        "restore-blindly"
    }

    fn about(&self) -> &'static str {
        "fork gives write permission back without asking whether the entry is present"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["fork-restore-present"]
    }

    fn fork_copy(&self) -> Option<ForkCopy> {
        Some(ForkCopy::Unlocked)
    }
}
