//! A write fault on a huge page takes the lock of the page that it copies from, before it drops the
//! page-table lock for the copy, and until the copy is installed.
//!
//! Who: vendor bug 471613, comment 72; row A28. Breaks: the page lock sleeps, and the page-table
//! lock spins; and a pin whose transfer is queued after the copy, or that takes no page lock at
//! all, still loses its bytes. Costs: two operations on a lock for each copy.

use crate::patch::{Decision, HugeCowLock, Patch};

pub struct HugeLockOld;

impl Patch for HugeLockOld {
    fn name(&self) -> &'static str {
        "huge-lock-old"
    }

    fn about(&self) -> &'static str {
        "a write fault on a huge page locks what it copies, asked for under the page-table lock"
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::HugeCow]
    }

    fn huge_cow_lock(&self) -> Option<HugeCowLock> {
        Some(HugeCowLock::Old)
    }
}
