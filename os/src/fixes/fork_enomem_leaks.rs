//! A copy at fork for which there is no memory ends fork at once: the reference and the mapping
//! that the child was given already stay.
//!
//! Who: Andrea Arcangeli, linux-mm, 2009-03-16 13:56, as the posted text has it; row B26. Breaks: the
//! page is never freed. Costs: a page for each failed fork.

use crate::patch::{ForkEnomem, Patch};

pub struct ForkEnomemLeaks;

impl Patch for ForkEnomemLeaks {
    fn name(&self) -> &'static str {
        "fork-enomem-leaks"
    }

    fn about(&self) -> &'static str {
        "fork forgets what it took when a copy finds no memory"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["fork-copy-unlocked"]
    }

    fn fork_enomem(&self) -> Option<ForkEnomem> {
        Some(ForkEnomem::Leave)
    }
}
