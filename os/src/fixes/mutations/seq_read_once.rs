//! The lockless pin reads the sequence count of forks before it begins, and not again: a fork that
//! comes later goes unseen. Guards U15.

use crate::patch::Patch;

pub struct SeqReadOnce;

impl Patch for SeqReadOnce {
    fn name(&self) -> &'static str {
        "seq-read-once"
    }

    fn about(&self) -> &'static str {
        "the lockless pin reads the count of forks only before it begins"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["write-protect-seq"]
    }

    fn write_protect_seq_again(&self) -> Option<bool> {
        Some(false)
    }
}
