//! Shadow address spaces: for each process and byte, the last value by program order of its own
//! stores and of the requests it knows to be complete. Pages are shared between parent and child
//! until one of them stores, as the guest's own are.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use mmu::{PAGE_SIZE, VirtAddr};
use slotmap::SecondaryMap;

use crate::MmId;
use crate::mm::MMAP_BASE;

/// A set of bytes of a page.
pub(super) type ByteSet = [u64; PAGE_SIZE / 64];

/// Adds the bytes from `offset` on.
pub(super) fn add_bytes(set: &mut ByteSet, offset: usize, len: usize) {
    let (mut at, end) = (offset, offset + len);
    while at < end {
        let bits = (end - at).min(64 - at % 64);
        set[at / 64] |= (u64::MAX >> (64 - bits)) << (at % 64);
        at += bits;
    }
}

/// Whether a byte is in the set.
pub(super) fn has_byte(set: Option<&ByteSet>, at: usize) -> bool {
    set.is_some_and(|set| set[at / 64] & 1 << (at % 64) != 0)
}

/// What a page must hold.
#[derive(Clone)]
pub(super) struct ShadowPage {
    /// The bytes.
    pub bytes: [u8; PAGE_SIZE],
    /// Bytes that may be anything: a write pin of the parent covered them while fork ran.
    pub unspecified: Option<Box<ByteSet>>,
    /// Lines of bytes that may not be zero.
    written: u64,
}

/// So many lines in a page, a bit each.
const LINES: usize = 64;
const LINE: usize = PAGE_SIZE / LINES;

/// The lines that a range in one page touches; it is not empty.
#[inline]
fn lines(offset: usize, len: usize) -> u64 {
    let (first, last) = (offset / LINE, (offset + len - 1) / LINE);
    u64::MAX >> (LINES - 1 - last) & u64::MAX << first
}

/// What a page holds that was never stored to.
pub(super) static ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

impl ShadowPage {
    /// A page of these bytes.
    pub fn new(bytes: [u8; PAGE_SIZE]) -> ShadowPage {
        ShadowPage {
            bytes,
            unspecified: None,
            written: u64::MAX,
        }
    }

    /// A page of zeros.
    fn zeros() -> ShadowPage {
        ShadowPage {
            written: 0,
            ..ShadowPage::new(ZEROS)
        }
    }

    /// Zeros again.
    fn clear(&mut self) {
        while self.written != 0 {
            let line = self.written.trailing_zeros() as usize;
            self.bytes[line * LINE..][..LINE].fill(0);
            self.written &= self.written - 1;
        }
        self.unspecified = None;
    }

    #[inline(always)]
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.written |= lines(offset, bytes.len());
        if let Some(set) = &mut self.unspecified {
            for at in offset..offset + bytes.len() {
                set[at / 64] &= !(1 << (at % 64));
            }
        }
    }
}

#[derive(Clone, Default)]
struct Slot {
    page: Option<Rc<ShadowPage>>,
    /// It is in the journal.
    journaled: bool,
}

/// Pages of earlier runs that are kept.
const SPARE: usize = 8;
const CHUNK: usize = 64;
type Chunk = [Slot; CHUNK];

/// What a reset returns an address space to.
struct Saved {
    /// Chunks there were; those beyond are dropped.
    chunks: usize,
    /// Sorted by index. These references also keep the pages from being changed in place.
    pages: Vec<(usize, Rc<ShadowPage>)>,
    /// Pages below `chunks` that changed since.
    journal: Vec<usize>,
}

/// The shadow of one address space.
#[derive(Default)]
pub(super) struct Space {
    /// The process's number; 0 until it is known.
    pub pid: u32,
    /// It is being taken down.
    pub gone: bool,
    /// Unspecified bytes, in one page each, of pages that were not stored to since: most children
    /// end before they store to one, and need no set of bytes for it.
    loose: BTreeMap<VirtAddr, usize>,
    chunks: Vec<Option<Box<Chunk>>>,
    saved: Option<Saved>,
    /// Pages of earlier runs, to be used again.
    spare: Vec<Rc<ShadowPage>>,
}

/// The place of a page among those where mappings can be.
pub(super) fn page_index(va: VirtAddr) -> Option<usize> {
    let page = va.get().checked_sub(MMAP_BASE)? / PAGE_SIZE as u64;
    usize::try_from(page).ok()
}

/// The first address of the page at `index`.
pub(super) fn page_address(index: usize) -> VirtAddr {
    VirtAddr::new(MMAP_BASE + (index * PAGE_SIZE) as u64)
}

/// The addresses of the pages from `start` to `end`.
fn addresses(start: usize, end: usize) -> Range<VirtAddr> {
    page_address(start)..page_address(end)
}

impl Space {
    /// The page at `index`, if it was ever stored to.
    #[inline]
    pub fn page(&self, index: usize) -> Option<&Rc<ShadowPage>> {
        self.chunks.get(index / CHUNK)?.as_ref()?[index % CHUNK]
            .page
            .as_ref()
    }

    /// What the bytes of the page that holds `va` must be.
    #[inline]
    pub fn bytes(&self, va: VirtAddr) -> &[u8; PAGE_SIZE] {
        page_index(va)
            .and_then(|index| self.page(index))
            .map_or(&ZEROS, |page| &page.bytes)
    }

    /// Whether any byte of a range in one page may be anything.
    pub fn any_unspecified(&self, va: VirtAddr, len: usize) -> bool {
        let end = va + len as u64;
        let mut loose = self.loose.range(va.page_down()..end);
        if loose.any(|(at, size)| va < *at + *size as u64) {
            return true;
        }
        let Some(page) = page_index(va).and_then(|index| self.page(index)) else {
            return false;
        };
        let set = page.unspecified.as_deref();
        set.is_some() && (va.offset()..va.offset() + len).any(|at| has_byte(set, at))
    }

    /// The bytes of a range in one page may be anything until the process stores to them.
    pub fn loosen(&mut self, va: VirtAddr, len: usize) {
        let known = self.loose.entry(va).or_default();
        *known = len.max(*known);
    }

    /// Turns what is loose in a page into a set of its bytes.
    #[inline(never)]
    fn settle(&mut self, index: usize) {
        let page = addresses(index, index + 1);
        while let Some((&va, &len)) = self.loose.range(page.clone()).next() {
            self.loose.remove(&va);
            let set = &mut self.own(index).unspecified;
            let set = set.get_or_insert_with(|| Box::new([0; PAGE_SIZE / 64]));
            add_bytes(set, va.offset(), len);
        }
    }

    /// The set of the unspecified bytes of a page.
    pub fn unspecified(&mut self, index: usize) -> Option<Box<ByteSet>> {
        self.settle(index);
        self.page(index)?.unspecified.clone()
    }

    /// The process stores `bytes`, which lie in one page.
    #[inline(always)]
    pub fn store(&mut self, va: VirtAddr, bytes: &[u8]) {
        let Some(index) = page_index(va) else { return };
        if !self.loose.is_empty() {
            self.settle(index);
        }
        if let Some(Some(chunk)) = self.chunks.get_mut(index / CHUNK)
            && let Some(page) = chunk[index % CHUNK].page.as_mut().and_then(Rc::get_mut)
        {
            return page.write(va.offset(), bytes);
        }
        self.own(index).write(va.offset(), bytes);
    }

    /// The page at `index`, this space's own, to change.
    #[inline(never)]
    pub fn own(&mut self, index: usize) -> &mut ShadowPage {
        if self.slot(index).page.is_none() {
            let page = self.zero_page();
            self.slot(index).page = Some(page);
        }
        let page = self.slot(index).page.as_mut();
        Rc::make_mut(page.expect("it was just made"))
    }

    fn zero_page(&mut self) -> Rc<ShadowPage> {
        if let Some(mut page) = self.spare.pop()
            && let Some(used) = Rc::get_mut(&mut page)
        {
            used.clear();
            return page;
        }
        Rc::new(ShadowPage::zeros())
    }

    /// Puts a page at `index`.
    pub fn set(&mut self, index: usize, page: Rc<ShadowPage>) {
        self.slot(index).page = Some(page);
    }

    /// The slot of a page, about to change.
    fn slot(&mut self, index: usize) -> &mut Slot {
        let at = index / CHUNK;
        if self.chunks.len() <= at {
            self.chunks.resize_with(at + 1, || None);
        }
        let chunk = self.chunks[at]
            .get_or_insert_with(|| Box::new(std::array::from_fn(|_| Slot::default())));
        let slot = &mut chunk[index % CHUNK];
        if let Some(saved) = &mut self.saved
            && at < saved.chunks
            && !slot.journaled
        {
            slot.journaled = true;
            saved.journal.push(index);
        }
        slot
    }

    /// The pages from `start` to `end` are zeros again.
    pub fn forget(&mut self, start: usize, end: usize) {
        if !self.loose.is_empty() {
            let inside = addresses(start, end);
            self.loose.retain(|va, _| !inside.contains(va));
        }
        let last = end.min(self.chunks.len() * CHUNK);
        let mut index = start;
        while index < last {
            let chunk_end = (index / CHUNK + 1) * CHUNK;
            for page in index..chunk_end.min(last) {
                if self.page(page).is_some() {
                    self.slot(page).page = None;
                }
            }
            let keeps = self.saved.as_ref().map_or(0, |saved| saved.chunks);
            let chunk = &mut self.chunks[index / CHUNK];
            if index / CHUNK >= keeps
                && chunk
                    .as_ref()
                    .is_some_and(|all| all.iter().all(|slot| slot.page.is_none()))
            {
                *chunk = None;
            }
            index = chunk_end;
        }
    }

    /// `to` gets this space's pages from `start` to `end`.
    pub fn share(&self, to: &mut Space, start: usize, end: usize) {
        to.loose.extend(self.loose.range(addresses(start, end)));
        let last = end.min(self.chunks.len() * CHUNK);
        let mut index = start;
        while index < last {
            let chunk_end = (index / CHUNK + 1) * CHUNK;
            if let Some(chunk) = &self.chunks[index / CHUNK] {
                for page in index..chunk_end.min(last) {
                    if let Some(shared) = &chunk[page % CHUNK].page {
                        to.set(page, Rc::clone(shared));
                    }
                }
            }
            index = chunk_end;
        }
    }

    fn remember(&mut self) {
        if self.chunks.is_empty() {
            // Most runs store to the first pages: their slots are kept, and put back.
            self.chunks
                .push(Some(Box::new(std::array::from_fn(|_| Slot::default()))));
        }
        let mut pages = Vec::new();
        for (at, chunk) in self.chunks.iter_mut().enumerate() {
            for (offset, slot) in chunk
                .iter_mut()
                .flat_map(|chunk| chunk.iter_mut())
                .enumerate()
            {
                slot.journaled = false;
                if let Some(page) = &slot.page {
                    pages.push((at * CHUNK + offset, Rc::clone(page)));
                }
            }
        }
        self.saved = Some(Saved {
            chunks: self.chunks.len(),
            pages,
            journal: Vec::new(),
        });
    }

    fn reset(&mut self) {
        self.loose.clear();
        let Some(saved) = &mut self.saved else { return };
        self.chunks.truncate(saved.chunks);
        for index in saved.journal.drain(..) {
            let found = saved.pages.binary_search_by_key(&index, |(at, _)| *at);
            if let Some(chunk) = &mut self.chunks[index / CHUNK] {
                let slot = &mut chunk[index % CHUNK];
                let page = found.ok().map(|at| Rc::clone(&saved.pages[at].1));
                let used = std::mem::replace(&mut slot.page, page);
                slot.journaled = false;
                if self.spare.len() < SPARE {
                    self.spare.extend(used);
                }
            }
        }
    }
}

/// The shadows of all address spaces.
#[derive(Default)]
pub(super) struct Spaces {
    all: SecondaryMap<MmId, Space>,
    remembered: Vec<MmId>,
    /// Made since the state was remembered.
    born: Vec<MmId>,
    /// Remembered ones that have ended since.
    ended: Vec<(MmId, Space)>,
}

impl Spaces {
    /// The shadow of an address space, if anything is known of it.
    #[inline]
    pub fn get(&self, mm: MmId) -> Option<&Space> {
        self.all.get(mm)
    }

    /// The shadow of an address space whose process is `pid`, if it is new.
    #[inline]
    pub fn of(&mut self, mm: MmId, pid: impl FnOnce() -> u32) -> &mut Space {
        if !self.all.contains_key(mm) {
            self.bear(mm, pid());
        }
        &mut self.all[mm]
    }

    #[inline(never)]
    fn bear(&mut self, mm: MmId, pid: u32) {
        self.born.push(mm);
        let space = Space {
            pid,
            ..Space::default()
        };
        self.all.insert(mm, space);
    }

    /// Nobody runs in it any more.
    pub fn end(&mut self, mm: MmId, pid: impl FnOnce() -> u32) {
        let space = self.of(mm, pid);
        let stub = Space {
            pid: space.pid,
            gone: true,
            ..Space::default()
        };
        let ended = std::mem::replace(space, stub);
        // Aside, since a later address space can take its place among the keys.
        if ended.saved.is_some() {
            self.ended.push((mm, ended));
        }
    }

    /// The child's shadow is the parent's, where `ranges` of pages say.
    pub fn fork(
        &mut self,
        parent: MmId,
        child: MmId,
        pid: u32,
        ranges: impl Iterator<Item = (usize, usize)>,
    ) {
        let mut made = Space {
            pid,
            ..Space::default()
        };
        if let Some(from) = self.all.get(parent) {
            for (start, end) in ranges {
                from.share(&mut made, start, end);
            }
        }
        self.born.push(child);
        self.all.insert(child, made);
    }

    pub fn remember(&mut self) {
        self.born.clear();
        self.remembered.clear();
        for (mm, space) in &mut self.all {
            space.remember();
            self.remembered.push(mm);
        }
    }

    pub fn reset(&mut self) {
        for mm in self.born.drain(..) {
            self.all.remove(mm);
        }
        for (mm, space) in self.ended.drain(..) {
            self.all.insert(mm, space);
        }
        for mm in &self.remembered {
            if let Some(space) = self.all.get_mut(*mm) {
                space.reset();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    const AT: VirtAddr = VirtAddr::new(MMAP_BASE + 70 * 4096 + 8);

    fn first_byte(spaces: &Spaces, mm: MmId) -> u8 {
        spaces
            .get(mm)
            .map_or(0, |space| space.bytes(AT)[AT.offset()])
    }

    #[test]
    fn a_child_shares_until_one_side_stores() {
        let mut ids: SlotMap<MmId, ()> = SlotMap::with_key();
        let (parent, child) = (ids.insert(()), ids.insert(()));
        let mut spaces = Spaces::default();
        spaces.of(parent, || 1).store(AT, &[7]);
        spaces.fork(parent, child, 2, [(0, 100)].into_iter());
        let index = page_index(AT).expect("a user address");
        let page = |mm| {
            spaces
                .get(mm)
                .and_then(|space| space.page(index))
                .expect("stored to")
        };
        assert!(Rc::ptr_eq(page(parent), page(child)));
        spaces.of(child, || 2).store(AT, &[9]);
        assert_eq!(
            (first_byte(&spaces, parent), first_byte(&spaces, child)),
            (7, 9)
        );
    }

    #[test]
    fn a_child_has_nothing_outside_of_the_ranges() {
        let mut ids: SlotMap<MmId, ()> = SlotMap::with_key();
        let (parent, child) = (ids.insert(()), ids.insert(()));
        let mut spaces = Spaces::default();
        spaces.of(parent, || 1).store(AT, &[7]);
        spaces.fork(parent, child, 2, [(0, 70), (71, 200)].into_iter());
        assert_eq!(first_byte(&spaces, child), 0);
    }

    #[test]
    fn a_reset_undoes_stores_removals_births_and_ends() {
        let mut ids: SlotMap<MmId, ()> = SlotMap::with_key();
        let old = ids.insert(());
        let mut spaces = Spaces::default();
        spaces.of(old, || 1).store(AT, &[7]);
        spaces.remember();
        for round in 0..2 {
            spaces.of(old, || 1).store(AT, &[8]);
            spaces.of(old, || 1).store(AT + (1 << 20), &[8]);
            spaces.of(old, || 1).forget(0, 1000);
            assert_eq!(first_byte(&spaces, old), 0, "round {round}");
            spaces.end(old, || 1);
            ids.remove(old);
            // Takes the ended one's place among the keys.
            let new = ids.insert(());
            spaces.fork(old, new, 2, [(0, 100)].into_iter());
            spaces.of(new, || 2).store(AT, &[5]);
            spaces.reset();
            ids.remove(new);
            assert_eq!(first_byte(&spaces, old), 7, "round {round}");
            assert_eq!(first_byte(&spaces, new), 0, "round {round}");
            let space = spaces.get(old).expect("it is back");
            assert_eq!(space.bytes(AT + (1 << 20))[8], 0, "round {round}");
        }
    }

    #[test]
    fn a_range_of_bytes_is_added_as_if_one_by_one() {
        for (offset, len) in [(0, 4096), (512, 512), (3, 1), (63, 2), (60, 200), (7, 0)] {
            let mut set = [0; PAGE_SIZE / 64];
            add_bytes(&mut set, offset, len);
            let expected = offset..offset + len;
            assert!((0..4096).all(|at| has_byte(Some(&set), at) == expected.contains(&at)));
        }
    }

    #[test]
    fn a_grandchild_inherits_what_is_unspecified() {
        let (mut child, mut grandchild) = (Space::default(), Space::default());
        child.loosen(AT, 8);
        let index = page_index(AT).expect("a user address");
        child.share(&mut grandchild, index, index + 1);
        assert!(grandchild.any_unspecified(AT, 1));
        grandchild.forget(index, index + 1);
        assert!(!grandchild.any_unspecified(AT, 1));
    }

    #[test]
    fn a_store_makes_bytes_specified_again() {
        let mut space = Space::default();
        space.loosen(AT.page_down(), 64);
        assert!(space.any_unspecified(AT, 1) && !space.any_unspecified(AT + 56, 1));
        space.store(AT, &[1, 2]);
        let told: Vec<bool> = (0..4).map(|at| space.any_unspecified(AT + at, 1)).collect();
        assert_eq!(told, [false, false, true, true]);
    }
}
