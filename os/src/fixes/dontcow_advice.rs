//! A mapping can have the advice to be copied at fork, page by page, in place of being shared.
//!
//! Who: an idea of linux-mm, 2009-03-12 05:36 (`MADV_DONTCOW`); row B11. Breaks: programs that do not
//! give it; without a flush before the copies they can be torn. Costs: a copy of the whole mapping at
//! each fork.

use crate::patch::Patch;

pub struct DontcowAdvice;

impl Patch for DontcowAdvice {
    fn name(&self) -> &'static str {
        "dontcow-advice"
    }

    fn about(&self) -> &'static str {
        "mappings with the advice are copied at fork"
    }

    fn fork_copies_mappings(&self) -> Option<bool> {
        Some(true)
    }
}
