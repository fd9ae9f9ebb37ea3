//! Reclaim: a kernel thread that takes anonymous pages away from those who map them, writes them
//! to swap and frees them.
//!
//! Reduced: it is given the pages to look at in place of lists; the marks of use are looked at
//! once, where an entry is unmapped, and not by a walk of their own before.

use emu::Access;
use mmu::{PAGE_SIZE, Pfn, PteFlags, VirtAddr};

use crate::gup::grants;
use crate::lock::{down_read, trylock_page, unlock_page, up_read};
use crate::mm::{MmId, find_entry, read_pte, update_pte};
use crate::page::{Holder, PageFlags, page_count, page_mapcount, page_step, put_page};
use crate::pagevec::lru_add_drain;
use crate::patch::SwapInsertion;
use crate::pin::GUP_PIN_COUNTING_BIAS;
use crate::rmap::{Unmap, has_foreign_references, try_to_unmap};
use crate::swap::{add_to_swap, delete_from_swap_cache_if, swap_cache_entry, swap_writepage};
use crate::{Cx, event, irq};

/// What a scan did with a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scan {
    /// It is free.
    Reclaimed,
    /// It stays.
    Kept,
}

/// Scans each of `pages` so many times, and sleeps for `delay_us` between scans; before the first
/// too, where time decides.
pub async fn kswapd(cx: Cx<'_>, pages: Vec<Pfn>, delay_us: u64, scans: u32) {
    let _span = cx.machine.span("kswapd");
    for scan in 0..scans {
        if scan > 0 || cx.machine.timed() {
            irq::sleep_cycles(cx, cx.machine.costs().cycles_from_us(delay_us)).await;
        }
        for pfn in &pages {
            shrink_page(cx, *pfn).await;
        }
    }
}

/// Scans each of `pages` once for each of `turns`: after the first event, before the second.
pub(crate) async fn kswapd_in_turn(
    cx: Cx<'_>,
    pages: Vec<Pfn>,
    turns: Vec<(Option<u32>, Option<u32>)>,
) {
    let _span = cx.machine.span("kswapd");
    for (after, then) in turns {
        if let Some(after) = after {
            event::poll(cx, after).await;
        }
        for pfn in &pages {
            shrink_page(cx, *pfn).await;
        }
        if let Some(then) = then {
            event::signal(cx, then).await;
        }
    }
}

/// Reclaim by who needs memory, of what the machine was prepared to have for it.
pub async fn try_to_free_pages(cx: Cx<'_>) {
    let _span = cx.machine.span("try_to_free_pages");
    let pages = cx.reclaimable.borrow().clone();
    for pfn in pages {
        shrink_page(cx, pfn).await;
    }
}

/// Reclaim by who no longer uses the pages from `start` to `end` (`MADV_PAGEOUT`): those that nobody
/// else maps.
pub async fn madvise_pageout(cx: Cx<'_>, start: VirtAddr, end: VirtAddr) {
    let _span = cx.machine.span("madvise_pageout");
    let mm = cx.current_mm();
    let sem = cx.mm(mm).mmap_sem;
    down_read(cx, sem).await;
    lru_add_drain(cx).await;
    let mut va = start;
    while va < end {
        if let Some(pfn) = isolate_mapped(cx, mm, va).await {
            let _span = cx.machine.span("shrink_page_list");
            shrink_isolated_page(cx, pfn).await;
        }
        va = va + PAGE_SIZE as u64;
    }
    up_read(cx, sem).await;
}

/// Clears the accessed mark of an entry, and isolates the page if it is mapped nowhere else.
async fn isolate_mapped(cx: Cx<'_>, mm: MmId, va: VirtAddr) -> Option<Pfn> {
    let ptl = cx.machine.spin_lock(cx.mm(mm).ptl).await;
    let mut isolated = None;
    if let Some(at) = find_entry(cx, mm, va).await
        && let Some(pfn) = grants(read_pte(cx, at).await, false)
        && page_mapcount(cx, pfn).await == 1
    {
        update_pte(cx, mm, va, at, |pte| pte.without(PteFlags::A)).await;
        isolated = isolate_lru_page(cx, pfn).await.then_some(pfn);
    }
    ptl.unlock().await;
    isolated
}

/// One page of `shrink_page_list`.
pub async fn shrink_page(cx: Cx<'_>, pfn: Pfn) -> Scan {
    let _span = cx.machine.span("shrink_page_list");
    lru_add_drain(cx).await;
    if !isolate_lru_page(cx, pfn).await {
        return Scan::Kept;
    }
    shrink_isolated_page(cx, pfn).await
}

async fn shrink_isolated_page(cx: Cx<'_>, pfn: Pfn) -> Scan {
    let mut scan = Scan::Kept;
    if trylock_page(cx, pfn).await {
        let (result, locked) = shrink_locked_page(cx, pfn).await;
        scan = result;
        if locked {
            unlock_page(cx, pfn).await;
        }
    }
    put_page(cx, pfn, Holder::Hand).await;
    if scan == Scan::Reclaimed {
        cx.count("pages reclaimed", 1);
    }
    scan
}

/// Takes a reference to a page that the lists have: one that is in use, and in no CPU's batch.
async fn isolate_lru_page(cx: Cx<'_>, pfn: Pfn) -> bool {
    page_step(cx, pfn, Access::Update, |page| {
        let listed = page.count > 0
            && page.flags.contains(PageFlags::ANON)
            && !page
                .flags
                .intersects(PageFlags::TABLE | PageFlags::RESERVED | PageFlags::BATCHED);
        if listed {
            page.count += 1;
            page.held[Holder::Hand as usize] += 1;
        }
        listed
    })
    .await
}

/// With the page locked; says whether it still is.
async fn shrink_locked_page(cx: Cx<'_>, pfn: Pfn) -> (Scan, bool) {
    let referenced = page_step(cx, pfn, Access::Update, |page| {
        let busy = page.flags.contains(PageFlags::WRITEBACK);
        let used = page.flags.contains(PageFlags::REFERENCED) && page.mapcount > 0;
        if !busy {
            page.flags -= PageFlags::REFERENCED;
        }
        busy || used
    })
    .await;
    if referenced {
        return (Scan::Kept, true);
    }
    if swap_cache_entry(cx, pfn).is_none()
        && (!may_be_inserted(cx, pfn).await || !add_to_swap(cx, pfn).await)
    {
        return (Scan::Kept, true);
    }
    if page_mapcount(cx, pfn).await > 0 && try_to_unmap(cx, pfn).await != Unmap::Success {
        return (Scan::Kept, true);
    }
    if is_dirty(cx, pfn).await {
        if !pageout(cx, pfn).await {
            return (Scan::Kept, true);
        }
        if !trylock_page(cx, pfn).await {
            return (Scan::Kept, false);
        }
    }
    if remove_mapping(cx, pfn).await {
        (Scan::Reclaimed, true)
    } else {
        (Scan::Kept, true)
    }
}

async fn is_dirty(cx: Cx<'_>, pfn: Pfn) -> bool {
    page_step(cx, pfn, Access::Read, |page| {
        page.flags.contains(PageFlags::DIRTY)
    })
    .await
}

/// Whether the page may get a slot.
async fn may_be_inserted(cx: Cx<'_>, pfn: Pfn) -> bool {
    let may = match cx
        .ask(|patch| patch.swap_insertion())
        .unwrap_or(SwapInsertion::Always)
    {
        SwapInsertion::Always => true,
        SwapInsertion::CountIsMapped => {
            let mapped = page_mapcount(cx, pfn).await > 0;
            page_count(cx, pfn).await <= i32::from(mapped)
        }
        SwapInsertion::NotPinned => page_count(cx, pfn).await < GUP_PIN_COUNTING_BIAS,
        SwapInsertion::CountIsMappings => !has_foreign_references(cx, pfn, 0).await,
    };
    if !may {
        cx.count("swap insertions refused", 1);
    }
    may
}

/// Writes a dirty page whose lock is held to its slot, if nobody has it but the swap cache and
/// the caller. False: it was not written, and is still locked.
async fn pageout(cx: Cx<'_>, pfn: Pfn) -> bool {
    let _span = cx.machine.span("pageout");
    let looks = !cx.ask(|patch| patch.writes_pinned_pages()).unwrap_or(false);
    if looks && page_count(cx, pfn).await != 2 {
        return false;
    }
    page_step(cx, pfn, Access::Update, |page| {
        page.flags -= PageFlags::DIRTY;
    })
    .await;
    swap_writepage(cx, pfn).await;
    true
}

/// Takes a clean page that nobody else has out of the swap cache, for good. That nobody has it
/// matters before that it is clean: who gives it back has made it dirty first.
async fn remove_mapping(cx: Cx<'_>, pfn: Pfn) -> bool {
    delete_from_swap_cache_if(cx, pfn, |page, _| {
        page.count == 2
            && !page
                .flags
                .intersects(PageFlags::DIRTY | PageFlags::WRITEBACK)
    })
    .await
}
