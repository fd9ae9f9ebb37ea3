//! Swap: the area with its slots, the swap cache, and the fault on a swap entry.
//!
//! A slot counts its users: entries that name it, and the swap cache. A page in the swap cache
//! belongs to a slot ([`Page::private`](crate::Page)) whether or not anything maps it; the cache
//! holds a reference of its own, and membership changes only under the page lock.
//!
//! Reduced: one area, kept in frames of memory, so that a transfer is a copy by the CPU, a step
//! for each sector, and not a request to a disk. There is no read-ahead.

use emu::{Access, Kind, LockId, Object, Request, Word};
use mmu::{Pfn, Pte, PteFlags, PteKind, SwapEntry};

use crate::exclusive::{SWP_EXCLUSIVE, set_exclusive};
use crate::fault::{Fault, FaultAt, do_wp_page, pte_same};
use crate::lock::{lock_page, trylock_page, unlock_page};
use crate::mm::{read_pte, set_pte_at, user_pte};
use crate::page::{
    Holder, PageFlags, alloc_page, copy_sectors, get_page, page_add_anon_rmap, page_step, put_page,
};
use crate::pagevec::lru_cache_add;
use crate::patch::WpReuse;
use crate::{Cx, Errno, exclusive};

/// A slot of the area.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Entries that name it, and one for the swap cache (`swap_map`); 0 is free.
    pub count: u32,
    /// The page of the swap cache that belongs to it.
    pub cache: Option<Pfn>,
    /// The frame that keeps what is written to it.
    pub frame: Pfn,
}

/// The swap area. Without slots there is no swap, and no path takes a step for it.
#[derive(Clone, Default)]
pub struct Swap {
    /// Its slots; each changes in steps on it ([`Kind::Swap`]).
    pub slots: Vec<Slot>,
    /// Where the search for a free slot goes on.
    next: usize,
    /// Guards what the reverse map goes through; made with the area.
    pub(crate) anon_vma: Option<LockId>,
}

impl Swap {
    /// Adds a slot that is kept in `frame`.
    pub(crate) fn add_slot(&mut self, frame: Pfn) {
        self.slots.push(Slot {
            count: 0,
            cache: None,
            frame,
        });
    }

    /// The first slot belongs to `pfn`.
    pub(crate) fn prepare_cached(&mut self, pfn: Pfn) {
        self.slots[0].count = 1;
        self.slots[0].cache = Some(pfn);
        self.next = 1;
    }

    /// The slot that an entry names, if there is one.
    pub fn slot(&self, entry: SwapEntry) -> Option<&Slot> {
        self.slots
            .get(entry.offset as usize)
            .filter(|_| entry.area == 0)
    }

    /// Less than half of the slots are free (`vm_swap_full`).
    fn is_full(&self) -> bool {
        self.slots.iter().filter(|slot| slot.count == 0).count() * 2 < self.slots.len()
    }
}

/// The map of free slots.
const AREA: Object = Object::new(Kind::Swap, 0);

/// The object that stands for a slot.
pub fn slot_object(entry: SwapEntry) -> Object {
    Object::new(Kind::Swap, u64::from(entry.offset) + 1)
}

fn slot_step<'w, R: Word>(
    cx: Cx<'w>,
    entry: SwapEntry,
    access: Access,
    change: impl FnOnce(&mut Swap) -> R,
) -> impl Future<Output = R> {
    let request = Request::touch(slot_object(entry), access, cx.machine.costs().l1);
    cx.machine
        .step(request, move |_| change(&mut cx.swap.borrow_mut()))
}

/// The slot that an entry of a page table names; `None` if it is no entry of this area's.
pub fn pte_to_swp_entry(cx: Cx<'_>, pte: Pte) -> Option<SwapEntry> {
    match pte.kind() {
        PteKind::Swap(entry) => cx.swap.borrow().slot(entry).map(|_| entry),
        _ => None,
    }
}

/// The slot of a page in the swap cache. The caller holds the page lock.
pub fn swap_cache_entry(cx: Cx<'_>, pfn: Pfn) -> Option<SwapEntry> {
    let pages = cx.pages.borrow();
    let page = pages.get(pfn)?;
    page.flags
        .contains(PageFlags::SWAPCACHE)
        .then_some(SwapEntry {
            area: 0,
            offset: page.private,
        })
}

/// Takes a free slot, its count 1.
async fn get_swap_page(cx: Cx<'_>) -> Option<SwapEntry> {
    let request = Request::touch(AREA, Access::Update, cx.machine.costs().l1);
    let mut found = None;
    cx.machine
        .step(request, |_| {
            let mut swap = cx.swap.borrow_mut();
            let (len, next) = (swap.slots.len(), swap.next);
            let free = (next..next + len).find(|at| swap.slots[at % len].count == 0);
            if let Some(at) = free.map(|at| at % len) {
                swap.next = at + 1;
                swap.slots[at].count = 1;
                let entry = SwapEntry {
                    area: 0,
                    offset: at as u32,
                };
                cx.machine.touch(slot_object(entry), Access::Update);
                found = Some(entry);
            }
            found.map(|entry| u64::from(entry.offset))
        })
        .await;
    found
}

/// Another user of a slot that is in use.
pub async fn swap_duplicate(cx: Cx<'_>, entry: SwapEntry) {
    if !swap_duplicate_if_used(cx, entry).await {
        cx.oracles.free_slot_used(cx, entry, "took a reference to");
    }
}

/// Another user of a slot, unless it is free.
async fn swap_duplicate_if_used(cx: Cx<'_>, entry: SwapEntry) -> bool {
    slot_step(cx, entry, Access::Update, |swap| {
        let slot = &mut swap.slots[entry.offset as usize];
        let used = slot.count > 0;
        slot.count += u32::from(used);
        used
    })
    .await
}

/// One user of a slot fewer; the last one frees it. Returns how many are left, and whether the
/// area is nearly full.
pub async fn swap_free(cx: Cx<'_>, entry: SwapEntry) -> (u32, bool) {
    let mut used = true;
    let left = slot_step(cx, entry, Access::Update, |swap| {
        let slot = &mut swap.slots[entry.offset as usize];
        used = slot.count > 0;
        slot.count = slot.count.saturating_sub(1);
        let left = slot.count;
        let access = if left == 0 {
            Access::Update
        } else {
            Access::Read
        };
        cx.machine.touch(AREA, access);
        (left, swap.is_full())
    })
    .await;
    if !used {
        cx.oracles.free_slot_used(cx, entry, "freed");
    }
    left
}

/// The page of a slot in the swap cache, with a reference in hand (`find_get_page`).
async fn lookup_swap_cache(cx: Cx<'_>, entry: SwapEntry) -> Option<Pfn> {
    slot_step(cx, entry, Access::Read, |swap| {
        let pfn = swap.slots[entry.offset as usize].cache?;
        cx.machine.touch(Object::page(pfn), Access::Update);
        cx.oracles.reference_taken(cx, pfn, Holder::Hand);
        let mut pages = cx.pages.borrow_mut();
        let page = pages.get_mut(pfn);
        page.count += 1;
        page.held[Holder::Hand as usize] += 1;
        Some(pfn)
    })
    .await
}

/// Puts a page whose lock is held into the swap cache (`__add_to_swap_cache`): the reference
/// first, the flag second, so that whoever looks at both without the page lock can see the one
/// without the other. False if the slot has a page already.
async fn add_to_swap_cache(cx: Cx<'_>, pfn: Pfn, entry: SwapEntry) -> bool {
    get_page(cx, pfn, Holder::Cache).await;
    page_step(cx, pfn, Access::Update, |page| {
        page.flags |= PageFlags::SWAPCACHE;
        page.private = entry.offset;
    })
    .await;
    let added = slot_step(cx, entry, Access::Update, |swap| {
        let cache = &mut swap.slots[entry.offset as usize].cache;
        let free = cache.is_none();
        if free {
            *cache = Some(pfn);
        }
        free
    })
    .await;
    if !added {
        forget_swap_cache(cx, pfn).await;
    }
    added
}

async fn forget_swap_cache(cx: Cx<'_>, pfn: Pfn) {
    page_step(cx, pfn, Access::Update, |page| {
        page.flags -= PageFlags::SWAPCACHE;
        page.private = 0;
    })
    .await;
    put_page(cx, pfn, Holder::Cache).await;
}

/// Gives a page, whose lock the caller holds, a slot (`add_to_swap`). False if there is none left.
pub async fn add_to_swap(cx: Cx<'_>, pfn: Pfn) -> bool {
    let _span = cx.machine.span("add_to_swap");
    let Some(entry) = get_swap_page(cx).await else {
        return false;
    };
    if !add_to_swap_cache(cx, pfn, entry).await {
        swap_free(cx, entry).await;
        return false;
    }
    page_step(cx, pfn, Access::Update, |page| {
        page.flags |= PageFlags::DIRTY;
    })
    .await;
    cx.count("pages added to swap", 1);
    true
}

/// Takes a page out of the swap cache if `may` says so of its bookkeeping, in the step that does
/// it (the tree lock holds look-ups off meanwhile). The caller holds the page lock.
pub(crate) async fn delete_from_swap_cache_if(
    cx: Cx<'_>,
    pfn: Pfn,
    may: impl Fn(&crate::Page, u32) -> bool,
) -> bool {
    let Some(entry) = swap_cache_entry(cx, pfn) else {
        return false;
    };
    let deleted = slot_step(cx, entry, Access::Update, |swap| {
        cx.machine.touch(Object::page(pfn), Access::Read);
        let slot = &mut swap.slots[entry.offset as usize];
        let may = cx
            .pages
            .borrow()
            .get(pfn)
            .is_some_and(|page| may(page, slot.count));
        if may {
            slot.cache = None;
        }
        may
    })
    .await;
    if deleted {
        forget_swap_cache(cx, pfn).await;
        swap_free(cx, entry).await;
    }
    deleted
}

/// As [`delete_from_swap_cache_if`]; what the page holds is in no slot any more, so it is dirty.
async fn leave_swap_cache_if(
    cx: Cx<'_>,
    pfn: Pfn,
    may: impl Fn(&crate::Page, u32) -> bool,
) -> bool {
    let left = delete_from_swap_cache_if(cx, pfn, may).await;
    if left {
        page_step(cx, pfn, Access::Update, |page| {
            page.flags |= PageFlags::DIRTY;
        })
        .await;
    }
    left
}

/// Takes a page out of the swap cache if the caller's reference and the cache's are the only ones
/// and no entry names the slot. The caller holds the page lock.
pub async fn remove_exclusive_swap_page(cx: Cx<'_>, pfn: Pfn) -> bool {
    leave_swap_cache_if(cx, pfn, |page, users| {
        page.count == 2 && users == 1 && !page.flags.contains(PageFlags::WRITEBACK)
    })
    .await
}

/// Takes a page out of the swap cache if no entry names the slot (`try_to_free_swap`). The caller
/// holds the page lock.
pub async fn try_to_free_swap(cx: Cx<'_>, pfn: Pfn) -> bool {
    leave_swap_cache_if(cx, pfn, |page, users| {
        users == 1 && !page.flags.contains(PageFlags::WRITEBACK)
    })
    .await
}

/// A reference to a page that was mapped is about to be given back: the swap cache need not keep
/// it (`free_swap_cache`).
pub async fn free_swap_cache(cx: Cx<'_>, pfn: Pfn) {
    if !cx.swaps() {
        return;
    }
    let cached = page_step(cx, pfn, Access::Read, |page| {
        page.flags.contains(PageFlags::SWAPCACHE)
    })
    .await;
    if cached && trylock_page(cx, pfn).await {
        remove_exclusive_swap_page(cx, pfn).await;
        unlock_page(cx, pfn).await;
    }
}

/// An entry that named a slot is gone (`free_swap_and_cache`): so is the cached page, if the cache
/// alone keeps it and its lock is free. A word that names no slot is left to the oracles.
pub async fn free_swap_and_cache(cx: Cx<'_>, pte: Pte) {
    let _span = cx.machine.span("free_swap_and_cache");
    let Some(entry) = pte_to_swp_entry(cx, pte) else {
        return;
    };
    if swap_free(cx, entry).await.0 != 1 {
        return;
    }
    let Some(pfn) = lookup_swap_cache(cx, entry).await else {
        return;
    };
    if trylock_page(cx, pfn).await {
        remove_exclusive_swap_page(cx, pfn).await;
        unlock_page(cx, pfn).await;
    }
    put_page(cx, pfn, Holder::Hand).await;
}

/// Entries that map the page, and if it is one at most, entries that name its slot. The caller
/// holds the page lock.
async fn mapcount_and_swapcount(cx: Cx<'_>, pfn: Pfn) -> i32 {
    let count = crate::page::page_mapcount(cx, pfn).await;
    match swap_cache_entry(cx, pfn) {
        Some(entry) if count <= 1 => {
            let users = slot_step(cx, entry, Access::Read, |swap| {
                swap.slots[entry.offset as usize].count
            })
            .await;
            // One of them is the swap cache.
            count + users as i32 - 1
        }
        _ => count,
    }
}

/// Whether nobody but the caller has the page's contents (`can_share_swap_page`). The caller
/// holds the page lock.
pub async fn can_share_swap_page(cx: Cx<'_>, pfn: Pfn) -> bool {
    mapcount_and_swapcount(cx, pfn).await == 1
}

/// As [`can_share_swap_page`]; the page also leaves the swap cache, unless it is being written
/// (`reuse_swap_page`).
pub async fn reuse_swap_page(cx: Cx<'_>, pfn: Pfn) -> bool {
    let alone = can_share_swap_page(cx, pfn).await;
    if alone && swap_cache_entry(cx, pfn).is_some() {
        leave_swap_cache_if(cx, pfn, |page, _| {
            !page.flags.contains(PageFlags::WRITEBACK)
        })
        .await;
    }
    alone
}

/// Reads a slot into a new page of the swap cache, unless somebody was faster
/// (`read_swap_cache_async`). A reference is in hand. `None` if the slot is free by now, or when
/// memory is out.
async fn read_swap_cache(cx: Cx<'_>, entry: SwapEntry) -> Option<Pfn> {
    let _span = cx.machine.span("read_swap_cache_async");
    loop {
        if let Some(found) = lookup_swap_cache(cx, entry).await {
            return Some(found);
        }
        let new = alloc_page(cx).await?;
        let locked = trylock_page(cx, new).await;
        debug_assert!(locked, "nobody knows of the page yet");
        if !swap_duplicate_if_used(cx, entry).await {
            unlock_page(cx, new).await;
            put_page(cx, new, Holder::Hand).await;
            return None;
        }
        page_step(cx, new, Access::Write, |page| page.flags |= PageFlags::ANON).await;
        if add_to_swap_cache(cx, new, entry).await {
            lru_cache_add(cx, new).await;
            let from = cx.swap.borrow().slots[entry.offset as usize].frame;
            copy_sectors(cx, new, from).await;
            unlock_page(cx, new).await;
            cx.count("pages read from swap", 1);
            return Some(new);
        }
        swap_free(cx, entry).await;
        unlock_page(cx, new).await;
        put_page(cx, new, Holder::Hand).await;
    }
}

/// Writes a page of the swap cache to its slot (`swap_writepage`). The caller holds the page lock,
/// and it is released: the transfer goes on without.
pub async fn swap_writepage(cx: Cx<'_>, pfn: Pfn) {
    let _span = cx.machine.span("swap_writepage");
    let entry = swap_cache_entry(cx, pfn).expect("the page lock keeps it in the swap cache");
    page_step(cx, pfn, Access::Update, |page| {
        page.flags |= PageFlags::WRITEBACK;
    })
    .await;
    unlock_page(cx, pfn).await;
    let to = cx.swap.borrow().slots[entry.offset as usize].frame;
    copy_sectors(cx, to, pfn).await;
    page_step(cx, pfn, Access::Update, |page| {
        page.flags -= PageFlags::WRITEBACK;
    })
    .await;
    cx.count("pages written to swap", 1);
}

/// A fault on an entry that is not present: finds the page in the swap cache or reads it, and maps
/// it; for a store it may be written at once if nobody else has it, else it goes on as a store to
/// a write-protected page.
///
/// Called with nothing held but `mmap_sem`.
pub(crate) async fn do_swap_page(
    cx: Cx<'_>,
    fault: FaultAt,
    seen: Pte,
    write: bool,
) -> Result<Fault, Errno> {
    let _span = cx.machine.span("do_swap_page");
    // A word that names no slot: "Bad swap file entry", and SIGBUS.
    let entry = pte_to_swp_entry(cx, seen).ok_or(Errno::EFAULT)?;
    let ptl = cx.mm(fault.mm).ptl;
    let Some(pfn) = read_swap_cache(cx, entry).await else {
        let ptl = cx.machine.spin_lock(ptl).await;
        let same = pte_same(read_pte(cx, fault.at).await, seen);
        ptl.unlock().await;
        return if same {
            Err(Errno::ENOMEM)
        } else {
            Ok(Fault::Minor)
        };
    };
    lock_page(cx, pfn).await;
    let ptl = cx.machine.spin_lock(ptl).await;
    if !pte_same(read_pte(cx, fault.at).await, seen) {
        ptl.unlock().await;
        unlock_page(cx, pfn).await;
        put_page(cx, pfn, Holder::Hand).await;
        return Ok(Fault::Minor);
    }
    let rule = cx.ask(|patch| patch.wp_reuse()).unwrap_or(WpReuse::Counts);
    let alone = seen.flags().contains(SWP_EXCLUSIVE);
    if alone {
        set_exclusive(cx, pfn).await;
    }
    let mut writable = write && alone;
    if write && !alone && !exclusive::kept(cx) {
        writable = match rule {
            WpReuse::Counts => can_share_swap_page(cx, pfn).await,
            _ => reuse_swap_page(cx, pfn).await,
        };
    }
    let pte = user_pte(pfn, writable, writable);
    crate::page::pass_reference(cx, pfn, Holder::Hand, Holder::Mapping);
    set_pte_at(cx, fault.mm, fault.va, fault.at, pte).await;
    page_add_anon_rmap(cx, pfn, fault.mm, fault.va.page().get()).await;
    let (_, full) = swap_free(cx, entry).await;
    if full {
        remove_exclusive_swap_page(cx, pfn).await;
    }
    unlock_page(cx, pfn).await;
    cx.count("pages mapped from swap", 1);
    if write && !writable {
        let pte = pte.with(PteFlags::A);
        return do_wp_page(cx, fault, pte, ptl).await.map(|_| Fault::Minor);
    }
    ptl.unlock().await;
    Ok(Fault::Minor)
}

impl crate::Kernel<'_> {
    /// Whether there is a swap area.
    #[inline]
    pub fn swaps(&self) -> bool {
        self.has_swap.get()
    }
}
