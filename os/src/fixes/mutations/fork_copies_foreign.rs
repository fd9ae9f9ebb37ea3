//! fork copies each page with a reference that is no mapping, whoever has it: those of per-CPU
//! batches too. Guards rows that say when fork does not copy.

use crate::patch::{ForkAnon, Patch};

pub struct ForkCopiesForeign;

impl Patch for ForkCopiesForeign {
    fn name(&self) -> &'static str {
        "fork-copies-foreign"
    }

    fn about(&self) -> &'static str {
        "fork copies pages for any foreign reference"
    }

    fn fork_anon_page(&self) -> Option<ForkAnon> {
        Some(ForkAnon::CopyIfForeign)
    }
}
