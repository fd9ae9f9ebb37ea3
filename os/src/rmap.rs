//! The reverse map of anonymous pages, as far as reclaim needs it: every address space that has a
//! mapping where the page was first mapped, which is that of the family of forks it belongs to.
//!
//! Reduced: one lock stands for the locks of all `anon_vma`s. It is taken only where there is a
//! swap area, since nobody else walks.

use emu::SpinGuard;
use mmu::{PAGE_SIZE, Pfn, Pte, PteFlags, VirtAddr};

use crate::exclusive::{SWP_EXCLUSIVE, is_exclusive, try_share};
use crate::flush::{FlushRange, flush_tlb_page};
use crate::mm::{MmId, find_entry, read_pte, set_pte_at, update_pte};
use crate::page::{Holder, PageFlags, page_mapcount, page_remove_rmap, page_step, put_page};
use crate::patch::UnmapRule;
use crate::swap::{swap_cache_entry, swap_duplicate};
use crate::{Cx, page};

/// What an attempt to unmap a page everywhere came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unmap {
    /// No entry maps it.
    Success,
    /// Some still do; another scan may do better.
    Again,
    /// It was used lately, or must not be unmapped.
    Fail,
}

/// Keeps address spaces from joining and leaving the reverse map (`anon_vma` lock). `None` where
/// there is no swap.
pub async fn anon_vma_lock(cx: Cx<'_>) -> Option<SpinGuard<'_>> {
    let lock = cx.swap.borrow().anon_vma?;
    Some(cx.machine.spin_lock(lock).await)
}

/// Ends [`anon_vma_lock`].
pub async fn anon_vma_unlock(guard: Option<SpinGuard<'_>>) {
    if let Some(guard) = guard {
        guard.unlock().await;
    }
}

/// An address space leaves the reverse map (`anon_vma_unlink`).
pub async fn anon_vma_unlink(cx: Cx<'_>, mm: MmId) {
    let Some(guard) = anon_vma_lock(cx).await else {
        return;
    };
    cx.mms.borrow_mut()[mm].vmas.clear();
    guard.unlock().await;
}

/// Where a page may be mapped, the oldest address space first. The caller holds the lock.
pub(crate) fn places(cx: Cx<'_>, pfn: Pfn) -> Vec<(MmId, VirtAddr)> {
    let index = cx.pages.borrow().get(pfn).map_or(0, |page| page.index);
    let va = VirtAddr::new(index * PAGE_SIZE as u64);
    let mms = cx.mms.borrow();
    let mut all: Vec<_> = mms
        .iter()
        .filter(|(_, mm)| mm.find_vma(va).is_some())
        .map(|(id, mm)| (mm.pid, id))
        .collect();
    all.sort_unstable_by_key(|(pid, _)| *pid);
    all.into_iter().map(|(_, id)| (id, va)).collect()
}

/// Replaces every entry that maps the page by its swap entry. The caller holds the page lock, and
/// a reference.
pub async fn try_to_unmap(cx: Cx<'_>, pfn: Pfn) -> Unmap {
    let _span = cx.machine.span("try_to_unmap");
    let guard = anon_vma_lock(cx).await;
    let mut result = Unmap::Again;
    for (mm, va) in places(cx, pfn) {
        if try_to_unmap_one(cx, pfn, mm, va).await == Unmap::Fail {
            result = Unmap::Fail;
            break;
        }
    }
    anon_vma_unlock(guard).await;
    if page_mapcount(cx, pfn).await == 0 {
        return Unmap::Success;
    }
    result
}

/// One entry. An entry whose accessed mark is set stays, without the mark.
async fn try_to_unmap_one(cx: Cx<'_>, pfn: Pfn, mm: MmId, va: VirtAddr) -> Unmap {
    let Some(at) = find_entry(cx, mm, va).await else {
        return Unmap::Again;
    };
    let ptl = cx.machine.spin_lock(cx.mm(mm).ptl).await;
    let pte = read_pte(cx, at).await;
    if !pte.is_leaf() || pte.pfn() != pfn {
        ptl.unlock().await;
        return Unmap::Again;
    }
    let young = update_pte(cx, mm, va, at, |pte| pte.without(PteFlags::A)).await;
    if young.accessed() {
        flush_tlb_page(cx, mm, FlushRange::page(va)).await;
        ptl.unlock().await;
        return Unmap::Fail;
    }
    let rule = cx
        .ask(|patch| patch.unmap_rule())
        .unwrap_or(UnmapRule::Always);
    let foreign = rule == UnmapRule::CountFirst && has_foreign_references(cx, pfn, 0).await;
    if foreign {
        ptl.unlock().await;
        cx.count("unmaps refused", 1);
        return Unmap::Fail;
    }
    let exclusive = is_exclusive(cx, pfn).await;
    let old = set_pte_at(cx, mm, va, at, Pte::NONE).await;
    flush_tlb_page(cx, mm, FlushRange::page(va)).await;
    if exclusive && !try_share(cx, pfn).await {
        set_pte_at(cx, mm, va, at, old).await;
        ptl.unlock().await;
        cx.count("unmaps refused", 1);
        return Unmap::Fail;
    }
    if rule == UnmapRule::ClearThenCount && has_foreign_references(cx, pfn, 0).await {
        set_pte_at(cx, mm, va, at, old).await;
        ptl.unlock().await;
        cx.count("unmaps refused", 1);
        return Unmap::Fail;
    }
    if old.dirty() {
        page_step(cx, pfn, emu::Access::Update, |page| {
            page.flags |= PageFlags::DIRTY;
        })
        .await;
    }
    let entry = swap_cache_entry(cx, pfn).expect("only pages of the swap cache are unmapped");
    swap_duplicate(cx, entry).await;
    let mark = if exclusive {
        SWP_EXCLUSIVE
    } else {
        PteFlags::empty()
    };
    set_pte_at(cx, mm, va, at, Pte::swap(entry).with(mark)).await;
    page_remove_rmap(cx, pfn).await;
    put_page(cx, pfn, Holder::Mapping).await;
    ptl.unlock().await;
    cx.count("entries unmapped", 1);
    Unmap::Success
}

/// Whether somebody has the page who is no mapping, not the swap cache and not the caller: two
/// looks, the map count first. The caller holds the page lock and one reference, and `more`.
pub async fn has_foreign_references(cx: Cx<'_>, pfn: Pfn, more: i32) -> bool {
    let mapcount = page_mapcount(cx, pfn).await;
    let cached = i32::from(swap_cache_entry(cx, pfn).is_some());
    page::page_count(cx, pfn).await != mapcount + cached + 1 + more
}
