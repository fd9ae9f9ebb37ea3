//! The bookkeeping of a frame, and the allocator of frames.

use bitflags::bitflags;
use emu::{Access, Kind, LockId, Object, Request};
use mmu::{PAGES_PER_LARGE, Pfn, PhysAddr};

use crate::extension::Extensions;
use crate::vmscan::try_to_free_pages;
use crate::{Cx, MmId, barrier, dio_range, exclusive, pinned_mapping};

bitflags! {
    /// Flags of a frame, as in Linux.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct PageFlags: u32 {
        /// Anonymous memory.
        const ANON = 1;
        /// Written since it was last cleaned.
        const DIRTY = 1 << 1;
        /// Used lately.
        const REFERENCED = 1 << 2;
        /// In the swap cache.
        const SWAPCACHE = 1 << 3;
        /// The zero page and its like: never counted, never freed.
        const RESERVED = 1 << 4;
        /// Holds a page table.
        const TABLE = 1 << 5;
        /// A pin took a reference once (PG_gup): sticky, dies with the page.
        const GUP = 1 << 6;
        /// Being written to swap (PG_writeback).
        const WRITEBACK = 1 << 7;
        /// In a CPU's batch, and on no list of reclaim yet (not PG_lru).
        const BATCHED = 1 << 8;
        /// Merged (PageKsm): whoever stores gets a copy. Changes under the page lock.
        const KSM = 1 << 13;
        /// The head of a huge page (PG_compound): the 511 frames that follow are its own.
        const COMPOUND = 1 << 12;
        /// One address space alone has it (PG_anon_exclusive).
        const EXCLUSIVE = 1 << 16;
    }
}

/// Who holds a reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Holder {
    /// A page-table entry.
    Mapping,
    /// A pin: get_user_pages.
    Pin,
    /// A path that has it in hand.
    Hand,
    /// A cache of files or of swap.
    Cache,
    /// A patch.
    Patch,
    /// A CPU's batch of new pages.
    Batch,
}

impl Holder {
    /// Every holder, by its number.
    pub const ALL: [Holder; 6] = [
        Holder::Mapping,
        Holder::Pin,
        Holder::Hand,
        Holder::Cache,
        Holder::Patch,
        Holder::Batch,
    ];
}

/// A frame's bookkeeping (`struct page`).
#[derive(Clone, Default)]
pub struct Page {
    // atomic; read and changed without a lock:
    /// References.
    pub count: i32,
    /// Pins counted apart, each of which is worth 1,024 in `count`.
    pub pins: i32,
    /// Page-table entries that map it.
    pub mapcount: i32,
    /// Flags.
    pub flags: PageFlags,
    // the page lock (PG_locked); made when first wanted:
    pub(crate) lock: Option<LockId>,
    // set before the page is visible:
    /// The address space it was first mapped in, if anonymous.
    pub mapping: Option<MmId>,
    /// The page number it was first mapped at.
    pub index: u64,
    // the page lock:
    /// Its slot, while it is in the swap cache.
    pub private: u32,
    /// What patches keep here.
    pub ext: Option<Box<Extensions>>,
    // the reference-balance oracle's ledger:
    pub(crate) held: [i32; Holder::ALL.len()],
    pub(crate) touched: bool,
}

/// The bookkeeping of all frames, made when first touched.
#[derive(Default)]
pub struct Pages {
    chunks: Vec<Option<Box<[Page]>>>,
    touched: Vec<Pfn>,
    saved: Vec<(Pfn, Page)>,
    remembering: bool,
}

const CHUNK: usize = 512;

impl Pages {
    /// For `frames` frames.
    pub fn new(frames: u32) -> Pages {
        Pages {
            chunks: vec![None; (frames as usize).div_ceil(CHUNK)],
            ..Pages::default()
        }
    }

    /// A frame's bookkeeping, if it was ever touched.
    #[inline]
    pub fn get(&self, pfn: Pfn) -> Option<&Page> {
        let at = pfn.get() as usize;
        self.chunks
            .get(at / CHUNK)?
            .as_ref()
            .map(|chunk| &chunk[at % CHUNK])
    }

    /// A frame's bookkeeping, to change.
    #[inline]
    pub fn get_mut(&mut self, pfn: Pfn) -> &mut Page {
        let at = pfn.get() as usize;
        let chunk =
            self.chunks[at / CHUNK].get_or_insert_with(|| vec![Page::default(); CHUNK].into());
        let page = &mut chunk[at % CHUNK];
        if self.remembering && !page.touched {
            page.touched = true;
            self.touched.push(pfn);
        }
        page
    }

    /// Every frame with bookkeeping that is not all zero.
    pub fn iter(&self) -> impl Iterator<Item = (Pfn, &Page)> {
        self.chunks.iter().enumerate().flat_map(|(at, chunk)| {
            let pages = chunk.as_deref().unwrap_or_default();
            pages
                .iter()
                .enumerate()
                .map(move |(offset, page)| (Pfn::new((at * CHUNK + offset) as u32), page))
        })
    }

    /// Whether no bookkeeping was reached for to change since [`Pages::reset`].
    pub(crate) fn untouched(&self) -> bool {
        self.remembering && self.touched.is_empty()
    }

    pub(crate) fn remember(&mut self) {
        self.remembering = true;
        self.saved = self
            .iter()
            .filter(|(_, page)| page.count != 0 || page.lock.is_some())
            .map(|(pfn, page)| (pfn, page.clone()))
            .collect();
    }

    pub(crate) fn reset(&mut self) {
        for pfn in std::mem::take(&mut self.touched) {
            let saved = self.saved.binary_search_by_key(&pfn, |(pfn, _)| *pfn);
            let value = saved.map_or_else(|_| Page::default(), |at| self.saved[at].1.clone());
            let at = pfn.get() as usize;
            if let Some(chunk) = &mut self.chunks[at / CHUNK] {
                chunk[at % CHUNK] = value;
            }
        }
    }
}

/// The frame allocator: last freed, first reused, so that a use after a free is noticed soon.
#[derive(Clone, Default)]
pub struct Zone {
    /// The lowest frame never handed out.
    next: u32,
    end: u32,
    free: Vec<Pfn>,
    /// The pool of huge pages: heads.
    huge: Vec<Pfn>,
}

impl Zone {
    /// Frames `first` to `end`.
    pub fn new(first: u32, end: u32) -> Zone {
        Zone {
            next: first,
            end,
            free: Vec::new(),
            huge: Vec::new(),
        }
    }

    /// Only so many of the free frames are left.
    pub(crate) fn limit(&mut self, frames: u32) {
        self.free.truncate(frames as usize);
        let rest = frames - self.free.len() as u32;
        self.end = self.end.min(self.next + rest);
    }

    /// Sets the highest frames aside for a huge page. False if they are not free.
    pub(crate) fn reserve_huge(&mut self) -> bool {
        let end = self.end / PAGES_PER_LARGE * PAGES_PER_LARGE;
        let Some(head) = end.checked_sub(PAGES_PER_LARGE) else {
            return false;
        };
        let room = head >= self.next;
        if room {
            self.end = head;
            self.huge.push(Pfn::new(head));
        }
        room
    }

    pub(crate) fn take_huge(&mut self) -> Option<Pfn> {
        self.huge.pop()
    }

    pub(crate) fn give_huge(&mut self, head: Pfn) {
        self.huge.push(head);
    }

    pub(crate) fn take(&mut self) -> Option<Pfn> {
        self.free.pop().or_else(|| {
            (self.next < self.end).then(|| {
                self.next += 1;
                Pfn::new(self.next - 1)
            })
        })
    }

    pub(crate) fn give(&mut self, pfn: Pfn) {
        assert!(
            pfn.get() < self.next,
            "a frame is freed that was never handed out"
        );
        self.free.push(pfn);
    }

    /// Frames free.
    pub fn available(&self) -> u32 {
        self.end - self.next + self.free.len() as u32
    }
}

/// Changes a frame's bookkeeping in a step of its own; that of the head, if it is in a huge page.
#[track_caller]
pub fn page_step<'w, R: emu::Word>(
    cx: Cx<'w>,
    pfn: Pfn,
    access: Access,
    change: impl FnOnce(&mut Page) -> R,
) -> impl Future<Output = R> {
    let pfn = cx.compound_head(pfn);
    let request = Request::touch(Object::page(pfn), access, cx.machine.costs().l1);
    cx.machine
        .step(request, move |_| change(cx.pages.borrow_mut().get_mut(pfn)))
}

/// Takes a free frame; its count is 1, held in hand. `None` when memory is out.
#[track_caller]
pub fn alloc_page(cx: Cx<'_>) -> impl Future<Output = Option<Pfn>> {
    let request = Request::touch(
        Object::new(Kind::Zone, 0),
        Access::Update,
        cx.machine.costs().l2,
    );
    cx.machine.step(request, move |_| cx.take_frame())
}

/// The same for a caller that may sleep: when memory is out it reclaims pages itself
/// (`GFP_KERNEL`).
pub async fn alloc_page_or_reclaim(cx: Cx<'_>) -> Option<Pfn> {
    cx.machine.may_sleep("alloc_page");
    if let Some(new) = alloc_page(cx).await {
        return Some(new);
    }
    try_to_free_pages(cx).await;
    alloc_page(cx).await
}

/// Takes a reference that `holder` will have to give back.
#[track_caller]
pub fn get_page<'w>(cx: Cx<'w>, pfn: Pfn, holder: Holder) -> impl Future<Output = i32> + 'w {
    get_page_multiple(cx, pfn, 1, holder)
}

/// Takes so many references at once, to `pfn` and the frames after it, which are in one page
/// (`get_head_page_multiple`).
#[track_caller]
pub fn get_page_multiple<'w>(
    cx: Cx<'w>,
    pfn: Pfn,
    references: u32,
    holder: Holder,
) -> impl Future<Output = i32> + 'w {
    let head = cx.compound_head(pfn);
    let request = Request::touch(Object::page(head), Access::Update, cx.machine.costs().l1);
    cx.machine.step(request, move |_| {
        for frame in 0..references {
            cx.oracles.reference_taken(cx, pfn + frame, holder);
        }
        let mut pages = cx.pages.borrow_mut();
        let page = pages.get_mut(head);
        if !page.flags.contains(PageFlags::RESERVED) {
            page.count += references as i32;
            page.held[holder as usize] += references as i32;
        }
        page.count
    })
}

/// As [`get_page`], by an operation that orders nothing: others may see it later.
pub(crate) async fn get_page_unordered(cx: Cx<'_>, pfn: Pfn, holder: Holder) {
    if cx.machine.size().store_buffers {
        barrier::add_count(cx, pfn, holder, 1, 0).await;
    } else {
        get_page(cx, pfn, holder).await;
    }
}

/// Takes a reference unless the page is free (`get_page_unless_zero`): what a path may do that
/// came without a lock.
#[track_caller]
pub fn get_page_unless_zero<'w>(
    cx: Cx<'w>,
    pfn: Pfn,
    holder: Holder,
) -> impl Future<Output = bool> + 'w {
    page_step(cx, pfn, Access::Update, move |page| {
        let reserved = page.flags.contains(PageFlags::RESERVED);
        let alive = page.count > 0 || reserved;
        if alive && !reserved {
            page.count += 1;
            page.held[holder as usize] += 1;
        }
        alive
    })
}

/// Gives a reference back; the last one frees the frame.
#[track_caller]
pub fn put_page<'w>(cx: Cx<'w>, pfn: Pfn, holder: Holder) -> impl Future<Output = ()> + 'w {
    let pfn = cx.compound_head(pfn);
    let request = Request::touch(Object::page(pfn), Access::Update, cx.machine.costs().l1);
    let dropped = cx.machine.step(request, move |_| {
        cx.drop_reference(pfn, holder);
        cx.reference_dropped(pfn);
    });
    async move {
        dropped.await;
        dio_range::wake_stirred(cx).await;
    }
}

/// A holder hands its reference to another; no count changes.
pub fn pass_reference(cx: Cx<'_>, pfn: Pfn, from: Holder, to: Holder) {
    let mut pages = cx.pages.borrow_mut();
    let page = pages.get_mut(pfn);
    page.held[from as usize] -= 1;
    page.held[to as usize] += 1;
}

/// Reads the count.
#[track_caller]
pub fn page_count<'w>(cx: Cx<'w>, pfn: Pfn) -> impl Future<Output = i32> + 'w {
    page_step(cx, pfn, Access::Read, |page| page.count)
}

/// Reads the map count.
#[track_caller]
pub fn page_mapcount<'w>(cx: Cx<'w>, pfn: Pfn) -> impl Future<Output = i32> + 'w {
    page_step(cx, pfn, Access::Read, |page| page.mapcount)
}

/// Another entry maps the page (`page_dup_rmap`).
#[track_caller]
pub fn page_dup_rmap<'w>(cx: Cx<'w>, pfn: Pfn) -> impl Future<Output = i32> + 'w {
    page_step(cx, pfn, Access::Update, |page| {
        page.mapcount += 1;
        page.mapcount
    })
}

/// As [`page_dup_rmap`], by an operation that orders nothing.
pub(crate) async fn page_dup_rmap_unordered(cx: Cx<'_>, pfn: Pfn) {
    if cx.machine.size().store_buffers {
        barrier::change_mapcount(cx, pfn, |page| page.mapcount += 1).await;
    } else {
        page_dup_rmap(cx, pfn).await;
    }
}

/// One entry fewer maps the page (`page_remove_rmap`).
#[track_caller]
pub fn page_remove_rmap<'w>(cx: Cx<'w>, pfn: Pfn) -> impl Future<Output = i32> + 'w {
    let request = Request::touch(Object::page(pfn), Access::Update, cx.machine.costs().l1);
    let removed = cx.machine.step(request, move |_| {
        let mut pages = cx.pages.borrow_mut();
        let page = pages.get_mut(pfn);
        if page.flags.contains(PageFlags::RESERVED) {
            return 0;
        }
        page.mapcount -= 1;
        let left = page.mapcount;
        drop(pages);
        cx.mapping_removed(pfn);
        if left < 0 {
            cx.oracles.mapcount_negative(cx, pfn);
        }
        left
    });
    async move {
        let left = removed.await;
        dio_range::wake_stirred(cx).await;
        left
    }
}

/// Makes a fresh frame anonymous memory of `mm` at page number `index` (`page_add_new_anon_rmap`):
/// a step on a page that nobody else can see yet.
#[track_caller]
pub fn page_add_new_anon_rmap<'w>(
    cx: Cx<'w>,
    pfn: Pfn,
    mm: MmId,
    index: u64,
) -> impl Future<Output = ()> + 'w {
    let va = mmu::VirtAddr::new(index * mmu::PAGE_SIZE as u64);
    let marked = pinned_mapping::kept(cx) && pinned_mapping::is_marked(&cx.mms.borrow()[mm], va);
    let flags = exclusive::of_new_page(cx);
    page_step(cx, pfn, Access::Write, move |page| {
        page.flags |= flags;
        page.flags.set(PageFlags::GUP, marked);
        page.mapping = Some(mm);
        page.index = index;
        page.mapcount = 1;
    })
}

/// Another entry maps an anonymous page, which it may be the first to do (`page_add_anon_rmap`).
#[track_caller]
pub fn page_add_anon_rmap<'w>(
    cx: Cx<'w>,
    pfn: Pfn,
    mm: MmId,
    index: u64,
) -> impl Future<Output = ()> + 'w {
    page_step(cx, pfn, Access::Update, move |page| {
        page.mapcount += 1;
        if page.mapcount == 1 {
            page.flags |= PageFlags::ANON;
            page.mapping = Some(mm);
            page.index = index;
        }
    })
}

/// Copies a page, a step for each 512-byte sector: DMA can land in between.
pub async fn copy_page(cx: Cx<'_>, to: Pfn, from: Pfn) {
    copy_sectors(cx, to, from).await;
    cx.count("pages copied", 1);
}

/// Copies the bytes of a frame, a step for each 512-byte sector.
pub async fn copy_sectors(cx: Cx<'_>, to: Pfn, from: Pfn) {
    let sectors = mmu::PAGE_SIZE / mmu::SECTOR_SIZE;
    let cost = cx.machine.costs().copy_page / sectors as u32;
    for sector in 0..sectors {
        let offset = (sector * mmu::SECTOR_SIZE) as u64;
        let (to, from): (PhysAddr, PhysAddr) = (to.base() + offset, from.base() + offset);
        let request = Request::touch(Object::sector(from), Access::Read, cost);
        cx.machine
            .step(request, |acting| {
                acting.memory().copy(from, to, mmu::SECTOR_SIZE);
            })
            .await;
        cx.oracles.sector_copied(to, from);
    }
}
