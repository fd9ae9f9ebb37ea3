//! A file of huge pages and its page cache, as far as private mappings need it: a fault that is going
//! to break copy-on-write finds and locks the cached page first, so that truncation stays out.
//!
//! Reduced: one file of one huge page, which is always cached; there is no truncation.

use mmu::{Pfn, VirtAddr};

use crate::lock::{lock_page, unlock_page};
use crate::mm::{Found, VmFlags, find_any};
use crate::page::{Holder, get_page, put_page};
use crate::{Cx, MmId};

/// Finds the cached page of a file mapping, takes a reference and locks it
/// (`hugetlbfs_pagecache_page`). May sleep. `None`: the memory is anonymous.
pub(crate) async fn find_lock_page(cx: Cx<'_>, mm: MmId, va: VirtAddr) -> Option<Pfn> {
    let of_file = {
        let mms = cx.mms.borrow();
        let vma = mms[mm].find_vma(va);
        vma.is_some_and(|vma| vma.flags.contains(VmFlags::FILE))
    };
    let page = cx.huge_file.get().filter(|_| of_file)?;
    get_page(cx, page, Holder::Hand).await;
    lock_page(cx, page).await;
    Some(page)
}

/// The same for a fault, if its store will break copy-on-write.
pub(crate) async fn find_lock_page_for(
    cx: Cx<'_>,
    mm: MmId,
    va: VirtAddr,
    write: bool,
) -> Option<Pfn> {
    if !write || cx.huge_file.get().is_none() {
        return None;
    }
    match find_any(cx, mm, va).await {
        Some(Found::Huge(_, pte)) if !pte.writable() => find_lock_page(cx, mm, va).await,
        _ => None,
    }
}

/// Ends [`find_lock_page`].
pub(crate) async fn unlock_and_put_page(cx: Cx<'_>, page: Option<Pfn>) {
    if let Some(page) = page {
        unlock_page(cx, page).await;
        put_page(cx, page, Holder::Hand).await;
    }
}
