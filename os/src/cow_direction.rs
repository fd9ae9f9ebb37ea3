//! Directed copy-on-write: a page keeps to one of the address spaces that share it, and a store of
//! that one gives copies to the others instead of taking one itself. Who keeps it is a patch's
//! question: the address space that had the page first (row B06), or the one that pinned it while
//! it was shared, of which there can then be no second (row B07).

use emu::{Access, SpinGuard};
use mmu::{Pfn, Pte, PteFlags, VirtAddr};

use crate::fault::{FaultAt, pte_same};
use crate::flush::{FlushRange, flush_tlb_page};
use crate::lock::{lock_page, unlock_page};
use crate::mm::{MmId, find_entry, read_pte, set_pte_at};
use crate::page::{
    Holder, PageFlags, alloc_page, copy_page, get_page, page_add_new_anon_rmap, page_mapcount,
    page_remove_rmap, page_step, pass_reference, put_page,
};
use crate::patch::CowDirection;
use crate::rmap::{anon_vma_lock, anon_vma_unlock, places};
use crate::{Cx, Errno};

/// Who pinned a page, while it is pinned: kept with the page.
#[derive(Clone, Copy, Default)]
struct PinnedFrom {
    mm: Option<MmId>,
    pins: u32,
}

/// A pin of `mm` is about to be taken, under its page-table lock. False: it must not be.
pub(crate) async fn claim(cx: Cx<'_>, mm: MmId, pfn: Pfn) -> bool {
    if cx.ask(|patch| patch.cow_direction()) != Some(CowDirection::FirstPin) {
        return true;
    }
    let mine = page_step(cx, pfn, Access::Update, |page| {
        if page.flags.contains(PageFlags::RESERVED) {
            return true;
        }
        let shared = page.mapcount > 1;
        let from: &mut PinnedFrom = page.ext.get_or_insert_default().get_or_default();
        let free = from.pins == 0 || !shared && from.mm == Some(mm);
        if free {
            from.mm = Some(mm);
            from.pins += 1;
        }
        free
    })
    .await;
    if !mine {
        cx.count("pins refused", 1);
    }
    mine
}

/// A pin is about to be given back.
pub(crate) async fn unclaim(cx: Cx<'_>, pfn: Pfn) {
    if cx.ask(|patch| patch.cow_direction()) != Some(CowDirection::FirstPin) {
        return;
    }
    page_step(cx, pfn, Access::Update, |page| {
        if let Some(ext) = &mut page.ext {
            let from: &mut PinnedFrom = ext.get_or_default();
            from.pins = from.pins.saturating_sub(1);
        }
    })
    .await;
}

/// A store finds an anonymous page without write permission. If the page is this address space's
/// to keep, whoever shares it gets a copy. Called with the page-table lock held; without it on
/// return, look again.
pub(crate) async fn take_from_others<'w>(
    cx: Cx<'w>,
    fault: FaultAt,
    pte: Pte,
    ptl: SpinGuard<'w>,
) -> Result<Option<SpinGuard<'w>>, Errno> {
    let Some(direction) = cx.ask(|patch| patch.cow_direction()) else {
        return Ok(Some(ptl));
    };
    let pfn = pte.pfn();
    let shared = page_mapcount(cx, pfn).await > 1;
    if !shared || keeper(cx, pfn, direction, fault.mm).await != Some(KeptBy::Me) {
        return Ok(Some(ptl));
    }
    get_page(cx, pfn, Holder::Hand).await;
    ptl.unlock().await;
    lock_page(cx, pfn).await;
    let copied = copy_for_others(cx, fault.mm, pfn).await;
    unlock_page(cx, pfn).await;
    let ptl = cx.machine.spin_lock(cx.mm(fault.mm).ptl).await;
    let same = pte_same(read_pte(cx, fault.at).await, pte);
    let alone = same && page_mapcount(cx, pfn).await == 1;
    put_page(cx, pfn, Holder::Hand).await;
    if alone && copied.is_ok() {
        return Ok(Some(ptl));
    }
    ptl.unlock().await;
    copied.map(|()| None)
}

/// Whether another address space has pinned the page, which the caller alone maps by now: looked at
/// after the map count, since who has unmapped the page by then pinned it before that.
pub(crate) async fn is_kept(cx: Cx<'_>, mm: MmId, pfn: Pfn) -> bool {
    let direction = cx.ask(|patch| patch.cow_direction());
    direction == Some(CowDirection::FirstPin)
        && cx.ask(|patch| patch.cow_looks_for_pins()) != Some(false)
        && keeper(cx, pfn, CowDirection::FirstPin, mm).await == Some(KeptBy::Other)
}

/// Who keeps a page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeptBy {
    Me,
    Other,
}

impl emu::Word for KeptBy {
    fn word(&self) -> u64 {
        *self as u64
    }
}

/// Who keeps the page, as `me` sees it. A pin of `me` cannot come meanwhile if its page-table lock is
/// held.
async fn keeper(cx: Cx<'_>, pfn: Pfn, direction: CowDirection, me: MmId) -> Option<KeptBy> {
    page_step(cx, pfn, Access::Read, |page| {
        let mm = match direction {
            CowDirection::FirstOwner => page.mapping,
            CowDirection::FirstPin => {
                let from = page.ext.as_ref().and_then(|it| it.get::<PinnedFrom>());
                from.filter(|it| it.pins > 0).and_then(|it| it.mm)
            }
        };
        mm.map(|mm| if mm == me { KeptBy::Me } else { KeptBy::Other })
    })
    .await
}

/// Goes through the reverse map. The caller holds the page lock.
async fn copy_for_others(cx: Cx<'_>, mm: MmId, pfn: Pfn) -> Result<(), Errno> {
    let _span = cx.machine.span("copy_for_others");
    cx.count("reverse-map walks in faults", 1);
    let guard = anon_vma_lock(cx).await;
    let mut result = Ok(());
    for (other, va) in places(cx, pfn) {
        if other != mm && result.is_ok() {
            result = copy_for(cx, other, va, pfn).await;
        }
    }
    anon_vma_unlock(guard).await;
    result
}

/// `mm` gets a copy of the page, if it maps it; read-only, as the page was. A pin that it has taken
/// meanwhile stays with the page, and [`is_kept`] with the pin.
async fn copy_for(cx: Cx<'_>, mm: MmId, va: VirtAddr, pfn: Pfn) -> Result<(), Errno> {
    let Some(at) = find_entry(cx, mm, va).await else {
        return Ok(());
    };
    let ptl = cx.machine.spin_lock(cx.mm(mm).ptl).await;
    let pte = read_pte(cx, at).await;
    if !pte.is_leaf() || pte.pfn() != pfn {
        ptl.unlock().await;
        return Ok(());
    }
    let Some(new) = alloc_page(cx).await else {
        ptl.unlock().await;
        return Err(Errno::ENOMEM);
    };
    copy_page(cx, new, pfn).await;
    page_add_new_anon_rmap(cx, new, mm, va.page().get()).await;
    pass_reference(cx, new, Holder::Hand, Holder::Mapping);
    let copy = Pte::leaf(new, pte.flags() | PteFlags::D);
    set_pte_at(cx, mm, va, at, copy).await;
    flush_tlb_page(cx, mm, FlushRange::page(va)).await;
    page_remove_rmap(cx, pfn).await;
    put_page(cx, pfn, Holder::Mapping).await;
    ptl.unlock().await;
    Ok(())
}
