//! fork does not flush a page from the parent's TLBs before it copies it: a thread stores to it
//! through what its CPU has cached. Guards A43, and the same flush on top of other rules.

use crate::patch::Patch;

pub struct NoFlushBeforeCopy;

impl Patch for NoFlushBeforeCopy {
    fn name(&self) -> &'static str {
        "no-flush-before-copy"
    }

    fn about(&self) -> &'static str {
        "fork copies a page that the parent's TLBs still let threads write"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["fork-flush-before-copy"]
    }

    fn fork_flushes_copied(&self) -> Option<bool> {
        Some(false)
    }
}
