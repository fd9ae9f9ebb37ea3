//! The child's entry that changed while fork copied is cleared, and fork begins with it again. The
//! lockless pin wants the mark of anonymous pages only.
//!
//! Who: Nick Piggin, linux-mm, 2009-03-16 16:01; row B18. Breaks: nothing known. Costs: as
//! `decow-at-fork`.

use crate::patch::{Decow, FastPin, Patch};

pub struct DecowRetry;

impl Patch for DecowRetry {
    fn name(&self) -> &'static str {
        "decow-retry"
    }

    fn about(&self) -> &'static str {
        "and begins again with an entry that changed meanwhile"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["decow-at-fork"]
    }

    fn fast_pin(&self) -> Option<FastPin> {
        Some(FastPin::MarkedIfAnon)
    }

    fn fork_decow(&self) -> Option<Decow> {
        Some(Decow::Retry)
    }
}
