//! Words of the kernel that a CPU may write later than it goes on, on a machine with store buffers
//! ([`emu::Size::store_buffers`]); and the barriers that some paths need there. On a machine without
//! them these are steps like any other, and barriers are none.
//!
//! Only what a row of the record turns on is written like this: what the lockless pin adds to the
//! count and sets in the flags, the loss of an entry's write permission at fork, the loss of an entry
//! to reclaim, the loss of a mark. Every other write, a lock included, waits until the CPU's earlier
//! ones are done. Atomic operations that return nothing order nothing.

use emu::{Access, Object, Part, Request};
use mmu::{Pfn, PhysAddr, Pte, VirtAddr};

use crate::mm::update_pte;
use crate::page::{Holder, Page, PageFlags};
use crate::{Cx, MmId};

/// The reference count of a page.
const COUNT: Part = Part::of(1);
/// Its flags.
const FLAGS: Part = Part::of(2);
/// Its map count.
const MAPCOUNT: Part = Part::of(3);

/// Waits until what this CPU has written is there for all to see.
pub(crate) async fn smp_mb(cx: Cx<'_>) {
    if cx.machine.size().store_buffers {
        cx.machine.barrier().await;
    }
}

fn page_request(cx: Cx<'_>, pfn: Pfn, access: Access, part: Part) -> (Pfn, Request) {
    let pfn = cx.compound_head(pfn);
    let request = Request::touch(Object::page(pfn), access, cx.machine.costs().l1);
    (pfn, request.part(part))
}

/// Reads the flags of a page.
pub(crate) async fn read_flags(cx: Cx<'_>, pfn: Pfn, look: impl Fn(PageFlags) -> bool) -> bool {
    let (pfn, request) = page_request(cx, pfn, Access::Read, FLAGS);
    cx.machine
        .step(request, |_| {
            let pages = cx.pages.borrow();
            look(pages.get(pfn).map_or(PageFlags::empty(), |page| page.flags))
        })
        .await
}

/// Changes the flags of a page, at once or later.
pub(crate) async fn change_flags<'w>(cx: Cx<'w>, pfn: Pfn, change: impl FnOnce(&mut Page) + 'w) {
    change_page(cx, pfn, FLAGS, change).await;
}

/// Changes the count of a page, at once or later.
pub(crate) async fn change_count<'w>(cx: Cx<'w>, pfn: Pfn, change: impl FnOnce(&mut Page) + 'w) {
    change_page(cx, pfn, COUNT, change).await;
}

/// Adds a reference or a pin of `holder`'s to the count of a page, at once or later.
pub(crate) async fn add_count(cx: Cx<'_>, pfn: Pfn, holder: Holder, count: i32, pins: i32) {
    let (head, request) = page_request(cx, pfn, Access::Update, COUNT);
    cx.machine
        .write_later(request, move |_| {
            cx.oracles.reference_taken(cx, pfn, holder);
            let mut pages = cx.pages.borrow_mut();
            let page = pages.get_mut(head);
            if !page.flags.contains(PageFlags::RESERVED) {
                page.pins += pins;
                page.count += count;
                page.held[holder as usize] += 1;
            }
        })
        .await;
}

/// Changes the map count of a page, at once or later.
pub(crate) async fn change_mapcount<'w>(cx: Cx<'w>, pfn: Pfn, change: impl FnOnce(&mut Page) + 'w) {
    change_page(cx, pfn, MAPCOUNT, change).await;
}

async fn change_page<'w>(cx: Cx<'w>, pfn: Pfn, part: Part, change: impl FnOnce(&mut Page) + 'w) {
    let (pfn, request) = page_request(cx, pfn, Access::Update, part);
    cx.machine
        .write_later(request, move |_| change(cx.pages.borrow_mut().get_mut(pfn)))
        .await;
}

/// Changes an entry, at once or later. What it was is known only where it is changed at once.
pub(crate) async fn change_pte<'w>(
    cx: Cx<'w>,
    mm: MmId,
    va: VirtAddr,
    at: PhysAddr,
    change: impl FnOnce(Pte) -> Pte + 'w,
) {
    if !cx.machine.size().store_buffers {
        update_pte(cx, mm, va, at, change).await;
        return;
    }
    let request = Request::touch(Object::pte(at), Access::Update, cx.machine.costs().l1);
    cx.machine
        .write_later(request, move |acting| {
            let old = acting.read_pte(at);
            let new = change(old);
            acting.write_pte(at, new);
            cx.oracles.entry_changed(cx, mm, va, old, new);
        })
        .await;
}
