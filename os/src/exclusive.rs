//! Pages that one address space alone has (`PG_anon_exclusive`). The mark is set on a new anonymous
//! page, and when a write fault finds that nobody else has one; a page with the mark is written in
//! place whatever its count. Fork takes it away when it shares the page, and reclaim when it unmaps
//! it, but not from a page that may be pinned: fork copies that, and reclaim lets it be. So a pin
//! that found the mark stays with the address space. In swap, a software bit of the entry stands
//! for the mark.

use emu::Access;
use mmu::{Pfn, PteFlags};

use crate::gup::Want;
use crate::page::{PageFlags, page_count, page_step};
use crate::patch::Unshare;
use crate::pin::{Foll, GUP_PIN_COUNTING_BIAS, may_be_pinned};
use crate::{Cx, MmId, barrier};

/// Of an entry in swap: the page was exclusive (`pte_swp_exclusive`).
pub(crate) const SWP_EXCLUSIVE: PteFlags = PteFlags::SOFT0;

/// Whether the kernel has the mark.
pub(crate) fn kept(cx: Cx<'_>) -> bool {
    cx.ask(|patch| patch.anon_exclusive()) == Some(true)
}

/// The flags of a new anonymous page.
pub(crate) fn of_new_page(cx: Cx<'_>) -> PageFlags {
    match kept(cx) && cx.ask(|patch| patch.new_pages_exclusive()) != Some(false) {
        true => PageFlags::ANON | PageFlags::EXCLUSIVE,
        false => PageFlags::ANON,
    }
}

/// Whether the page has the mark. The caller holds a page-table lock, or a pin.
pub(crate) async fn is_exclusive(cx: Cx<'_>, pfn: Pfn) -> bool {
    if !kept(cx) {
        return false;
    }
    barrier::read_flags(cx, pfn, |flags| flags.contains(PageFlags::EXCLUSIVE)).await
}

/// Nobody else has the page. The caller holds the page-table lock.
pub(crate) async fn set_exclusive(cx: Cx<'_>, pfn: Pfn) {
    if kept(cx) {
        page_step(cx, pfn, Access::Update, |page| {
            page.flags |= PageFlags::EXCLUSIVE;
        })
        .await;
    }
}

/// fork is about to share the page (`page_try_dup_anon_rmap`). False: it may be pinned, so the child
/// needs a copy. The caller holds both page-table locks.
pub(crate) async fn try_dup(cx: Cx<'_>, parent: MmId, pfn: Pfn) -> bool {
    if !is_exclusive(cx, pfn).await {
        return true;
    }
    if tests_pins(cx) && may_be_pinned(cx, parent, pfn).await {
        return false;
    }
    clear_exclusive(cx, pfn).await;
    true
}

/// The page is about to be shared or unmapped, and its entry is gone (`page_try_share_anon_rmap`).
/// False: it may be pinned. The caller holds the page-table lock.
///
/// A lockless pin counts itself, then looks at the entry and the mark: one of the two must see the
/// other, which needs an order between what each writes and what it reads next. (That the entry is
/// gone is in order here, since clearing it also tells what it was.)
pub(crate) async fn try_share(cx: Cx<'_>, pfn: Pfn) -> bool {
    let ordered = cx.ask(|patch| patch.share_barriers()) == Some(true);
    if ordered {
        barrier::smp_mb(cx).await;
    }
    if tests_pins(cx) && page_count(cx, pfn).await >= GUP_PIN_COUNTING_BIAS {
        return false;
    }
    clear_exclusive(cx, pfn).await;
    if ordered {
        barrier::smp_mb(cx).await;
    }
    true
}

fn tests_pins(cx: Cx<'_>) -> bool {
    cx.ask(|patch| patch.share_tests_pins()).unwrap_or(true)
}

async fn clear_exclusive(cx: Cx<'_>, pfn: Pfn) {
    barrier::change_flags(cx, pfn, |page| page.flags -= PageFlags::EXCLUSIVE).await;
}

/// Whether a pin that only reads must not take the page as it is mapped, read-only: the process may
/// have another one there later (`gup_must_unshare`).
pub(crate) async fn must_unshare(cx: Cx<'_>, pfn: Pfn, want: Want) -> bool {
    let rule = cx.ask(|patch| patch.unshare()).unwrap_or(Unshare::Never);
    if rule == Unshare::Never || want.write || want.foll != Foll::Pin {
        return false;
    }
    barrier::read_flags(cx, pfn, |flags| {
        if flags.contains(PageFlags::ANON) {
            !flags.contains(PageFlags::EXCLUSIVE)
        } else {
            rule == Unshare::LongTerm && want.long_term
        }
    })
    .await
}
