//! Mappings that are marked by the first pin in them (row B12): fork leaves the parent's entries
//! alone and copies every page for the child, and pages that come to lie in such a mapping carry a
//! mark of their own, which the lockless pin asks for.

use emu::Access;
use mmu::VirtAddr;

use crate::fault::handle_mm_fault;
use crate::lock::{down_write, downgrade_write, up_read};
use crate::mm::{Mm, MmId, VmFlags, find_entry, read_pte};
use crate::page::{PageFlags, page_step};
use crate::{Cx, Errno};

/// Whether the kernel marks mappings.
pub(crate) fn kept(cx: Cx<'_>) -> bool {
    cx.ask(|patch| patch.pins_mark_mappings()) == Some(true)
}

/// Whether the page at `va` lies in a marked mapping. `mmap_sem` is held.
pub(crate) fn is_marked(mm: &Mm, va: VirtAddr) -> bool {
    let vma = mm.find_vma(va);
    vma.is_some_and(|vma| vma.flags.contains(VmFlags::PINNED))
}

/// A slow pin comes to `va`. The first in a mapping gives the shared `mmap_sem` up and takes it
/// alone, breaks copy-on-write in the whole mapping, marks it, and shares the semaphore again. A
/// caller that has the semaphore alone is not asked.
pub(crate) async fn first_pin(cx: Cx<'_>, mm: MmId, va: VirtAddr) -> Result<(), Errno> {
    let unmarked = |mm: &Mm| {
        let vma = mm.find_vma(va)?;
        let new = vma.flags.contains(VmFlags::WRITE) && !vma.flags.contains(VmFlags::PINNED);
        new.then_some((vma.start, vma.end))
    };
    if !kept(cx) || unmarked(&cx.mms.borrow()[mm]).is_none() {
        return Ok(());
    }
    let _span = cx.machine.span("make_vma_nocow");
    let sem = cx.mm(mm).mmap_sem;
    up_read(cx, sem).await;
    down_write(cx, sem).await;
    let mut result = Ok(());
    let range = unmarked(&cx.mms.borrow()[mm]);
    if let Some((start, end)) = range {
        let pages = (end - start) / mmu::PAGE_SIZE as u64;
        for page in 0..pages {
            let here = start + page * mmu::PAGE_SIZE as u64;
            result = own_page(cx, mm, here).await;
            if result.is_err() {
                break;
            }
        }
        if result.is_ok()
            && let Some(vma) = cx.mms.borrow_mut()[mm].vmas.get_mut(&start.get())
        {
            vma.flags |= VmFlags::PINNED;
        }
    }
    downgrade_write(cx, sem).await;
    result
}

/// Breaks copy-on-write of a page that is present, and marks it.
async fn own_page(cx: Cx<'_>, mm: MmId, va: VirtAddr) -> Result<(), Errno> {
    loop {
        let Some(at) = find_entry(cx, mm, va).await else {
            return Ok(());
        };
        let pte = read_pte(cx, at).await;
        if !pte.is_leaf() || pte.pfn() == cx.zero_page {
            return Ok(());
        }
        if pte.writable() {
            page_step(cx, pte.pfn(), Access::Update, |page| {
                page.flags |= PageFlags::GUP;
            })
            .await;
            return Ok(());
        }
        handle_mm_fault(cx, mm, va, true).await?;
    }
}
