//! A write fault on a huge page takes the lock of the page that it copies to, until the copy is
//! installed.
//!
//! Who: vendor bug 471613, comments 70 and 71; row A27. Breaks: everything as before, since nobody
//! else can see the new page yet, so that nobody is excluded. Costs: two operations on a lock for
//! each copy.

use crate::patch::{Decision, HugeCowLock, Patch};

pub struct HugeLockNew;

impl Patch for HugeLockNew {
    fn name(&self) -> &'static str {
        "huge-lock-new"
    }

    fn about(&self) -> &'static str {
        "a write fault on a huge page locks the copy while it copies"
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::HugeCow]
    }

    fn huge_cow_lock(&self) -> Option<HugeCowLock> {
        Some(HugeCowLock::New)
    }
}
