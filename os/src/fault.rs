//! Page faults: anonymous memory, and copy-on-write.

use emu::SpinGuard;
use mmu::{PhysAddr, Pte, PteFlags, VirtAddr};

use crate::cow_direction::{is_kept, take_from_others};
use crate::exclusive::{is_exclusive, set_exclusive};
use crate::flush::{FlushRange, flush_tlb_page};
use crate::fork::page_is_marked;
use crate::huge::hugetlb_fault;
use crate::lock::{down_read, lock_page, trylock_page, unlock_page, up_read};
use crate::mm::{MmId, VmFlags, pte_alloc, read_pte, set_pte_at, update_pte, user_pte};
use crate::page::{
    Holder, PageFlags, alloc_page, copy_page, get_page, page_add_new_anon_rmap, page_count,
    page_mapcount, page_remove_rmap, page_step, pass_reference, put_page,
};
use crate::pagevec::{lru_add_drain, lru_cache_add};
use crate::patch::{BusyPageLock, Hook, Hooks, WpReuse, call_hooks};
use crate::swap::{can_share_swap_page, do_swap_page, reuse_swap_page, try_to_free_swap};
use crate::{Cx, Errno, dio_range, page_guard, pinned_mapping};

/// What handling a fault came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Done, or somebody else did it; look again.
    Minor,
    /// Copy-on-write was broken (`VM_FAULT_WRITE`): the page may be written although its entry
    /// might not say so.
    Write,
    /// Nothing yet: direct I/O is under way in this page, which must be copied.
    SentBack(mmu::Pfn),
}

/// A fault of user mode at `va`.
pub async fn do_page_fault(cx: Cx<'_>, va: VirtAddr, write: bool) -> Result<(), Errno> {
    let _span = cx.machine.span("do_page_fault");
    cx.count("faults", 1);
    cx.machine.spend(u64::from(cx.machine.costs().fault));
    let mm = cx.current_mm();
    let sem = cx.mm(mm).mmap_sem;
    down_read(cx, sem).await;
    let result = handle_mm_fault(cx, mm, va, write).await;
    up_read(cx, sem).await;
    if let Ok(Fault::SentBack(page)) = result {
        dio_range::wait_to_retry(cx, mm, va, page).await;
    }
    result.map(|_| ())
}

/// What a fault is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum For {
    /// To read.
    Read,
    /// To write.
    Write,
    /// To read a page that stays (`FAULT_FLAG_UNSHARE`): one that nobody else has.
    Unshare,
}

impl From<bool> for For {
    fn from(write: bool) -> For {
        if write { For::Write } else { For::Read }
    }
}

/// Makes `va` accessible. The caller shares `mmap_sem`.
///
/// Called with nothing else held; may sleep, and sleeps without the page-table lock.
pub async fn handle_mm_fault(
    cx: Cx<'_>,
    mm: MmId,
    va: VirtAddr,
    what: impl Into<For>,
) -> Result<Fault, Errno> {
    let what = what.into();
    let write = what == For::Write;
    let flags = cx.mms.borrow()[mm].find_vma(va).map(|vma| vma.flags);
    let flags = flags
        .filter(|flags| !write || flags.contains(VmFlags::WRITE))
        .ok_or(Errno::EFAULT)?;
    if flags.contains(VmFlags::HUGE) {
        return hugetlb_fault(cx, mm, va, write).await;
    }
    handle_pte_fault(cx, mm, va, what).await
}

/// The same for a small page, whatever the mapping allows: an entry of a mapping that may not be
/// written gets no write permission (forced access).
pub(crate) async fn handle_pte_fault(
    cx: Cx<'_>,
    mm: MmId,
    va: VirtAddr,
    what: For,
) -> Result<Fault, Errno> {
    let write = what == For::Write;
    let ptl = cx.machine.spin_lock(cx.mm(mm).ptl).await;
    let Some(at) = pte_alloc(cx, mm, va).await else {
        ptl.unlock().await;
        return Err(Errno::ENOMEM);
    };
    let pte = read_pte(cx, at).await;
    let unshare = what == For::Unshare;
    let fault = FaultAt {
        mm,
        va,
        at,
        unshare,
    };
    if pte.is_none() {
        return do_anonymous_page(cx, fault, write, ptl).await;
    }
    if !pte.present() {
        ptl.unlock().await;
        return do_swap_page(cx, fault, pte, write).await;
    }
    if (write || unshare) && !pte.writable() {
        return do_wp_page(cx, fault, pte, ptl).await;
    }
    // Another thread was faster: only the marks are missing.
    let marks = if write {
        PteFlags::A | PteFlags::D
    } else {
        PteFlags::A
    };
    update_pte(cx, mm, va, at, move |pte| pte.with(marks)).await;
    ptl.unlock().await;
    Ok(Fault::Minor)
}

/// Where a fault is.
#[derive(Clone, Copy)]
pub(crate) struct FaultAt {
    pub mm: MmId,
    pub va: VirtAddr,
    pub at: PhysAddr,
    /// The copy is for a reader: it is mapped read-only.
    pub unshare: bool,
}

/// Whether the mapping at `va` may be written (`maybe_mkwrite`). `mmap_sem` is held.
fn may_write(cx: Cx<'_>, mm: MmId, va: VirtAddr) -> bool {
    let mms = cx.mms.borrow();
    let vma = mms[mm].find_vma(va);
    vma.is_some_and(|vma| vma.flags.contains(VmFlags::WRITE))
}

/// First touch of anonymous memory: the zero page for a load, a page of its own for a store.
async fn do_anonymous_page<'w>(
    cx: Cx<'w>,
    fault: FaultAt,
    write: bool,
    ptl: SpinGuard<'w>,
) -> Result<Fault, Errno> {
    let _span = cx.machine.span("do_anonymous_page");
    let FaultAt { mm, va, at, .. } = fault;
    if !write {
        set_pte_at(cx, mm, va, at, user_pte(cx.zero_page, false, false)).await;
        ptl.unlock().await;
        return Ok(Fault::Minor);
    }
    ptl.unlock().await;
    let Some(new) = alloc_zeroed_page(cx).await else {
        return Err(Errno::ENOMEM);
    };
    page_add_new_anon_rmap(cx, new, mm, va.page().get()).await;
    let ptl = cx.machine.spin_lock(cx.mm(mm).ptl).await;
    if !read_pte(cx, at).await.is_none() {
        ptl.unlock().await;
        discard_new_page(cx, new).await;
        return Ok(Fault::Minor);
    }
    pass_reference(cx, new, Holder::Hand, Holder::Mapping);
    let writable = may_write(cx, mm, va);
    set_pte_at(cx, mm, va, at, user_pte(new, writable, true)).await;
    lru_cache_add(cx, new).await;
    ptl.unlock().await;
    cx.count("anonymous pages", 1);
    Ok(Fault::Minor)
}

/// A frame of zeros that nobody else can see yet.
async fn alloc_zeroed_page(cx: Cx<'_>) -> Option<mmu::Pfn> {
    let new = alloc_page(cx).await?;
    cx.machine.prepare_memory().clear(new);
    cx.machine
        .spend(u64::from(cx.machine.costs().copy_page / 2));
    Some(new)
}

async fn discard_new_page(cx: Cx<'_>, new: mmu::Pfn) {
    page_remove_rmap(cx, new).await;
    put_page(cx, new, Holder::Hand).await;
}

/// A store to a page that is mapped without the permission: use it in place, or copy it.
///
/// Called with the page-table lock held; releases it. Flow: an anonymous page that nobody else
/// maps is reused; that is decided under the page lock, and what happens when the page lock is
/// busy is a patch's question. Otherwise the page-table lock is dropped, the page is copied, the
/// lock is taken again, and the copy is installed if the entry is still the same.
pub(crate) async fn do_wp_page<'w>(
    cx: Cx<'w>,
    fault: FaultAt,
    pte: Pte,
    ptl: SpinGuard<'w>,
) -> Result<Fault, Errno> {
    let _span = cx.machine.span("do_wp_page");
    let FaultAt { mm, va, .. } = fault;
    let old = pte.pfn();
    let anonymous = cx
        .pages
        .borrow()
        .get(old)
        .is_some_and(|page| page.flags.contains(PageFlags::ANON));
    let mut ptl = ptl;
    if anonymous && is_exclusive(cx, old).await {
        return reuse_page(cx, fault, ptl).await;
    }
    if anonymous && pinned_mapping::kept(cx) {
        cx.bug_on(page_is_marked(cx, old).await, || {
            format!("frame {old} of a mapping that was pinned reaches copy-on-write at {va}")
        });
    }
    if anonymous {
        let Some(guard) = take_from_others(cx, fault, pte, ptl).await? else {
            return Ok(Fault::Minor);
        };
        ptl = guard;
        let rule = cx.ask(|patch| patch.wp_reuse()).unwrap_or(WpReuse::Counts);
        let counts_all = matches!(
            rule,
            WpReuse::OnlyReference | WpReuse::DrainThenOnlyReference
        );
        let (locked, guard) = match counts_all {
            true => (try_for_reuse(cx, old, rule).await, ptl),
            false => lock_for_reuse(cx, fault, pte, ptl).await,
        };
        ptl = guard;
        let reuse = match locked {
            Locked::Changed => {
                ptl.unlock().await;
                return Ok(Fault::Minor);
            }
            Locked::Busy => false,
            Locked::Yes => {
                let reuse = may_reuse(cx, old, rule).await && !is_kept(cx, mm, old).await;
                if reuse {
                    set_exclusive(cx, old).await;
                }
                unlock_page(cx, old).await;
                reuse
            }
        };
        if reuse {
            return reuse_page(cx, fault, ptl).await;
        }
    }
    get_page(cx, old, Holder::Hand).await;
    ptl.unlock().await;
    call_hooks(cx, Hooks::COW, Hook::CowBegin { mm, va, page: old }).await;
    let result = if dio_range::cow_begins(cx, mm, va).await {
        let guard = page_guard::cow_begin(cx, old).await;
        let result = wp_page_copy(cx, fault, pte, old).await;
        page_guard::cow_end(cx, guard).await;
        dio_range::cow_ends(cx, mm).await;
        result
    } else {
        Ok(Fault::SentBack(old))
    };
    call_hooks(cx, Hooks::COW, Hook::CowEnd { mm, va, page: old }).await;
    put_page(cx, old, Holder::Hand).await;
    result
}

/// Nobody else has the page: it may be written in place. The page-table lock is held; releases it.
async fn reuse_page<'w>(cx: Cx<'w>, fault: FaultAt, ptl: SpinGuard<'w>) -> Result<Fault, Errno> {
    if fault.unshare {
        ptl.unlock().await;
        return Ok(Fault::Minor);
    }
    let mut marks = PteFlags::D | PteFlags::A;
    marks.set(PteFlags::W, may_write(cx, fault.mm, fault.va));
    update_pte(cx, fault.mm, fault.va, fault.at, move |pte| pte.with(marks)).await;
    ptl.unlock().await;
    cx.count("pages reused", 1);
    Ok(Fault::Write)
}

enum Locked {
    Yes,
    Busy,
    Changed,
}

/// The page lock, under which reuse is decided. When it is busy, v2.6.18 takes the page for
/// shared; later kernels wait, and look at the entry again.
async fn lock_for_reuse<'w>(
    cx: Cx<'w>,
    fault: FaultAt,
    pte: Pte,
    ptl: SpinGuard<'w>,
) -> (Locked, SpinGuard<'w>) {
    let page = pte.pfn();
    if trylock_page(cx, page).await {
        return (Locked::Yes, ptl);
    }
    match cx
        .ask(|patch| patch.busy_page_lock())
        .unwrap_or(BusyPageLock::Copy)
    {
        BusyPageLock::Copy => (Locked::Busy, ptl),
        how @ (BusyPageLock::Wait | BusyPageLock::WaitBlindly) => {
            get_page(cx, page, Holder::Hand).await;
            ptl.unlock().await;
            lock_page(cx, page).await;
            let ptl = cx.machine.spin_lock(cx.mm(fault.mm).ptl).await;
            let same =
                how == BusyPageLock::WaitBlindly || pte_same(read_pte(cx, fault.at).await, pte);
            if !same {
                unlock_page(cx, page).await;
            }
            put_page(cx, page, Holder::Hand).await;
            (if same { Locked::Yes } else { Locked::Changed }, ptl)
        }
    }
}

/// The page lock where every reference counts: without a wait, and not if a first look says that
/// there are too many (v5.9; v5.18 drains first).
async fn try_for_reuse(cx: Cx<'_>, page: mmu::Pfn, rule: WpReuse) -> Locked {
    let (mut count, batched, cached) = references(cx, page).await;
    let most = match rule {
        WpReuse::DrainThenOnlyReference => {
            if batched && count <= 3 {
                lru_add_drain(cx).await;
                count = page_count(cx, page).await;
            }
            1 + i32::from(cached)
        }
        _ => 1,
    };
    if count <= most && trylock_page(cx, page).await {
        Locked::Yes
    } else {
        Locked::Busy
    }
}

/// The count, whether a batch has the page, and whether the swap cache has.
async fn references(cx: Cx<'_>, page: mmu::Pfn) -> (i32, bool, bool) {
    let mut seen = (0, false, false);
    page_step(cx, page, emu::Access::Read, |page| {
        let has = |flag| page.flags.contains(flag);
        seen = (
            page.count,
            has(PageFlags::BATCHED),
            has(PageFlags::SWAPCACHE),
        );
        page.count
    })
    .await;
    seen
}

/// Whether the page may be written in place. Its lock is held.
async fn may_reuse(cx: Cx<'_>, page: mmu::Pfn, rule: WpReuse) -> bool {
    if is_ksm(cx, page) {
        return false;
    }
    match rule {
        WpReuse::Counts => can_share_swap_page(cx, page).await,
        WpReuse::LeaveSwapCache => reuse_swap_page(cx, page).await,
        WpReuse::AndCountIsOne => {
            reuse_swap_page(cx, page).await && page_count(cx, page).await == 1
        }
        WpReuse::OnlyReference => {
            page_mapcount(cx, page).await == 1 && page_count(cx, page).await == 1
        }
        WpReuse::DrainThenOnlyReference => {
            try_to_free_swap(cx, page).await;
            page_count(cx, page).await == 1
        }
    }
}

/// Whether the page was merged. Its lock is held.
fn is_ksm(cx: Cx<'_>, page: mmu::Pfn) -> bool {
    let pages = cx.pages.borrow();
    pages
        .get(page)
        .is_some_and(|page| page.flags.contains(PageFlags::KSM))
}

/// Whether two values of an entry are the same but for the marks that hardware sets.
pub fn pte_same(one: Pte, other: Pte) -> bool {
    let marks = PteFlags::A | PteFlags::D;
    one.without(marks) == other.without(marks)
}

/// Copies the page and maps the copy, unless the entry changed meanwhile. The caller holds a
/// reference to `old` and no spinlock.
async fn wp_page_copy(cx: Cx<'_>, fault: FaultAt, pte: Pte, old: mmu::Pfn) -> Result<Fault, Errno> {
    let FaultAt {
        mm,
        va,
        at,
        unshare,
    } = fault;
    let zero = old == cx.zero_page;
    let new = if zero {
        alloc_zeroed_page(cx).await
    } else {
        alloc_page(cx).await
    };
    let Some(new) = new else {
        return Err(Errno::ENOMEM);
    };
    if !zero {
        copy_page(cx, new, old).await;
    }
    page_add_new_anon_rmap(cx, new, mm, va.page().get()).await;
    let ptl = cx.machine.spin_lock(cx.mm(mm).ptl).await;
    if !pte_same(read_pte(cx, at).await, pte) {
        ptl.unlock().await;
        discard_new_page(cx, new).await;
        return Ok(Fault::Minor);
    }
    page_remove_rmap(cx, old).await;
    pass_reference(cx, new, Holder::Hand, Holder::Mapping);
    let writable = !unshare && may_write(cx, mm, va);
    set_pte_at(cx, mm, va, at, user_pte(new, writable, !unshare)).await;
    flush_tlb_page(cx, mm, FlushRange::page(va)).await;
    put_page(cx, old, Holder::Mapping).await;
    lru_cache_add(cx, new).await;
    ptl.unlock().await;
    if unshare {
        cx.count("pages unshared", 1);
        return Ok(Fault::Minor);
    }
    cx.count("copy-on-write breaks", 1);
    Ok(Fault::Write)
}
