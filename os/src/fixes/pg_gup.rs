//! The sticky mark "was pinned" (`PG_gup`), set by every pin that takes a reference, for reading
//! or writing. Fork copies a marked page at once when its count differs from its map count, and
//! leaves the parent's entry writable.
//!
//! Who: Andrea Arcangeli, 2008, vendor bug 471613 (comments 98 to 102); row A41. Breaks: a lockless
//! pin that does not mark (A52) or does not look again (B01); a page whose entry is read-only for
//! the moment (A56). Without a flush before the copy the child's page can be torn (A43). Costs:
//! fork takes 103 to 106 percent.

use crate::patch::{Decision, ForkAnon, Patch, PinMark};

pub struct PgGup;

impl Patch for PgGup {
    fn name(&self) -> &'static str {
        "pg-gup"
    }

    fn about(&self) -> &'static str {
        "sticky pin mark, set by every pin; fork copies marked pages that are pinned"
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::ForkCopies]
    }

    fn pin_mark(&self) -> Option<PinMark> {
        Some(PinMark::Always)
    }

    fn fork_anon_page(&self) -> Option<ForkAnon> {
        Some(ForkAnon::CopyIfPinned)
    }
}
