//! Ranges that their process drops (munmap, `MADV_DONTNEED`): between the call and the flush that
//! completes it, another thread may see the old bytes or zeros, and a store may be lost.

use mmu::{PAGE_SIZE, VirtAddr};

use super::Oracles;
use super::shadow::{Space, index_of};
use super::tlb_coherence::Promise;
use crate::{Kernel, MmId};

/// A range that is being dropped.
pub(super) struct Limbo {
    mm: MmId,
    first: usize,
    end: usize,
    /// Since when.
    step: u64,
    /// Pages stored to meanwhile.
    stored: Vec<usize>,
}

impl Limbo {
    /// A store to a page; whether it lies in the range.
    pub fn stored(&mut self, mm: MmId, index: usize) -> bool {
        let inside = self.mm == mm && (self.first..self.end).contains(&index);
        if inside && !self.stored.contains(&index) {
            self.stored.push(index);
        }
        inside
    }

    fn ended_by(&self, promise: &Promise) -> bool {
        let first = VirtAddr::new(crate::mm::MMAP_BASE + (self.first * PAGE_SIZE) as u64);
        let last = VirtAddr::new(crate::mm::MMAP_BASE + ((self.end - 1) * PAGE_SIZE) as u64);
        promise.mm == self.mm
            && self.step <= promise.begun
            && promise.covers(first.page())
            && promise.covers(last.page())
    }
}

impl Oracles {
    /// The process is about to remove these mappings.
    pub fn unmapped(&self, cx: &Kernel<'_>, mm: MmId, at: VirtAddr, len: u64) {
        self.dropping(cx, mm, at, len);
    }

    /// The process is about to drop these contents.
    pub fn dontneed(&self, cx: &Kernel<'_>, mm: MmId, at: VirtAddr, len: u64) {
        self.dropping(cx, mm, at, len);
    }

    fn dropping(&self, cx: &Kernel<'_>, mm: MmId, at: VirtAddr, len: u64) {
        self.in_flight.borrow_mut().remapped(mm, at, len);
        if at.get() < crate::mm::MMAP_BASE || len == 0 {
            return;
        }
        let mut shadow = self.shadow.borrow_mut();
        let Some(space) = shadow.spaces.get_mut(mm) else { return };
        let (first, end) = (index_of(at), index_of(at + (len - 1)) + 1);
        space.watchers += 1;
        for index in first..end.min(space.len()) {
            if space.get(index).is_some() {
                space.edit(index).unspecify(0..PAGE_SIZE);
            }
        }
        shadow.limbo.push(Limbo {
            mm,
            first,
            end,
            step: cx.machine.steps(),
            stored: Vec::new(),
        });
    }

    /// A flush is complete, and with it the drops that it was for.
    pub(super) fn end_limbo(&self, cx: &Kernel<'_>, promise: &Promise) {
        let mut shadow = self.shadow.borrow_mut();
        while let Some(at) = shadow.limbo.iter().position(|it| it.ended_by(promise)) {
            let limbo = shadow.limbo.remove(at);
            if let Some(space) = shadow.spaces.get_mut(limbo.mm) {
                space.watchers -= 1;
                settle(cx, space, &limbo);
            }
        }
    }
}

/// Zeros, but where somebody stored meanwhile what is there now.
fn settle(cx: &Kernel<'_>, space: &mut Space, limbo: &Limbo) {
    for index in limbo.first..limbo.end.min(space.len()) {
        if space.get(index).is_some() {
            space.set(index, None);
        }
    }
    for index in &limbo.stored {
        let va = VirtAddr::new(crate::mm::MMAP_BASE + (index * PAGE_SIZE) as u64);
        if let Some(pfn) = cx.frame_at(limbo.mm, va) {
            let page = space.edit(*index);
            page.bytes.copy_from_slice(cx.machine.memory().bytes(pfn.base(), PAGE_SIZE));
        }
    }
}
