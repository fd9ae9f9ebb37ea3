//! Huge pages: private anonymous memory in pages of 2 MiB, from a pool of their own (hugetlb).
//!
//! A huge page is a compound page: 512 contiguous frames, aligned, with one count, one map count,
//! one set of flags and one lock, those of the first frame (the head). A reference to any of its
//! frames is one to the head. One entry at the second level of the page table maps it.
//!
//! The paths are those of v2.6.18's `hugetlb.c`, with two later corrections without which every
//! program fails at once: a pin for writing faults for writing (2.6.24), and a broken
//! copy-on-write is flushed (2.6.26).
//!
//! A copy is made in a few large parts ([`Setup::huge_pool`](crate::Setup::huge_pool) says how
//! many), each one step; so that exploration knows what it reads, there is one object for the
//! bytes of a whole huge page, which a part of a copy writes and every other access to the page's
//! bytes reads.

use emu::{Access, Kind, LockClass, LockId, Mode, Object, Request, SpinGuard, Touch};
use mmu::{LARGE_PAGE_SIZE, PAGE_SIZE, PAGES_PER_LARGE, Pfn, PhysAddr, Pte, PteFlags, VirtAddr};

use crate::fault::{Fault, pte_same};
use crate::flush::{FlushRange, Revoked, flush_tlb_page};
use crate::fork::page_looks_pinned;
use crate::lock::{lock_page, lock_sleeping, unlock_page, unlock_sleeping};
use crate::mm::{Found, MmId, VmFlags, Vma, find_any, pmd_alloc, read_pte, user_pte};
use crate::page::{
    Holder, PageFlags, get_page, page_add_new_anon_rmap, page_count, page_dup_rmap,
    page_remove_rmap, pass_reference, put_page,
};
use crate::patch::{ForkAnon, HugeCowLock};
use crate::pin;
use crate::{Cx, Errno, Kernel, dio_range, gup, huge_file};

/// Bytes of a huge page.
const HUGE: u64 = LARGE_PAGE_SIZE as u64;

/// Lets one fault at a time find and fill a huge page (`hugetlb_instantiation_mutex`).
pub static HUGETLB_INSTANTIATION: LockClass = LockClass {
    name: "hugetlb_instantiation_mutex",
    sleeps: true,
};

/// What a kernel with huge pages has.
#[derive(Clone, Copy)]
pub(crate) struct HugeConfig {
    pub mutex: LockId,
    /// Steps in which a huge page is copied.
    pub copy_parts: u32,
}

/// The address rounded down to a huge page.
pub fn huge_down(va: VirtAddr) -> VirtAddr {
    va.page().large_down().base()
}

fn range_of(va: VirtAddr) -> FlushRange {
    FlushRange::page(huge_down(va))
}

/// The object for all bytes of the huge page at `head`. Its number is one that no frame has.
fn bytes_object(head: Pfn) -> Object {
    Object::new(Kind::Page, 1 << 40 | u64::from(head.get()))
}

impl Kernel<'_> {
    /// The head of the compound page that a frame belongs to, or the frame itself.
    #[inline]
    pub(crate) fn compound_head(&self, pfn: Pfn) -> Pfn {
        if self.huge.get().is_none() {
            return pfn;
        }
        let head = Pfn::new(pfn.get() & !(PAGES_PER_LARGE - 1));
        let pages = self.pages.borrow();
        match pages.get(head) {
            Some(page) if page.flags.contains(PageFlags::COMPOUND) => head,
            _ => pfn,
        }
    }

    /// A step touches bytes of the frame: part of what a copy of its huge page would read.
    #[inline]
    pub(crate) fn touch_bytes(&self, pfn: Pfn) {
        if self.huge.get().is_none() {
            return;
        }
        let head = self.compound_head(pfn);
        self.machine.touch(bytes_object(head), Touch::Read);
    }

    fn huge_config(&self) -> HugeConfig {
        self.huge
            .get()
            .expect("huge mappings are made of a pool that was set up")
    }

    /// Whether a range leaves no huge page of the address space in two.
    pub(crate) fn splits_no_huge_page(&self, mm: MmId, start: VirtAddr, end: VirtAddr) -> bool {
        let mms = self.mms.borrow();
        [start, end].iter().all(|at| {
            let inside = mms[mm]
                .find_vma(*at)
                .is_some_and(|vma| vma.flags.contains(VmFlags::HUGE));
            !inside || at.is_aligned(HUGE)
        })
    }

    /// Takes a huge page from the pool; its count is 1, held in hand.
    pub(crate) fn take_huge_page(&self) -> Option<Pfn> {
        let head = self.zone.borrow_mut().take_huge()?;
        let mut pages = self.pages.borrow_mut();
        let page = pages.get_mut(head);
        assert_eq!(page.count, 0, "a free huge page is in use: {head}");
        page.count = 1;
        page.mapcount = 0;
        page.flags = PageFlags::COMPOUND;
        page.mapping = None;
        page.ext = None;
        page.held = [0; Holder::ALL.len()];
        page.held[Holder::Hand as usize] = 1;
        drop(pages);
        self.oracles
            .huge_page_allocated(self, head, PAGES_PER_LARGE);
        Some(head)
    }
}

/// Where a huge page is, or could be, mapped.
#[derive(Clone, Copy)]
struct HugeAt {
    mm: MmId,
    va: VirtAddr,
    at: PhysAddr,
}

impl HugeAt {
    fn new(mm: MmId, va: VirtAddr, at: PhysAddr) -> HugeAt {
        let va = huge_down(va);
        HugeAt { mm, va, at }
    }

    /// Changes the entry in one indivisible step and returns what it was.
    #[track_caller]
    fn update<'w>(
        self,
        cx: Cx<'w>,
        change: impl FnOnce(Pte) -> Pte + 'w,
    ) -> impl Future<Output = Pte> + 'w {
        let request = Request::touch(Object::pte(self.at), Access::Update, cx.machine.costs().l1);
        cx.machine.step(request, move |acting| {
            let old = acting.read_pte(self.at);
            let new = change(old);
            acting.write_pte(self.at, new);
            cx.oracles
                .huge_entry_changed(cx, self.mm, self.va, old, new);
            old
        })
    }
}

/// Takes a huge page from the pool (`alloc_huge_page`). `None` when the pool is empty.
#[track_caller]
fn alloc_huge_page(cx: Cx<'_>) -> impl Future<Output = Option<Pfn>> {
    let pool = Object::new(Kind::Zone, 1);
    let request = Request::touch(pool, Access::Update, cx.machine.costs().l2);
    cx.machine.step(request, |_| cx.take_huge_page())
}

/// Copies a huge page, a step for each part.
async fn copy_huge_page(cx: Cx<'_>, to: Pfn, from: Pfn) {
    let parts = cx.huge_config().copy_parts;
    let frames = PAGES_PER_LARGE / parts;
    for part in 0..parts {
        let first = part * frames;
        let from_here = (from + first).base();
        let cost = cx.machine.costs().copy_page * frames;
        let request = Request::touch(Object::sector(from_here), Access::Read, cost);
        cx.machine
            .step(request, |acting| {
                cx.machine.touch(bytes_object(from), Touch::Write);
                for frame in first..first + frames {
                    let (to, from) = ((to + frame).base(), (from + frame).base());
                    acting.memory().copy(from, to, PAGE_SIZE);
                }
            })
            .await;
        cx.oracles.frames_copied(to + first, from + first, frames);
    }
    cx.count("huge pages copied", 1);
}

/// A fault in a huge mapping. The caller shares `mmap_sem`, or has it alone.
pub async fn hugetlb_fault(
    cx: Cx<'_>,
    mm: MmId,
    va: VirtAddr,
    write: bool,
) -> Result<Fault, Errno> {
    let _span = cx.machine.span("hugetlb_fault");
    let mutex = cx.huge_config().mutex;
    lock_sleeping(cx, mutex, Mode::Exclusive, "mutex_lock").await;
    let cached = huge_file::find_lock_page_for(cx, mm, va, write).await;
    let ptl = cx.machine.spin_lock(cx.mm(mm).ptl).await;
    let result = match pmd_alloc(cx, mm, va).await {
        None => {
            ptl.unlock().await;
            Err(Errno::ENOMEM)
        }
        Some(at) => {
            let place = HugeAt::new(mm, va, at);
            let pte = read_pte(cx, at).await;
            if pte.is_none() {
                hugetlb_no_page(cx, place, write, ptl).await
            } else {
                let (result, ptl) = if write && !pte.writable() {
                    hugetlb_cow(cx, place, pte, ptl).await
                } else {
                    (Ok(Fault::Minor), ptl)
                };
                ptl.unlock().await;
                result
            }
        }
    };
    huge_file::unlock_and_put_page(cx, cached).await;
    let me = cx.machine.context();
    unlock_sleeping(cx, mutex, Mode::Exclusive, me).await;
    result
}

/// First touch: a huge page of zeros. Called with the page-table lock held; releases it.
async fn hugetlb_no_page<'w>(
    cx: Cx<'w>,
    place: HugeAt,
    write: bool,
    ptl: SpinGuard<'w>,
) -> Result<Fault, Errno> {
    let _span = cx.machine.span("hugetlb_no_page");
    ptl.unlock().await;
    let new = alloc_huge_page(cx).await.ok_or(Errno::ENOMEM)?;
    for frame in 0..PAGES_PER_LARGE {
        cx.machine.prepare_memory().clear(new + frame);
    }
    let clear = u64::from(cx.machine.costs().copy_page / 2) * u64::from(PAGES_PER_LARGE);
    cx.machine.spend(clear);
    page_add_new_anon_rmap(cx, new, place.mm, place.va.page().get()).await;
    let ptl = cx.machine.spin_lock(cx.mm(place.mm).ptl).await;
    let first = read_pte(cx, place.at).await.is_none();
    if first {
        pass_reference(cx, new, Holder::Hand, Holder::Mapping);
        place.update(cx, move |_| user_pte(new, write, write)).await;
    } else {
        discard_new_page(cx, new).await;
    }
    ptl.unlock().await;
    cx.count("huge pages", u64::from(first));
    Ok(Fault::Minor)
}

async fn discard_new_page(cx: Cx<'_>, new: Pfn) {
    page_remove_rmap(cx, new).await;
    put_page(cx, new, Holder::Hand).await;
}

/// A store to a huge page that is mapped without the permission: nobody else has a reference, or
/// it is copied.
///
/// Called with the page-table lock held, and returns with it held; the copy is made without, and
/// installed if the entry is still the same.
async fn hugetlb_cow<'w>(
    cx: Cx<'w>,
    place: HugeAt,
    pte: Pte,
    ptl: SpinGuard<'w>,
) -> (Result<Fault, Errno>, SpinGuard<'w>) {
    let _span = cx.machine.span("hugetlb_cow");
    let HugeAt { mm, va, at } = place;
    let old = pte.pfn();
    if page_count(cx, old).await == 1 {
        let marks = PteFlags::W | PteFlags::D | PteFlags::A;
        place.update(cx, move |pte| pte.with(marks)).await;
        return (Ok(Fault::Minor), ptl);
    }
    get_page(cx, old, Holder::Hand).await;
    let Some(new) = alloc_huge_page(cx).await else {
        put_page(cx, old, Holder::Hand).await;
        return (Err(Errno::ENOMEM), ptl);
    };
    let lock = cx.ask(|patch| patch.huge_cow_lock());
    let locked = match lock.unwrap_or(HugeCowLock::None) {
        HugeCowLock::None => None,
        HugeCowLock::New => Some(new),
        HugeCowLock::Old => Some(old),
    };
    if lock == Some(HugeCowLock::Old) {
        lock_page(cx, old).await;
    }
    ptl.unlock().await;
    if lock == Some(HugeCowLock::New) {
        lock_page(cx, new).await;
    }
    let mut result = Fault::Minor;
    let may_copy = dio_range::cow_begins(cx, mm, va).await;
    if may_copy {
        copy_huge_page(cx, new, old).await;
    } else {
        result = Fault::SentBack(old);
    }
    page_add_new_anon_rmap(cx, new, mm, va.page().get()).await;
    let ptl = cx.machine.spin_lock(cx.mm(mm).ptl).await;
    let same = may_copy && pte_same(read_pte(cx, at).await, pte);
    if same {
        page_remove_rmap(cx, old).await;
        pass_reference(cx, new, Holder::Hand, Holder::Mapping);
        place.update(cx, move |_| user_pte(new, true, true)).await;
        flush_tlb_page(cx, mm, range_of(va)).await;
    }
    if let Some(page) = locked {
        unlock_page(cx, page).await;
    }
    if same {
        put_page(cx, old, Holder::Mapping).await;
        cx.count("copy-on-write breaks", 1);
    } else {
        discard_new_page(cx, new).await;
    }
    if may_copy {
        dio_range::cow_ends(cx, mm).await;
    }
    put_page(cx, old, Holder::Hand).await;
    (Ok(result), ptl)
}

/// Copies the entries of a huge mapping at fork. The parent's `mmap_sem` is held alone.
pub async fn copy_hugetlb_page_range(
    cx: Cx<'_>,
    parent: MmId,
    child: MmId,
    vma: &Vma,
) -> Result<(), Errno> {
    let counted = cx.ask(|patch| patch.huge_write_protect_seq()) == Some(true);
    if counted {
        pin::write_protect_begins(cx, parent).await;
    }
    let copied = copy_huge_entries(cx, parent, child, vma).await;
    if counted {
        pin::write_protect_ends(cx, parent).await;
    }
    copied
}

async fn copy_huge_entries(cx: Cx<'_>, parent: MmId, child: MmId, vma: &Vma) -> Result<(), Errno> {
    let _span = cx.machine.span("copy_hugetlb_page_range");
    let mut va = vma.start;
    while va < vma.end {
        if let Some(Found::Huge(source, _)) = find_any(cx, parent, va).await {
            let dst_ptl = cx.machine.spin_lock(cx.mm(child).ptl).await;
            let Some(target) = pmd_alloc(cx, child, va).await else {
                dst_ptl.unlock().await;
                return Err(Errno::ENOMEM);
            };
            let from = HugeAt::new(parent, va, source);
            let to = HugeAt::new(child, va, target);
            copy_huge_entry(cx, from, to, dst_ptl).await?;
        }
        va = va + HUGE;
    }
    Ok(())
}

/// Shares one huge page, read-only on both sides, or copies it at once for the child. The child's
/// page-table lock is held; releases it.
async fn copy_huge_entry<'w>(
    cx: Cx<'w>,
    from: HugeAt,
    to: HugeAt,
    dst_ptl: SpinGuard<'w>,
) -> Result<(), Errno> {
    let src_ptl = cx.machine.spin_lock_nested(cx.mm(from.mm).ptl).await;
    cx.machine.spend(u64::from(cx.machine.costs().fork_entry));
    let pte = read_pte(cx, from.at).await;
    let shared = pte.without(PteFlags::W);
    if pte.writable() {
        from.update(cx, |pte| pte.without(PteFlags::W)).await;
    }
    let page = pte.pfn();
    get_page(cx, page, Holder::Mapping).await;
    page_dup_rmap(cx, page).await;
    to.update(cx, move |_| shared).await;
    let policy = cx.ask(|patch| patch.fork_huge_page());
    let copies = pte.writable()
        && match policy {
            Some(ForkAnon::CopyIfPinned) => page_looks_pinned(cx, page).await,
            Some(ForkAnon::CopyIfDmaPinned) => pin::may_be_pinned(cx, from.mm, page).await,
            _ => false,
        };
    if !copies {
        src_ptl.unlock().await;
        dst_ptl.unlock().await;
        return Ok(());
    }
    copy_pinned_huge_page(cx, from, to, shared, src_ptl, dst_ptl).await
}

/// The child gets a copy of its own at once: nobody stores meanwhile, since the parent's entry is
/// read-only, its cached translations are flushed, and faults wait for `mmap_sem`. Then the
/// parent's entry is writable again, and with it the page stays the pinner's.
async fn copy_pinned_huge_page<'w>(
    cx: Cx<'w>,
    from: HugeAt,
    to: HugeAt,
    shared: Pte,
    src_ptl: SpinGuard<'w>,
    dst_ptl: SpinGuard<'w>,
) -> Result<(), Errno> {
    let _span = cx.machine.span("fork_pre_cow");
    flush_tlb_page(cx, from.mm, range_of(from.va)).await;
    src_ptl.unlock().await;
    let mut dst_ptl = dst_ptl;
    if cx.ask(|patch| patch.huge_fork_keeps_lock()) == Some(true) {
        dst_ptl.unlock().await;
        huge_file::find_lock_page(cx, from.mm, from.va).await;
        dst_ptl = cx.machine.spin_lock(cx.mm(to.mm).ptl).await;
    }
    let (result, dst_ptl) = hugetlb_cow(cx, to, shared, dst_ptl).await;
    let src_ptl = cx.machine.spin_lock_nested(cx.mm(from.mm).ptl).await;
    if pte_same(read_pte(cx, from.at).await, shared) {
        from.update(cx, |pte| pte.with(PteFlags::W)).await;
    }
    src_ptl.unlock().await;
    dst_ptl.unlock().await;
    cx.count("pages copied at fork", u64::from(PAGES_PER_LARGE));
    result.map(|_| ())
}

/// Pins `count` pages from `va` on, which lie in one huge page (`follow_hugetlb_page`): the count
/// goes up once for each, under the page-table lock.
pub async fn follow_hugetlb_page(
    cx: Cx<'_>,
    mm: MmId,
    va: VirtAddr,
    count: usize,
    gup::Want { write, foll, .. }: gup::Want,
    pages: &mut Vec<Pfn>,
) -> Result<(), Errno> {
    let _span = cx.machine.span("follow_hugetlb_page");
    loop {
        let ptl = cx.machine.spin_lock(cx.mm(mm).ptl).await;
        let found = match find_any(cx, mm, va).await {
            Some(Found::Huge(_, pte)) => gup::grants(pte, write),
            _ => None,
        };
        if let Some(head) = found {
            let first = head + va.page().index_in_large();
            for frame in 0..count as u32 {
                pin::grab_page(cx, first + frame, foll).await;
                pages.push(first + frame);
            }
            gup::mark_as_asked(cx, head, write).await;
        }
        ptl.unlock().await;
        if found.is_some() {
            return Ok(());
        }
        if let Fault::SentBack(page) = hugetlb_fault(cx, mm, va, write).await? {
            dio_range::wait_to_retry(cx, mm, va, page).await;
        }
    }
}

/// Removes the entry of a huge page (`__unmap_hugepage_range`). The page-table lock is held.
pub async fn unmap_hugepage(
    cx: Cx<'_>,
    mm: MmId,
    va: VirtAddr,
    at: PhysAddr,
    revoked: &mut Revoked,
) {
    let old = HugeAt::new(mm, va, at).update(cx, |_| Pte::NONE).await;
    if old.is_leaf() {
        page_remove_rmap(cx, old.pfn()).await;
        revoked.push(old.pfn());
    }
}

/// Takes the permission to write a huge page away (`hugetlb_change_protection`). The page-table
/// lock is held.
pub async fn huge_ptep_set_wrprotect(cx: Cx<'_>, mm: MmId, va: VirtAddr, at: PhysAddr) {
    HugeAt::new(mm, va, at)
        .update(cx, |pte| pte.without(PteFlags::W))
        .await;
}
