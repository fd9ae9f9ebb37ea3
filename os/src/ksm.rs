//! Same-page merging: a kernel thread that looks at two pages of a process, and lets the second be
//! mapped where the first is if they hold the same (`try_to_merge_one_page`).
//!
//! Reduced: the thread is told which two pages, in place of its trees, and tries once; the second
//! page itself becomes the shared one.

use emu::{Access, Object, Request};
use mmu::{PAGE_SIZE, Pfn, PhysAddr, Pte, PteFlags, SECTOR_SIZE, VirtAddr};

use crate::Cx;
use crate::exclusive::{is_exclusive, try_share};
use crate::fault::pte_same;
use crate::flush::{FlushRange, flush_tlb_page};
use crate::lock::{down_read, trylock_page, unlock_page, up_read};
use crate::mm::{MmId, find_entry, read_pte, set_pte_at, update_pte};
use crate::page::{
    Holder, PageFlags, get_page, page_add_anon_rmap, page_remove_rmap, page_step, put_page,
};
use crate::patch::MergeRule;
use crate::rmap::has_foreign_references;
use crate::swap::try_to_free_swap;

/// A page of a process, with a reference in hand.
#[derive(Clone, Copy)]
struct Item {
    mm: MmId,
    va: VirtAddr,
    pfn: Pfn,
}

/// Merges the page at `va` into the one at `into`.
pub async fn ksmd(cx: Cx<'_>, mm: MmId, va: VirtAddr, into: VirtAddr) {
    let _span = cx.machine.span("ksmd");
    let sem = cx.mm(mm).mmap_sem;
    down_read(cx, sem).await;
    if let Some(page) = take(cx, mm, va).await {
        if let Some(kept) = take(cx, mm, into).await {
            if make_stable(cx, kept).await && merge(cx, page, kept.pfn).await {
                cx.count("pages merged", 1);
            }
            put_page(cx, kept.pfn, Holder::Hand).await;
        }
        put_page(cx, page.pfn, Holder::Hand).await;
    }
    up_read(cx, sem).await;
}

/// Looks a page up, and takes a reference if it is anonymous.
async fn take(cx: Cx<'_>, mm: MmId, va: VirtAddr) -> Option<Item> {
    let ptl = cx.machine.spin_lock(cx.mm(mm).ptl).await;
    let mut found = None;
    if let Some(at) = find_entry(cx, mm, va).await {
        let pte = read_pte(cx, at).await;
        if pte.is_leaf() && is_anon(cx, pte.pfn()).await {
            get_page(cx, pte.pfn(), Holder::Hand).await;
            let pfn = pte.pfn();
            found = Some(Item { mm, va, pfn });
        }
    }
    ptl.unlock().await;
    found
}

async fn is_anon(cx: Cx<'_>, pfn: Pfn) -> bool {
    page_step(cx, pfn, Access::Read, |page| {
        page.flags.contains(PageFlags::ANON)
    })
    .await
}

/// The page becomes one that is never written in place, if it can be write-protected.
async fn make_stable(cx: Cx<'_>, item: Item) -> bool {
    if !trylock_page(cx, item.pfn).await {
        return false;
    }
    let stable = write_protect_page(cx, item).await.is_some();
    if stable {
        page_step(cx, item.pfn, Access::Update, |page| {
            page.flags |= PageFlags::KSM;
        })
        .await;
    }
    unlock_page(cx, item.pfn).await;
    stable
}

/// Maps `kept` in place of the page, if both hold the same.
async fn merge(cx: Cx<'_>, page: Item, kept: Pfn) -> bool {
    let _span = cx.machine.span("try_to_merge_one_page");
    if !trylock_page(cx, page.pfn).await {
        return false;
    }
    let mut merged = false;
    if let Some(pte) = write_protect_page(cx, page).await
        && pages_identical(cx, page.pfn, kept).await
    {
        merged = replace_page(cx, page, kept, pte).await;
    }
    unlock_page(cx, page.pfn).await;
    merged
}

/// Takes the permission to write away from the one entry that maps the page, unless somebody may
/// write it behind the tables' back; how that is looked at is a patch's question. Returns the
/// entry. The caller holds the page lock.
async fn write_protect_page(cx: Cx<'_>, item: Item) -> Option<Pte> {
    let _span = cx.machine.span("write_protect_page");
    let Item { mm, va, pfn } = item;
    let at = find_entry(cx, mm, va).await?;
    let ptl = cx.machine.spin_lock(cx.mm(mm).ptl).await;
    let pte = read_pte(cx, at).await;
    let rule = cx.ask(|patch| patch.merge_rule());
    if !pte.is_leaf()
        || pte.pfn() != pfn
        || rule == Some(MergeRule::CountFirst) && has_foreign_references(cx, pfn, 0).await
    {
        ptl.unlock().await;
        return None;
    }
    let exclusive = is_exclusive(cx, pfn).await;
    let old = set_pte_at(cx, mm, va, at, Pte::NONE).await;
    flush_tlb_page(cx, mm, FlushRange::page(va)).await;
    let foreign = rule == Some(MergeRule::ClearThenCount)
        && has_foreign_references(cx, pfn, 0).await
        || exclusive && !try_share(cx, pfn).await;
    let new = if foreign {
        old
    } else {
        old.without(PteFlags::W)
    };
    set_pte_at(cx, mm, va, at, new).await;
    ptl.unlock().await;
    if foreign {
        cx.count("merges refused", 1);
        return None;
    }
    Some(new)
}

/// Whether two pages hold the same: a step for each sector.
async fn pages_identical(cx: Cx<'_>, one: Pfn, other: Pfn) -> bool {
    for offset in (0..PAGE_SIZE as u64).step_by(SECTOR_SIZE) {
        let (one, other): (PhysAddr, PhysAddr) = (one.base() + offset, other.base() + offset);
        let request = Request::touch(Object::sector(one), Access::Read, cx.machine.costs().l2);
        let same = cx
            .machine
            .step(request, |acting| {
                cx.machine.touch(Object::sector(other), Access::Read);
                let memory = acting.memory();
                memory.bytes(one, SECTOR_SIZE) == memory.bytes(other, SECTOR_SIZE)
            })
            .await;
        if !same {
            return false;
        }
    }
    true
}

/// Lets the entry name `kept`, if it is still as it was left (`replace_page`).
async fn replace_page(cx: Cx<'_>, page: Item, kept: Pfn, seen: Pte) -> bool {
    let Item { mm, va, pfn } = page;
    let Some(at) = find_entry(cx, mm, va).await else {
        return false;
    };
    let ptl = cx.machine.spin_lock(cx.mm(mm).ptl).await;
    if !pte_same(read_pte(cx, at).await, seen) {
        ptl.unlock().await;
        return false;
    }
    get_page(cx, kept, Holder::Mapping).await;
    page_add_anon_rmap(cx, kept, mm, va.page().get()).await;
    update_pte(cx, mm, va, at, |_| Pte::NONE).await;
    flush_tlb_page(cx, mm, FlushRange::page(va)).await;
    set_pte_at(cx, mm, va, at, Pte::leaf(kept, seen.flags())).await;
    let left = page_remove_rmap(cx, pfn).await;
    put_page(cx, pfn, Holder::Mapping).await;
    ptl.unlock().await;
    if left == 0 && cx.swaps() {
        try_to_free_swap(cx, pfn).await;
    }
    true
}
