//! fork keeps the page tables mapped while it allocates, and takes their lock again as if it were not
//! nested. Guards A49.

use crate::patch::{ForkRelock, Patch};

pub struct TablesStayMapped;

impl Patch for TablesStayMapped {
    fn name(&self) -> &'static str {
        "tables-stay-mapped"
    }

    fn about(&self) -> &'static str {
        "fork allocates with page tables mapped"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["fork-unmap-tables"]
    }

    fn fork_relock(&self) -> Option<ForkRelock> {
        Some(ForkRelock::StayMapped)
    }
}
