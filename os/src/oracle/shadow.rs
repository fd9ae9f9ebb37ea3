//! `shadow-memory`: a load returns what neither program order nor a completed request explains.
//!
//! The shadow of a process ([`super::spaces`]) changes by its own stores and when a read of its
//! completes; zeros are what it never stored to. While a read is in flight, a load may see what
//! was there or what has landed. Bytes that the process stored to while a read covered them hold
//! either, whichever memory has when the read completes.

use emu::{Object, Touch};
use mmu::{PhysAddr, VirtAddr, walk};

use super::footprint::{Watched, touch_shadow, touch_space};
use super::frame_notes::Who;
use super::spaces::page_index;
use super::transfers::{Piece, Request};
use super::{Change, Oracles, counted};
use crate::{Kernel, MmId};

impl Oracles {
    /// The process has new memory.
    pub fn mapped(&self, cx: &Kernel<'_>, mm: MmId, start: VirtAddr, len: u64) {
        self.forget(cx, mm, start, len);
    }

    /// The process has removed mappings.
    pub fn unmapped(&self, cx: &Kernel<'_>, mm: MmId, start: VirtAddr, len: u64) {
        let (end, step) = (start + len, cx.machine.steps());
        self.transfers.borrow_mut().drop_range(mm, start, end, step);
        self.forget(cx, mm, start, len);
    }

    /// The process has dropped the contents of a range: zeros again.
    pub fn dontneed(&self, cx: &Kernel<'_>, mm: MmId, start: VirtAddr, len: u64) {
        self.unmapped(cx, mm, start, len);
    }

    fn forget(&self, cx: &Kernel<'_>, mm: MmId, start: VirtAddr, len: u64) {
        touch_space(cx, mm, Watched::Ranges, Touch::Write);
        if let Some(first) = page_index(start) {
            let pages = len.div_ceil(mmu::PAGE_SIZE as u64) as usize;
            let mut spaces = self.spaces.borrow_mut();
            spaces.of(mm, || cx.pid_of(mm)).forget(first, first + pages);
        }
    }

    /// The address space is taken down: nobody runs in it any more.
    pub fn address_space_gone(&self, cx: &Kernel<'_>, mm: MmId) {
        touch_space(cx, mm, Watched::Ranges, Touch::Write);
        self.transfers.borrow_mut().drop_space(mm);
        self.windows.borrow_mut().drop_space(mm);
        self.spaces.borrow_mut().end(mm, || cx.pid_of(mm));
        self.count_watched();
    }

    /// The process has stored these bytes, which are at `pa` now.
    #[inline(always)]
    pub fn stored(&self, cx: &Kernel<'_>, mm: MmId, va: VirtAddr, bytes: &[u8], pa: PhysAddr) {
        if self.watching.get() != 0 {
            self.about_to_change(cx, mm, va, bytes.len(), true);
        }
        let mut spaces = self.spaces.borrow_mut();
        let space = spaces.of(mm, || cx.pid_of(mm));
        space.store(va, bytes);
        let writer = Who::Process(space.pid);
        self.frames
            .borrow_mut()
            .written(pa, writer, cx.machine.steps());
    }

    /// The shadow of a range changes: forks and transfers under way keep what it was.
    #[inline(never)]
    fn about_to_change(&self, cx: &Kernel<'_>, mm: MmId, va: VirtAddr, len: usize, by_store: bool) {
        let mut transfers = self.transfers.borrow_mut();
        let mut windows = self.windows.borrow_mut();
        let forking = by_store && windows.has(mm);
        if !forking && !transfers.cover(mm, va, len as u64) {
            return;
        }
        let mut spaces = self.spaces.borrow_mut();
        let space = spaces.of(mm, || cx.pid_of(mm));
        let old = &space.bytes(va)[va.offset()..va.offset() + len];
        let any = space.any_unspecified(va, len);
        transfers.changing(mm, va, old, any, by_store);
        if forking {
            windows.changing(mm, va, old, Change::now(cx));
        }
    }

    /// The process has loaded these bytes, which are at `pa`.
    #[inline(always)]
    pub fn loaded(&self, cx: &Kernel<'_>, mm: MmId, va: VirtAddr, bytes: &[u8], pa: PhysAddr) {
        let right = self.spaces.borrow().get(mm).map_or_else(
            || bytes.iter().all(|byte| *byte == 0),
            |space| &space.bytes(va)[va.offset()..va.offset() + bytes.len()] == bytes,
        );
        if !right {
            self.explain_load(cx, mm, va, bytes, pa);
        }
    }

    /// Looks for what else could have put the bytes there, and reports if nothing did.
    #[inline(never)]
    fn explain_load(&self, cx: &Kernel<'_>, mm: MmId, va: VirtAddr, bytes: &[u8], pa: PhysAddr) {
        let mut spaces = self.spaces.borrow_mut();
        let space = spaces.of(mm, || cx.pid_of(mm));
        let wrong: Vec<usize> = {
            let transfers = self.transfers.borrow();
            let expected = &space.bytes(va)[va.offset()..];
            (0..bytes.len())
                .filter(|&at| {
                    let here = va + at as u64;
                    bytes[at] != expected[at]
                        && !space.any_unspecified(here, 1)
                        && !transfers.has_landed(mm, here, bytes[at])
                })
                .collect()
        };
        let Some(&first) = wrong.first() else { return };
        let (here, at) = (va + first as u64, pa + first as u64);
        let writer = self.frames.borrow().writer(at);
        let message = format!(
            "{} loaded {:#04x} from address {here} of process {} (frame {}), where its own stores \
             and completed reads leave {:#04x} ({}); {writer}",
            cx.machine.cpu(),
            bytes[first],
            space.pid,
            at.pfn(),
            space.bytes(va)[here.offset()],
            counted(wrong.len(), "wrong byte"),
        );
        // What is reported once is not reported at every later load.
        for at in wrong {
            space.store(va + at as u64, &bytes[at..=at]);
        }
        drop(spaces);
        let mut focus = vec![Object::sector(pa), Object::page(pa.pfn())];
        let root = cx.mms.borrow().get(mm).map(|mm| mm.root);
        if let Some(root) = root {
            let found = walk::lookup(&cx.machine.memory(), root, va);
            focus.extend(found.map(|(at, _)| Object::pte(at)));
        }
        cx.machine
            .violate("shadow-memory", "CORRUPT", message, focus, writer.step);
    }

    /// A request is complete as its process sees it.
    pub fn io_completed(&self, cx: &Kernel<'_>, io: u32) {
        let request = self.transfers.borrow_mut().take(io);
        self.count_watched();
        let Some(request) = request.filter(|request| request.to_memory) else {
            return;
        };
        // Whether a piece was remapped depends on it.
        touch_space(cx, request.mm, Watched::Ranges, Touch::Read);
        for piece in request.pieces.iter().filter(|piece| !piece.remapped) {
            self.learn(cx, &request, piece);
        }
    }

    /// A request is given up: what it moved so far is not relied on.
    pub fn io_abandoned(&self, _: &Kernel<'_>, io: u32) {
        self.transfers.borrow_mut().take(io);
        self.count_watched();
    }

    /// From now on the process may rely on what has landed.
    fn learn(&self, cx: &Kernel<'_>, request: &Request, piece: &Piece) {
        touch_space(cx, request.mm, Watched::Ranges, Touch::Read);
        touch_space(cx, request.mm, Watched::Forks, Touch::Read);
        touch_shadow(cx, request.mm, piece.va, piece.len, Touch::Write);
        let sector = mmu::SECTOR_SIZE;
        for at in (0..piece.len).step_by(sector) {
            let va = piece.va + at as u64;
            let Some(landed) = &piece.landed else { return };
            if piece.landed_byte(va).is_none() {
                continue;
            }
            let mut bytes = [0; mmu::SECTOR_SIZE];
            bytes.copy_from_slice(&landed[va.offset()..va.offset() + sector]);
            if piece.stored.is_some() {
                self.settle(cx, request.mm, piece, va, &mut bytes);
            }
            if self.watching.get() != 0 {
                self.about_to_change(cx, request.mm, va, sector, false);
            }
            let mut spaces = self.spaces.borrow_mut();
            spaces
                .of(request.mm, || cx.pid_of(request.mm))
                .store(va, &bytes);
        }
    }

    /// Bytes that the process stored to while the read was in flight hold what memory holds, if
    /// that is what was stored or what landed; else what was stored.
    fn settle(&self, cx: &Kernel<'_>, mm: MmId, piece: &Piece, va: VirtAddr, bytes: &mut [u8]) {
        let contents = Oracles::contents(cx, mm, va);
        let memory = cx.machine.memory();
        let spaces = self.spaces.borrow();
        let Some(space) = spaces.get(mm) else { return };
        for (offset, byte) in bytes.iter_mut().enumerate() {
            let here = va + offset as u64;
            if !piece.was_stored(here) {
                continue;
            }
            let stored = space.bytes(here)[here.offset()];
            let in_memory = contents.map_or(stored, |at| memory.bytes(at + offset as u64, 1)[0]);
            if in_memory != *byte {
                *byte = stored;
            }
        }
    }
}
