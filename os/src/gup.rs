//! Pins: references to pages through user addresses, the slow way under locks and the fast way
//! without.

use emu::{Access, Mode};
use mmu::{Pfn, PhysAddr, Pte, VirtAddr};

use crate::direct_io::DioId;
use crate::fault::{Fault, handle_mm_fault};
use crate::huge::follow_hugetlb_page;
use crate::lock::{lock_sleeping, unlock_sleeping};
use crate::mm::{Found, MmId, VmFlags, find_any, find_entry, read_pte};
use crate::page::{Holder, PageFlags, get_page, get_page_multiple, page_step, put_page};
use crate::page_guard::{self, InPin};
use crate::patch::{DioGuard, DioPinMode, FastPin, PinMark};
use crate::{Cx, Errno, dio_range};

/// Pins `count` pages from `start`, the slow way (`get_user_pages`): under `mmap_sem`, which the
/// caller shares. `write`: the pinner will write them. `request`: for direct I/O, which may have to
/// guard the pages.
///
/// For each page: if the entry grants the access, take a reference under the page-table lock; else
/// fault and look again. Once a fault reports that it broke copy-on-write, the lookup stops asking
/// for write access.
pub async fn get_user_pages(
    cx: Cx<'_>,
    request: Option<DioId>,
    mm: MmId,
    start: VirtAddr,
    count: usize,
    write: bool,
    pages: &mut Vec<Pfn>,
) -> Result<(), Errno> {
    let _span = cx.machine.span("get_user_pages");
    let end = start + (count * mmu::PAGE_SIZE) as u64;
    let mut va = start;
    while va < end {
        if cx.is_huge(mm, va) {
            let count = pages_in_huge(va, end);
            follow_hugetlb_page(cx, mm, va, count, write, pages).await?;
            va = va + (count * mmu::PAGE_SIZE) as u64;
            continue;
        }
        let mut want_write = write;
        loop {
            if let Some(pfn) = follow_page(cx, request, mm, va, want_write).await {
                pages.push(pfn);
                break;
            }
            let fault = handle_mm_fault(cx, mm, va, want_write).await?;
            match fault {
                Fault::Write => want_write = false,
                Fault::SentBack(page) => dio_range::wait_to_retry(cx, mm, va, page).await,
                Fault::Minor => {}
            }
        }
        va = va + mmu::PAGE_SIZE as u64;
    }
    cx.count("slow pins", count as u64);
    Ok(())
}

/// How many of the pages from `va` to `end` lie in the huge page at `va`.
fn pages_in_huge(va: VirtAddr, end: VirtAddr) -> usize {
    let rest = mmu::PAGES_PER_LARGE - va.page().index_in_large();
    (rest as usize).min((end - va) as usize / mmu::PAGE_SIZE)
}

impl crate::Kernel<'_> {
    pub(crate) fn is_huge(&self, mm: MmId, va: VirtAddr) -> bool {
        let mms = self.mms.borrow();
        let vma = mms[mm].find_vma(va);
        vma.is_some_and(|vma| vma.flags.contains(VmFlags::HUGE))
    }
}

/// Looks a page up and takes a reference, if its entry grants the access. A page whose guard was
/// busy is looked at again under it: another may be mapped by now.
async fn follow_page(
    cx: Cx<'_>,
    request: Option<DioId>,
    mm: MmId,
    va: VirtAddr,
    want_write: bool,
) -> Option<Pfn> {
    let _span = cx.machine.span("follow_page");
    let ptl = cx.machine.spin_lock(cx.mm(mm).ptl).await;
    let found = match find_entry(cx, mm, va).await {
        Some(at) => grants(read_pte(cx, at).await, want_write),
        None => None,
    };
    if let Some(pfn) = found {
        get_page(cx, pfn, Holder::Pin).await;
        mark_as_asked(cx, pfn, want_write).await;
        if let InPin::Sleep(lock, mode) = page_guard::try_guard_in_pin(cx, request, pfn).await {
            ptl.unlock().await;
            lock_sleeping(cx, lock, mode, "page guard").await;
            let ptl = cx.machine.spin_lock(cx.mm(mm).ptl).await;
            let now = match find_entry(cx, mm, va).await {
                Some(at) => grants(read_pte(cx, at).await, want_write),
                None => None,
            };
            ptl.unlock().await;
            if let (true, Some(id)) = (now == found, request) {
                page_guard::note(cx, id, found, lock, mode);
                return found;
            }
            unlock_sleeping(cx, lock, mode, cx.machine.context()).await;
            put_page(cx, pfn, Holder::Pin).await;
            return None;
        }
    }
    ptl.unlock().await;
    found
}

/// Leaves on a page that was just pinned under the page-table lock what the kernel wants there.
pub(crate) async fn mark_as_asked(cx: Cx<'_>, pfn: Pfn, want_write: bool) {
    let mark = match cx.ask(|patch| patch.pin_mark()).unwrap_or(PinMark::None) {
        PinMark::None => false,
        PinMark::WhileWriteWanted => want_write,
        PinMark::Always => true,
        PinMark::Referenced => {
            mark_page_accessed(cx, pfn).await;
            false
        }
    };
    if mark {
        mark_pinned(cx, pfn).await;
    }
}

pub(crate) fn grants(pte: Pte, write: bool) -> Option<Pfn> {
    (pte.present() && pte.user() && (!write || pte.writable())).then(|| pte.pfn())
}

/// Sets the sticky mark, if it is not there yet.
async fn mark_pinned(cx: Cx<'_>, pfn: Pfn) {
    set_mark(cx, pfn).await;
}

/// The same, and tells whether it had to.
async fn set_mark(cx: Cx<'_>, pfn: Pfn) -> bool {
    let mut new = false;
    page_step(cx, pfn, Access::Update, |page| {
        new = !page.flags.contains(PageFlags::GUP);
        page.flags |= PageFlags::GUP;
    })
    .await;
    new
}

/// The page was used, as reclaim sees it.
async fn mark_page_accessed(cx: Cx<'_>, pfn: Pfn) {
    page_step(cx, pfn, Access::Update, |page| {
        page.flags |= PageFlags::REFERENCED;
    })
    .await;
}

/// Pins the fast way if the kernel has one, and the rest the slow way (`get_user_pages_fast`).
/// Nothing is held; on an error what was pinned is released.
pub async fn pin_pages(
    cx: Cx<'_>,
    request: DioId,
    mm: MmId,
    start: VirtAddr,
    count: usize,
    write: bool,
) -> Result<Vec<Pfn>, Errno> {
    let mut pages = Vec::with_capacity(count);
    let how = cx.ask(|patch| patch.fast_pin()).unwrap_or(FastPin::Absent);
    let write = write || unshares(cx, mm, start);
    if how != FastPin::Absent {
        gup_fast(cx, mm, start, count, write, how, &mut pages).await;
    }
    let done = pages.len();
    if done == count {
        return Ok(pages);
    }
    let sem = cx.mm(mm).mmap_sem;
    let mode = match cx.ask(|patch| patch.dio_pin_mode()) {
        Some(DioPinMode::Exclusive) => Some(Mode::Exclusive),
        Some(DioPinMode::OverIoOnce) => None,
        _ => Some(Mode::Shared),
    };
    if let Some(mode) = mode {
        lock_sleeping(cx, sem, mode, "down_read").await;
    }
    let rest = start + (done * mmu::PAGE_SIZE) as u64;
    let result = get_user_pages(cx, Some(request), mm, rest, count - done, write, &mut pages).await;
    for pfn in pages.iter().filter(|_| result.is_ok()) {
        page_guard::guard_page(cx, request, *pfn, DioGuard::UnderMmapSem).await;
    }
    if let Some(mode) = mode {
        unlock_sleeping(cx, sem, mode, cx.machine.context()).await;
    }
    if let Err(error) = result {
        for pfn in pages {
            page_guard::release_page(cx, request, pfn).await;
            put_page(cx, pfn, Holder::Pin).await;
        }
        return Err(error);
    }
    Ok(pages)
}

/// Whether this pin breaks copy-on-write whatever it is for.
fn unshares(cx: Cx<'_>, mm: MmId, start: VirtAddr) -> bool {
    let wanted = cx.ask(|patch| patch.fast_entry_unshares());
    let mms = cx.mms.borrow();
    let vma = mms[mm].find_vma(start);
    wanted == Some(true) && vma.is_some_and(|vma| vma.flags.contains(VmFlags::WRITE))
}

/// The lockless part: interrupts off, so that no flush that revokes these entries can complete.
async fn gup_fast(
    cx: Cx<'_>,
    mm: MmId,
    start: VirtAddr,
    count: usize,
    write: bool,
    how: FastPin,
    pages: &mut Vec<Pfn>,
) {
    let _span = cx.machine.span("get_user_pages_fast");
    cx.machine.set_irqs(false);
    let end = start + (count * mmu::PAGE_SIZE) as u64;
    let mut va = start;
    while va < end {
        let before = pages.len();
        match find_any(cx, mm, va).await {
            Some(Found::Small(at)) => pages.extend(gup_pte(cx, at, write, how).await),
            Some(Found::Huge(at, pte)) => {
                let count = pages_in_huge(va, end);
                gup_huge_pmd(cx, va, (at, pte), count, write, how, pages).await;
            }
            None => {}
        }
        let pinned = pages.len() - before;
        if pinned == 0 {
            break;
        }
        va = va + (pinned * mmu::PAGE_SIZE) as u64;
    }
    cx.machine.set_irqs(true);
    cx.count("fast pins", pages.len() as u64);
}

/// One page of the lockless pin.
async fn gup_pte(cx: Cx<'_>, at: PhysAddr, write: bool, how: FastPin) -> Option<Pfn> {
    let write = write || how == FastPin::WritableOnly;
    let pfn = grants(read_pte(cx, at).await, write)?;
    get_page(cx, pfn, Holder::Pin).await;
    if matches!(how, FastPin::Plain | FastPin::WritableOnly) {
        return Some(pfn);
    }
    mark_pinned(cx, pfn).await;
    if how == FastPin::MarkAndRecheck && grants(read_pte(cx, at).await, write) != Some(pfn) {
        put_page(cx, pfn, Holder::Pin).await;
        cx.count("fast pins undone", 1);
        return None;
    }
    Some(pfn)
}

/// So many pages of one huge page: a single addition to its count. A kernel that marks goes page by
/// page instead, each with a mark and a second look of its own.
async fn gup_huge_pmd(
    cx: Cx<'_>,
    va: VirtAddr,
    (at, pte): (PhysAddr, Pte),
    count: usize,
    write: bool,
    how: FastPin,
    pages: &mut Vec<Pfn>,
) {
    let write = write || how == FastPin::WritableOnly;
    let Some(head) = grants(pte, write) else {
        return;
    };
    let first = head + va.page().index_in_large();
    if matches!(how, FastPin::Plain | FastPin::WritableOnly) {
        get_page_multiple(cx, first, count as u32, Holder::Pin).await;
        cx.count("huge pin atomics", 1);
        pages.extend((0..count as u32).map(|frame| first + frame));
        return;
    }
    for frame in 0..count as u32 {
        let pfn = first + frame;
        get_page(cx, pfn, Holder::Pin).await;
        let marked = set_mark(cx, pfn).await;
        cx.count("huge pin atomics", 1 + u64::from(marked));
        if how == FastPin::MarkAndRecheck {
            cx.count("huge pin barriers", 1);
            if grants(read_pte(cx, at).await, write) != Some(head) {
                put_page(cx, pfn, Holder::Pin).await;
                cx.count("fast pins undone", 1);
                return;
            }
        }
        pages.push(pfn);
    }
}
