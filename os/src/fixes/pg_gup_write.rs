//! The sticky mark "was pinned" (`PG_gup`), first edition: a pin sets it under the page-table
//! lock, when the lookup still asks for write access. Fork copies a marked page at once when its
//! count differs from its map count.
//!
//! Who: Andrea Arcangeli, 2008, vendor bug 471613 (comments 86 to 97); row A40. Breaks: a pin that
//! had to break copy-on-write stops asking for write access once the fault reports the copy, so
//! exactly those pages stay unmarked. Costs: one test of a flag for each entry that fork copies.

use crate::patch::{Decision, ForkAnon, Patch, PinMark};

pub struct PgGupWrite;

impl Patch for PgGupWrite {
    fn name(&self) -> &'static str {
        "pg-gup-write"
    }

    fn about(&self) -> &'static str {
        "sticky pin mark, first edition: only while the lookup asks for write access"
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::ForkCopies]
    }

    fn pin_mark(&self) -> Option<PinMark> {
        Some(PinMark::WhileWriteWanted)
    }

    fn fork_anon_page(&self) -> Option<ForkAnon> {
        Some(ForkAnon::CopyIfPinned)
    }
}
