//! Pins counted apart from references (`FOLL_PIN`): each adds 1,024 to the count of a page, so that
//! a page may be pinned if its count is that high. The address space remembers that it ever pinned
//! anything, and counts the forks that take write access away from its entries. Who takes such
//! pins, and what fork makes of them, are questions to patches.

use emu::{Access, Request, Word};
use mmu::Pfn;

use crate::context::mm_object;
use crate::mm::Mm;
use crate::page::{
    Holder, PageFlags, get_page_unless_zero, get_page_unordered, page_count, put_page,
};
use crate::patch::DmaPins;
use crate::{Cx, MmId, barrier, cow_direction};

/// What a pin adds to the count of a page.
pub const GUP_PIN_COUNTING_BIAS: i32 = 1024;

/// What a lookup takes of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Foll {
    /// A reference (`FOLL_GET`).
    Get,
    /// A pin (`FOLL_PIN`).
    Pin,
}

/// What direct I/O takes.
pub(crate) fn of_direct_io(cx: Cx<'_>) -> Foll {
    match cx.ask(|patch| patch.dma_pins()) {
        Some(DmaPins::DirectIo) => Foll::Pin,
        _ => Foll::Get,
    }
}

/// What a registration of memory takes.
pub(crate) fn of_registration(cx: Cx<'_>) -> Foll {
    match cx.ask(|patch| patch.dma_pins()) {
        Some(_) => Foll::Pin,
        None => Foll::Get,
    }
}

/// Takes a reference or a pin (`try_grab_page`).
pub(crate) async fn grab_page(cx: Cx<'_>, pfn: Pfn, foll: Foll) {
    if foll == Foll::Get {
        get_page_unordered(cx, pfn, Holder::Pin).await;
        count_at_root(cx, pfn, 1).await;
        return;
    }
    barrier::add_count(cx, pfn, Holder::Pin, GUP_PIN_COUNTING_BIAS, 1).await;
}

/// The same for a path that holds no lock (`try_grab_folio`); false: the page is free. The reference is
/// taken by an operation that is a barrier, what makes a pin of it is added by one that is none.
pub(crate) async fn try_grab_folio(cx: Cx<'_>, pfn: Pfn, foll: Foll) -> bool {
    if !get_page_unless_zero(cx, pfn, Holder::Pin).await {
        return false;
    }
    if foll == Foll::Pin {
        barrier::change_count(cx, pfn, |page| {
            if !page.flags.contains(PageFlags::RESERVED) {
                page.pins += 1;
                page.count += GUP_PIN_COUNTING_BIAS - 1;
            }
        })
        .await;
    }
    true
}

/// Gives it back (`put_page`, `unpin_user_page`).
pub(crate) async fn release_page(cx: Cx<'_>, pfn: Pfn, foll: Foll) {
    cow_direction::unclaim(cx, pfn).await;
    if foll == Foll::Get {
        count_at_root(cx, pfn, -1).await;
        put_page(cx, pfn, Holder::Pin).await;
        return;
    }
    let head = cx.compound_head(pfn);
    let request = Request::touch(
        emu::Object::page(head),
        Access::Update,
        cx.machine.costs().l1,
    );
    cx.machine
        .step(request, move |_| {
            {
                let mut pages = cx.pages.borrow_mut();
                let page = pages.get_mut(head);
                if !page.flags.contains(PageFlags::RESERVED) {
                    page.pins -= 1;
                    page.count -= GUP_PIN_COUNTING_BIAS - 1;
                }
            }
            cx.drop_reference(head, Holder::Pin);
        })
        .await;
}

/// Counts a pin at the root of the page's reverse map, if the kernel does that.
async fn count_at_root(cx: Cx<'_>, pfn: Pfn, by: i32) {
    if cx.ask(|patch| patch.pins_per_root()) != Some(true) {
        return;
    }
    if let Some(root) = root_of(cx, pfn) {
        let change = |mm: &mut Mm| mm.root_pins = mm.root_pins.saturating_add_signed(by);
        mm_step(cx, root, Access::Update, change).await;
    }
}

/// Whether any page of the root of the page's reverse map is pinned.
pub(crate) async fn root_is_pinned(cx: Cx<'_>, pfn: Pfn) -> bool {
    match root_of(cx, pfn) {
        Some(root) => mm_step(cx, root, Access::Read, |mm| mm.root_pins > 0).await,
        None => false,
    }
}

/// The address space where the page was first mapped, while it is there; it stands for the root.
fn root_of(cx: Cx<'_>, pfn: Pfn) -> Option<MmId> {
    let root = cx.pages.borrow().get(pfn)?.mapping?;
    cx.mms.borrow().contains_key(root).then_some(root)
}

async fn mm_step<R: Word>(
    cx: Cx<'_>,
    mm: MmId,
    access: Access,
    change: impl FnOnce(&mut Mm) -> R,
) -> R {
    let request = Request::touch(mm_object(cx, mm), access, cx.machine.costs().l1);
    cx.machine
        .step(request, |_| change(&mut cx.mms.borrow_mut()[mm]))
        .await
}

/// The address space is about to pin something.
pub(crate) async fn set_has_pinned(cx: Cx<'_>, mm: MmId) {
    mm_step(cx, mm, Access::Write, |mm| mm.has_pinned = true).await;
}

/// Whether fork has to take an anonymous page for pinned (`page_maybe_dma_pinned`).
pub(crate) async fn may_be_pinned(cx: Cx<'_>, mm: MmId, page: Pfn) -> bool {
    mm_step(cx, mm, Access::Read, |mm| mm.has_pinned).await
        && page_count(cx, page).await >= GUP_PIN_COUNTING_BIAS
}

/// Fork begins with a mapping that is copied on write.
pub(crate) async fn write_protect_begins(cx: Cx<'_>, mm: MmId) {
    if cx.ask(|patch| patch.write_protect_seq()) == Some(true) {
        mm_step(cx, mm, Access::Update, |mm| mm.write_protect_seq += 1).await;
    }
}

/// Fork is through with it.
pub(crate) async fn write_protect_ends(cx: Cx<'_>, mm: MmId) {
    write_protect_begins(cx, mm).await;
}

/// The number of forks as a pin sees it, if the kernel counts them.
pub(crate) async fn read_write_protect_seq(cx: Cx<'_>, mm: MmId, foll: Foll) -> u64 {
    if foll == Foll::Get || cx.ask(|patch| patch.write_protect_seq()) != Some(true) {
        return 0;
    }
    mm_step(cx, mm, Access::Read, |mm| mm.write_protect_seq).await
}
