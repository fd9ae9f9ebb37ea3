//! All pages of a batch are on their way to the disk before `mmap_sem` is asked for again, and the
//! interrupt that ends a page's last transfer releases its semaphore, without the submitter. Were
//! it kept to the end of the request, as in A23, the next batch would still wait for itself.
//!
//! Who: Jeff Moyer, 2008, in the vendor bug 471613 (comments 87 to 98); row A26, the release
//! reconstructed. Breaks: nothing known for direct I/O. Costs: large requests are split.

use crate::patch::{GuardUntil, Patch};

pub struct SubmitEachBatch;

impl Patch for SubmitEachBatch {
    fn name(&self) -> &'static str {
        "submit-each-batch"
    }

    fn about(&self) -> &'static str {
        "direct I/O queues the last page of a batch before it pins the next batch"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["page-sem-under-mmap-sem"]
    }

    fn submit_each_batch(&self) -> Option<bool> {
        Some(true)
    }

    fn guard_until(&self) -> Option<GuardUntil> {
        Some(GuardUntil::Page)
    }
}
