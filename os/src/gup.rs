//! Pins: references to pages through user addresses, the slow way under locks and the fast way
//! without.

use emu::{Access, Mode};
use mmu::{Pfn, PhysAddr, Pte, VirtAddr};

use crate::direct_io::DioId;
use crate::exclusive::must_unshare;
use crate::fault::{Fault, For, handle_mm_fault, handle_pte_fault};
use crate::fork::page_is_marked;
use crate::huge::follow_hugetlb_page;
use crate::lock::{down_read, lock_sleeping, unlock_sleeping, up_read};
use crate::mm::{Found, MmId, VmFlags, find_any, find_entry, read_pte};
use crate::page::{Holder, PageFlags, get_page_multiple, page_step};
use crate::page_guard::{self, InPin};
use crate::patch::{DioGuard, DioPinMode, FastEntry, FastPin, PinMark, ReadPin};
use crate::pin::{self, Foll};
use crate::{Cx, Errno, barrier, cow_direction, dio_range, pinned_mapping};

/// What a pin wants of pages.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// To write them.
    pub write: bool,
    /// A reference or a pin.
    pub foll: Foll,
    /// Anonymous pages must not be shared, whatever the pin is for.
    pub unshare: bool,
    /// Whatever the mapping allows.
    pub force: bool,
    /// The pin may stay for good (`FOLL_LONGTERM`).
    pub long_term: bool,
}

/// Pins `count` pages from `start`, the slow way (`get_user_pages`): under `mmap_sem`, which the
/// caller shares. `request`: for direct I/O, which may have to
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
    want: Want,
    pages: &mut Vec<Pfn>,
) -> Result<(), Errno> {
    let _span = cx.machine.span("get_user_pages");
    if want.foll == Foll::Pin {
        pin::set_has_pinned(cx, mm).await;
    }
    let end = start + (count * mmu::PAGE_SIZE) as u64;
    let mut va = start;
    while va < end {
        if cx.is_huge(mm, va) {
            let count = pages_in_huge(va, end);
            let write = want.write || how_to_read(cx, mm, va, want) != ReadPin::AsAsked;
            let want = Want { write, ..want };
            follow_hugetlb_page(cx, mm, va, count, want, pages).await?;
            va = va + (count * mmu::PAGE_SIZE) as u64;
            continue;
        }
        pinned_mapping::first_pin(cx, mm, va).await?;
        let mut look = Look {
            want,
            read: how_to_read(cx, mm, va, want),
        };
        look.want.write |= look.read == ReadPin::Own;
        loop {
            let what = match follow_page(cx, request, mm, va, look).await {
                Ok(Some(pfn)) => {
                    pages.push(pfn);
                    break;
                }
                Ok(None) => return Err(Errno::EAGAIN),
                Err(what) => what,
            };
            let fault = if want.force && cx.mms.borrow()[mm].find_vma(va).is_some() {
                handle_pte_fault(cx, mm, va, what).await?
            } else {
                handle_mm_fault(cx, mm, va, what).await?
            };
            match fault {
                Fault::Write if keeps_asking(cx, mm, va) => {}
                Fault::Write => {
                    look.want.write = false;
                    look.read = ReadPin::AsAsked;
                }
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

/// How the slow pin looks a page up.
#[derive(Clone, Copy)]
struct Look {
    want: Want,
    read: ReadPin,
}

/// Which access a pin of `va` that reads asks for: no other than reading where nobody may write.
fn how_to_read(cx: Cx<'_>, mm: MmId, va: VirtAddr, want: Want) -> ReadPin {
    let mms = cx.mms.borrow();
    let vma = mms[mm].find_vma(va);
    let asked = cx.ask(|patch| patch.read_pin());
    match asked.or(want.unshare.then_some(ReadPin::OwnAnonymous)) {
        Some(how) if vma.is_some_and(|vma| vma.flags.contains(VmFlags::WRITE)) => how,
        _ => ReadPin::AsAsked,
    }
}

/// Whether the lookup goes on asking for write access after a fault broke copy-on-write: a mapping
/// that may not be written never grants it (forced access).
fn keeps_asking(cx: Cx<'_>, mm: MmId, va: VirtAddr) -> bool {
    let mms = cx.mms.borrow();
    let vma = mms[mm].find_vma(va);
    cx.ask(|patch| patch.pin_keeps_asking()) == Some(true)
        && vma.is_some_and(|vma| vma.flags.contains(VmFlags::WRITE))
}

async fn page_is_anon(cx: Cx<'_>, pfn: Pfn) -> bool {
    page_step(cx, pfn, Access::Read, |page| {
        page.flags.contains(PageFlags::ANON)
    })
    .await
}

/// Looks a page up and takes a reference, if its entry grants the access; else says what the fault is
/// for; nothing at all if the page must not be pinned. A page whose guard was busy is looked at
/// again under it: another may be mapped by now.
async fn follow_page(
    cx: Cx<'_>,
    request: Option<DioId>,
    mm: MmId,
    va: VirtAddr,
    look: Look,
) -> Result<Option<Pfn>, For> {
    let _span = cx.machine.span("follow_page");
    let Want { write, foll, .. } = look.want;
    let ptl = cx.machine.spin_lock(cx.mm(mm).ptl).await;
    let pte = match find_entry(cx, mm, va).await {
        Some(at) => read_pte(cx, at).await,
        None => Pte::NONE,
    };
    let found = grants(pte, write);
    let owns = matches!(
        look.read,
        ReadPin::OwnAnonymous | ReadPin::OwnAnonymousMasked
    );
    if let Some(pfn) = found
        && owns
        && !pte.writable()
        && page_is_anon(cx, pfn).await
    {
        ptl.unlock().await;
        return Err(For::Write);
    }
    if let Some(pfn) = found
        && !pte.writable()
        && must_unshare(cx, pfn, look.want).await
    {
        ptl.unlock().await;
        return Err(For::Unshare);
    }
    if let Some(pfn) = found {
        if !cow_direction::claim(cx, mm, pfn).await {
            ptl.unlock().await;
            return Ok(None);
        }
        pin::grab_page(cx, pfn, foll).await;
        mark_as_asked(cx, pfn, write).await;
        if let InPin::Sleep(lock, mode) = page_guard::try_guard_in_pin(cx, request, pfn).await {
            ptl.unlock().await;
            lock_sleeping(cx, lock, mode, "page guard").await;
            let ptl = cx.machine.spin_lock(cx.mm(mm).ptl).await;
            let now = match find_entry(cx, mm, va).await {
                Some(at) => grants(read_pte(cx, at).await, write),
                None => None,
            };
            ptl.unlock().await;
            if let (true, Some(id)) = (now == found, request) {
                page_guard::note(cx, id, found, lock, mode);
                return Ok(Some(pfn));
            }
            unlock_sleeping(cx, lock, mode, cx.machine.context()).await;
            pin::release_page(cx, pfn, foll).await;
            return Err(write.into());
        }
    }
    ptl.unlock().await;
    found.map(Some).ok_or(write.into())
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
    if cx.machine.size().store_buffers {
        barrier::change_flags(cx, pfn, |page| page.flags |= PageFlags::GUP).await;
    } else {
        set_mark(cx, pfn).await;
    }
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
    let unshares = unshares(cx, mm, start);
    let want = Want {
        write: write || unshares == Some(FastEntry::All),
        foll: pin::of_direct_io(cx),
        unshare: unshares == Some(FastEntry::Anonymous),
        force: false,
        long_term: false,
    };
    if how != FastPin::Absent {
        gup_fast(cx, mm, start, count, want, how, &mut pages).await;
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
    let result = get_user_pages(cx, Some(request), mm, rest, count - done, want, &mut pages).await;
    for pfn in pages.iter().filter(|_| result.is_ok()) {
        page_guard::guard_page(cx, request, *pfn, DioGuard::UnderMmapSem).await;
    }
    if let Some(mode) = mode {
        unlock_sleeping(cx, sem, mode, cx.machine.context()).await;
    }
    if let Err(error) = result {
        for pfn in pages {
            page_guard::release_page(cx, request, pfn).await;
            pin::release_page(cx, pfn, want.foll).await;
        }
        return Err(error);
    }
    Ok(pages)
}

/// Pins for a registration, the fast way if its pins are counted apart and the kernel has one.
pub(crate) async fn pin_registered(
    cx: Cx<'_>,
    mm: MmId,
    start: VirtAddr,
    count: usize,
    write: bool,
    pages: &mut Vec<Pfn>,
) -> Result<(), Errno> {
    let foll = pin::of_registration(cx);
    let want = Want {
        write,
        foll,
        unshare: false,
        force: false,
        long_term: true,
    };
    let how = cx.ask(|patch| patch.fast_pin()).unwrap_or(FastPin::Absent);
    if foll == Foll::Pin && how != FastPin::Absent {
        gup_fast(cx, mm, start, count, want, how, pages).await;
    }
    let done = pages.len();
    if done == count {
        return Ok(());
    }
    let sem = cx.mm(mm).mmap_sem;
    down_read(cx, sem).await;
    let rest = start + (done * mmu::PAGE_SIZE) as u64;
    let result = get_user_pages(cx, None, mm, rest, count - done, want, pages).await;
    up_read(cx, sem).await;
    result
}

/// Which pages this pin takes from copy-on-write whatever it is for.
fn unshares(cx: Cx<'_>, mm: MmId, start: VirtAddr) -> Option<FastEntry> {
    let wanted = cx.ask(|patch| patch.fast_entry_unshares())?;
    let mms = cx.mms.borrow();
    let vma = mms[mm].find_vma(start)?;
    vma.flags.contains(VmFlags::WRITE).then_some(wanted)
}

/// The lockless part: interrupts off, so that no flush that revokes these entries can complete.
async fn gup_fast(
    cx: Cx<'_>,
    mm: MmId,
    start: VirtAddr,
    count: usize,
    want: Want,
    how: FastPin,
    pages: &mut Vec<Pfn>,
) {
    let _span = cx.machine.span("get_user_pages_fast");
    if want.foll == Foll::Pin {
        pin::set_has_pinned(cx, mm).await;
    }
    let read = how_to_read(cx, mm, start, want);
    let seq = pin::read_write_protect_seq(cx, mm, want.foll).await;
    if seq % 2 == 1 {
        return;
    }
    let first = pages.len();
    cx.machine.set_irqs(false);
    let end = start + (count * mmu::PAGE_SIZE) as u64;
    let mut va = start;
    while va < end {
        let before = pages.len();
        match find_any(cx, mm, va).await {
            Some(Found::Small(at)) => pages.extend(gup_pte(cx, at, want, how, read).await),
            Some(Found::Huge(at, pte)) => {
                let count = pages_in_huge(va, end);
                gup_huge_pmd(cx, va, (at, pte), count, want, how, pages).await;
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
    let again = cx.ask(|patch| patch.write_protect_seq_again()) != Some(false);
    if again && pin::read_write_protect_seq(cx, mm, want.foll).await != seq {
        for pfn in pages.drain(first..) {
            pin::release_page(cx, pfn, want.foll).await;
            cx.count("fast pins undone", 1);
        }
    }
    cx.count("fast pins", pages.len() as u64);
}

/// One page of the lockless pin.
async fn gup_pte(cx: Cx<'_>, at: PhysAddr, want: Want, how: FastPin, read: ReadPin) -> Option<Pfn> {
    if matches!(how, FastPin::Marked | FastPin::MarkedIfAnon) {
        let pfn = grants(read_pte(cx, at).await, want.write)?;
        let other = how == FastPin::MarkedIfAnon && !page_is_anon(cx, pfn).await;
        if !other && !page_is_marked(cx, pfn).await {
            return None;
        }
        pin::grab_page(cx, pfn, want.foll).await;
        return Some(pfn);
    }
    let mut write = want.write || how == FastPin::WritableOnly || read == ReadPin::Own;
    let seen = read_pte(cx, at).await;
    let pfn = grants(seen, write)?;
    if !write && read != ReadPin::AsAsked && page_is_anon(cx, pfn).await {
        if read == ReadPin::OwnAnonymousMasked {
            return None;
        }
        write = true;
        grants(read_pte(cx, at).await, write).filter(|now| *now == pfn)?;
    }
    if how != FastPin::Recheck {
        pin::grab_page(cx, pfn, want.foll).await;
    } else if !pin::try_grab_folio(cx, pfn, want.foll).await {
        return None;
    }
    let keep = match how {
        FastPin::Absent
        | FastPin::Marked
        | FastPin::MarkedIfAnon
        | FastPin::Plain
        | FastPin::WritableOnly => seen.writable() || !must_unshare(cx, pfn, want).await,
        FastPin::Recheck => {
            let ordered = cx.ask(|patch| patch.share_barriers()) == Some(true);
            if ordered {
                barrier::smp_mb(cx).await;
            }
            let same = read_pte(cx, at).await == seen;
            if ordered {
                barrier::smp_mb(cx).await;
            }
            same && (seen.writable() || !must_unshare(cx, pfn, want).await)
        }
        FastPin::Mark => {
            mark_pinned(cx, pfn).await;
            true
        }
        FastPin::MarkAndRecheck => {
            mark_pinned(cx, pfn).await;
            if cx.ask(|patch| patch.pin_barrier()).unwrap_or(true) {
                barrier::smp_mb(cx).await;
            }
            grants(read_pte(cx, at).await, write) == Some(pfn)
        }
    };
    if !keep {
        pin::release_page(cx, pfn, want.foll).await;
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
    want: Want,
    how: FastPin,
    pages: &mut Vec<Pfn>,
) {
    if matches!(how, FastPin::Marked | FastPin::MarkedIfAnon) {
        return;
    }
    let write = want.write || how == FastPin::WritableOnly;
    let Some(head) = grants(pte, write) else {
        return;
    };
    let first = head + va.page().index_in_large();
    if matches!(
        how,
        FastPin::Plain | FastPin::Recheck | FastPin::WritableOnly
    ) && want.foll == Foll::Get
    {
        get_page_multiple(cx, first, count as u32, Holder::Pin).await;
        cx.count("huge pin atomics", 1);
        if how == FastPin::Recheck && read_pte(cx, at).await != pte {
            for frame in 0..count as u32 {
                pin::release_page(cx, first + frame, want.foll).await;
            }
            cx.count("fast pins undone", 1);
            return;
        }
        pages.extend((0..count as u32).map(|frame| first + frame));
        return;
    }
    for frame in 0..count as u32 {
        let pfn = first + frame;
        pin::grab_page(cx, pfn, want.foll).await;
        let marks = matches!(how, FastPin::Mark | FastPin::MarkAndRecheck);
        let marked = marks && set_mark(cx, pfn).await;
        cx.count("huge pin atomics", 1 + u64::from(marked));
        let keep = match how {
            FastPin::Recheck => read_pte(cx, at).await == pte,
            FastPin::MarkAndRecheck => {
                cx.count("huge pin barriers", 1);
                grants(read_pte(cx, at).await, write) == Some(head)
            }
            _ => true,
        };
        if !keep {
            pin::release_page(cx, pfn, want.foll).await;
            cx.count("fast pins undone", 1);
            return;
        }
        pages.push(pfn);
    }
}
