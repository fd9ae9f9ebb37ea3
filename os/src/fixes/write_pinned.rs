//! A mutation: reclaim writes a page of the swap cache to its slot whoever has a reference to it.
//!
//! Without this nothing cleans a page while it is pinned, since `pageout` leaves pages alone that
//! somebody else has (`is_page_cache_freeable`), and the mark at unpin is not needed (B37).

use crate::patch::Patch;

pub struct WritePinned;

impl Patch for WritePinned {
    fn name(&self) -> &'static str {
        "write-referenced"
    }

    fn about(&self) -> &'static str {
        "reclaim writes pages to swap that somebody has a reference to"
    }

    fn writes_pinned_pages(&self) -> Option<bool> {
        Some(true)
    }
}
