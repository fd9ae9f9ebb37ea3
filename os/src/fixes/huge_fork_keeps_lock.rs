//! fork's copy of a pinned huge page looks the page of the file up and locks it, as a fault does before
//! it breaks copy-on-write, and never unlocks or releases it.
//!
//! Who: Andrea Arcangeli, linux-mm, 2009-03-16 13:56, read off the posted text; row B26. Breaks: the
//! next store to a private mapping of the file waits for ever. Costs: a reference for each such copy.

use crate::patch::Patch;

pub struct HugeForkKeepsLock;

impl Patch for HugeForkKeepsLock {
    fn name(&self) -> &'static str {
        "huge-fork-keeps-lock"
    }

    fn about(&self) -> &'static str {
        "fork's copy of a huge page of a file leaves the file's page locked"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["pg-gup-huge"]
    }

    fn huge_fork_keeps_lock(&self) -> Option<bool> {
        Some(true)
    }
}
