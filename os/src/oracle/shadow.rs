//! Shadow memory: what each process's memory holds by program order of its own stores and the
//! requests it knows to be complete. Follows the process, not the frames: a copy that the kernel
//! makes of a page changes nothing here.

use std::ops::Range;
use std::rc::Rc;

use mmu::{PAGE_SIZE, PhysAddr, VirtAddr};
use slotmap::SecondaryMap;

use super::in_flight::InFlight;
use super::limbo::Limbo;
use super::snapshot::Window;
use super::{Oracles, Who, Writer};
use crate::mm::MMAP_BASE;
use crate::{Kernel, MmId};

/// A bit for each byte of a page.
pub(super) type Bits = [u64; PAGE_SIZE / 64];

/// What a page holds.
#[derive(Clone)]
pub(super) struct ShadowPage {
    pub bytes: [u8; PAGE_SIZE],
    /// Bytes that are not judged until they are stored to.
    pub unspecified: Option<Box<Bits>>,
}

impl ShadowPage {
    pub fn zero() -> ShadowPage {
        ShadowPage {
            bytes: [0; PAGE_SIZE],
            unspecified: None,
        }
    }

    #[inline]
    fn store(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        if let Some(bits) = &mut self.unspecified {
            clear_bits(bits, offset..offset + bytes.len());
        }
    }

    /// Nothing is said about these bytes.
    pub fn unspecify(&mut self, range: Range<usize>) {
        let bits = self.unspecified.get_or_insert_with(|| Box::new([0; PAGE_SIZE / 64]));
        set_bits(bits, range);
    }

    pub fn judged(&self, offset: usize) -> bool {
        self.unspecified.as_ref().is_none_or(|bits| !has_bit(bits, offset))
    }
}

pub(super) fn set_bits(bits: &mut Bits, range: Range<usize>) {
    range.for_each(|at| bits[at / 64] |= 1 << (at % 64));
}

fn clear_bits(bits: &mut Bits, range: Range<usize>) {
    range.for_each(|at| bits[at / 64] &= !(1 << (at % 64)));
}

pub(super) fn has_bit(bits: &Bits, at: usize) -> bool {
    bits[at / 64] >> (at % 64) & 1 != 0
}

/// The memory of a process. A page that is not here is zeros.
#[derive(Default)]
pub(super) struct Space {
    pub pid: u32,
    /// The step at which it came to be.
    pub born: u64,
    /// Forks, drops and requests under way, for which stores are logged.
    pub watchers: u32,
    pages: Vec<Option<Rc<ShadowPage>>>,
    saved: Option<Saved>,
}

/// What a reset returns to. Each page here is shared with the space until the space changes it, so
/// a page that the space holds alone has been noted in `changed`.
#[derive(Default)]
struct Saved {
    pages: Vec<Option<Rc<ShadowPage>>>,
    noted: Vec<bool>,
    changed: Vec<usize>,
}

impl Space {
    #[inline]
    pub fn get(&self, index: usize) -> Option<&ShadowPage> {
        self.pages.get(index)?.as_deref()
    }

    pub fn share(&self, index: usize) -> Option<Rc<ShadowPage>> {
        self.pages.get(index).cloned().flatten()
    }

    /// How many pages from the lowest on may differ from zero.
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// The page, to change.
    #[inline]
    pub fn edit(&mut self, index: usize) -> &mut ShadowPage {
        let alone = matches!(self.pages.get_mut(index),
            Some(Some(page)) if Rc::get_mut(page).is_some());
        if !alone {
            self.note(index);
        }
        let page = self.pages[index].get_or_insert_with(|| Rc::new(ShadowPage::zero()));
        Rc::make_mut(page)
    }

    pub fn set(&mut self, index: usize, page: Option<Rc<ShadowPage>>) {
        if page.is_some() || index < self.pages.len() {
            self.note(index);
            self.pages[index] = page;
        }
    }

    /// Takes over another space's pages in a range, at a few nanoseconds each.
    pub fn share_from(&mut self, other: &Space, range: Range<usize>) {
        let end = range.end.min(other.pages.len());
        if range.start >= end {
            return;
        }
        if self.pages.len() < end {
            self.pages.resize(end, None);
        }
        self.pages[range.start..end].clone_from_slice(&other.pages[range.start..end]);
    }

    #[cold]
    fn note(&mut self, index: usize) {
        if self.pages.len() <= index {
            self.pages.resize(index + 1, None);
        }
        let Some(saved) = &mut self.saved else { return };
        if saved.noted.len() <= index {
            saved.noted.resize(index + 1, false);
        }
        if !std::mem::replace(&mut saved.noted[index], true) {
            saved.changed.push(index);
        }
    }

    fn remember(&mut self) {
        self.saved = Some(Saved {
            pages: self.pages.clone(),
            ..Saved::default()
        });
    }

    fn restore(&mut self) {
        self.watchers = 0;
        let saved = self.saved.as_mut().expect("only remembered spaces outlive a run");
        for index in saved.changed.drain(..) {
            saved.noted[index] = false;
            self.pages[index] = saved.pages.get(index).cloned().flatten();
        }
    }

    fn recycle(&mut self) {
        self.pages.clear();
        self.watchers = 0;
        self.saved = None;
    }
}

/// The memory of all processes, and who must hear of stores.
#[derive(Default)]
pub(super) struct Shadow {
    pub spaces: SecondaryMap<MmId, Space>,
    pub windows: Vec<Window>,
    pub limbo: Vec<Limbo>,
    /// Spaces made since the state was remembered.
    made: Vec<MmId>,
    /// Remembered spaces that ended since.
    parked: Vec<(MmId, Space)>,
    /// Spaces to use again.
    spare: Vec<Space>,
}

impl Shadow {
    pub fn remember(&mut self) {
        self.parked.clear();
        self.made.clear();
        self.spaces.values_mut().for_each(Space::remember);
    }

    pub fn reset(&mut self) {
        self.windows.clear();
        self.limbo.clear();
        while let Some(mm) = self.made.pop() {
            if let Some(space) = self.spaces.remove(mm) {
                self.retire(space);
            }
        }
        while let Some((mm, space)) = self.parked.pop() {
            self.spaces.insert(mm, space);
        }
        self.spaces.values_mut().for_each(Space::restore);
    }

    /// The space of a new address space, empty.
    pub fn new_space(&mut self, mm: MmId, pid: u32, born: u64) -> &mut Space {
        self.end(mm);
        let mut space = self.spare.pop().unwrap_or_default();
        (space.pid, space.born) = (pid, born);
        self.made.push(mm);
        self.spaces.insert(mm, space);
        &mut self.spaces[mm]
    }

    fn end(&mut self, mm: MmId) {
        let Some(space) = self.spaces.remove(mm) else { return };
        if space.saved.is_some() {
            self.parked.push((mm, space));
        } else {
            self.retire(space);
        }
    }

    fn retire(&mut self, mut space: Space) {
        space.recycle();
        self.spare.push(space);
    }

    /// Bytes of `mm` are about to change: whoever wants their old values notes them.
    pub fn before_change(&mut self, requests: &mut InFlight, change: Change) {
        let Some(space) = self.spaces.get(change.mm) else { return };
        let index = index_of(change.va);
        for window in self.windows.iter_mut().filter(|it| it.parent == change.mm) {
            window.note(index, space.share(index), change.step);
        }
        let offset = change.va.offset();
        let old = space.get(index).map(|page| &page.bytes[offset..offset + change.len]);
        requests.before_change(change, old);
    }
}

/// Bytes within a page that change.
#[derive(Clone, Copy)]
pub(super) struct Change {
    pub mm: MmId,
    pub va: VirtAddr,
    pub len: usize,
    pub step: u64,
}

/// A page's place in a [`Space`].
#[inline]
pub(super) fn index_of(va: VirtAddr) -> usize {
    va.page().get().wrapping_sub(MMAP_BASE / PAGE_SIZE as u64) as usize
}

impl Oracles {
    /// The process mapped fresh memory.
    pub fn mapped(&self, cx: &Kernel<'_>, mm: MmId, _at: VirtAddr, _len: u64) {
        let mut shadow = self.shadow.borrow_mut();
        if !shadow.spaces.contains_key(mm) {
            shadow.new_space(mm, cx.pid_of(mm), cx.machine.steps());
        }
    }

    /// Nobody runs in the address space any more, and it is about to be taken down.
    pub fn address_space_gone(&self, _: &Kernel<'_>, mm: MmId) {
        self.shadow.borrow_mut().end(mm);
        self.in_flight.borrow_mut().address_space_gone(mm);
    }

    /// User mode has just stored `len` bytes within a sector.
    #[inline]
    pub fn stored(&self, cx: &Kernel<'_>, mm: MmId, va: VirtAddr, len: usize, pa: PhysAddr) {
        let mut shadow = self.shadow.borrow_mut();
        let Some(space) = shadow.spaces.get_mut(mm) else {
            return;
        };
        let step = cx.machine.steps();
        let who = Who::Process(space.pid);
        if space.watchers == 0 {
            let memory = cx.machine.memory();
            space.edit(index_of(va)).store(va.offset(), memory.bytes(pa, len));
        } else {
            self.stored_watched(cx, &mut shadow, Change { mm, va, len, step }, pa);
        }
        self.wrote(pa, Writer { step, who });
    }

    #[cold]
    fn stored_watched(
        &self,
        cx: &Kernel<'_>,
        shadow: &mut Shadow,
        change: Change,
        pa: PhysAddr,
    ) {
        let Change { mm, va, len, .. } = change;
        let mut requests = self.in_flight.borrow_mut();
        shadow.before_change(&mut requests, change);
        requests.stored(mm, va, len);
        let page = shadow.spaces[mm].edit(index_of(va));
        page.store(va.offset(), cx.machine.memory().bytes(pa, len));
        for limbo in &mut shadow.limbo {
            if limbo.stored(mm, index_of(va)) {
                page.unspecify(0..PAGE_SIZE);
            }
        }
    }
}
