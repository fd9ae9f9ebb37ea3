//! Soft-dirty clearing takes write access from pages that may be pinned too. Guards U12 there.

use crate::patch::Patch;

pub struct ClearRefsForgets;

impl Patch for ClearRefsForgets {
    fn name(&self) -> &'static str {
        "clear-refs-forgets"
    }

    fn about(&self) -> &'static str {
        "soft-dirty clearing write-protects pinned pages"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["clear-refs-keeps-pinned"]
    }

    fn clear_refs_keeps_pinned(&self) -> Option<bool> {
        Some(false)
    }
}
