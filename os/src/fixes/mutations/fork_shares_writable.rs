//! fork takes no write access away: parent and child go on storing to one page. Guards rows in which
//! copy-on-write itself is all the protection.

use crate::patch::Patch;

pub struct ForkSharesWritable;

impl Patch for ForkSharesWritable {
    fn name(&self) -> &'static str {
        "fork-shares-writable"
    }

    fn about(&self) -> &'static str {
        "fork leaves shared pages writable"
    }

    fn fork_write_protects(&self) -> Option<bool> {
        Some(false)
    }
}
