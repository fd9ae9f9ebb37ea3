//! `dma-target`: a sector lands in a frame that the requester's address no longer maps, although
//! the process did not remap it and is not gone.
//!
//! A read from memory out of another frame is no violation as such: under a read pin a copy is
//! legal. It is reported when the bytes are none that the process held ([`super::file_image`]).
//! An entry that is not present is none either: the page may come back.

use devices::{Direction, Moved};
use emu::{Object, Touch};
use mmu::{PhysAddr, VirtAddr, walk};

use super::Oracles;
use super::footprint::{Watched, touch_entry, touch_shadow, touch_space};
use super::frame_notes::Who;
use super::transfers::{Piece, Place};
use crate::{Holder, Kernel, MmId};

impl Oracles {
    /// The write `io` has begun: what it sends may be what its process held at any time from now.
    pub fn write_begun(&self, cx: &Kernel<'_>, io: u32, mm: MmId, buffers: &[(VirtAddr, u64)]) {
        let step = cx.machine.steps();
        self.transfers.borrow_mut().begin(io, mm, buffers, step);
        self.count_watched();
    }

    /// A transfer of request `io` is queued in `slot`; its pages are pinned.
    #[allow(clippy::too_many_arguments)]
    pub fn io_submitted(
        &self,
        cx: &Kernel<'_>,
        io: u32,
        mm: MmId,
        segments: &[(VirtAddr, PhysAddr, u32)],
        to_memory: bool,
        _lba: u64,
        slot: usize,
    ) {
        let gone = self.is_gone(mm);
        touch_space(cx, mm, Watched::Ranges, Touch::Read);
        touch_space(cx, mm, Watched::Forks, Touch::Read);
        for (va, _, len) in segments {
            touch_shadow(cx, mm, *va, *len as usize, Touch::Write);
            touch_entry(cx, mm, *va);
        }
        {
            let frames = self.frames.borrow();
            let mut transfers = self.transfers.borrow_mut();
            let pieces: Vec<Piece> = segments
                .iter()
                .map(|(va, pa, len)| {
                    let pinned = frames.taken(pa.pfn(), Holder::Pin);
                    let dropped = transfers.dropped_since(mm, *va, u64::from(*len), pinned);
                    Piece::new(*va, pa.pfn(), *len as usize, gone || dropped)
                })
                .collect();
            let step = cx.machine.steps();
            transfers.submit(io, mm, to_memory, step, slot, pieces.into_iter());
        }
        if to_memory && !gone {
            for (va, pa, len) in segments {
                self.pinned_for_disk(cx, mm, *va, pa.pfn(), *len as usize);
            }
        }
        self.count_watched();
    }

    /// The transfer in `slot` has moved a sector.
    pub fn sector_moved(&self, cx: &Kernel<'_>, slot: usize, moved: &Moved) {
        let Some(place) = self.transfers.borrow_mut().next_sector(slot) else {
            return;
        };
        let number = self.transfers.borrow().request(place.request).number;
        let mm = self.transfers.borrow().request(place.request).mm;
        touch_space(cx, mm, Watched::Ranges, Touch::Read);
        touch_shadow(cx, mm, place.va, mmu::SECTOR_SIZE, Touch::Write);
        touch_entry(cx, mm, place.va);
        self.check_transferred(cx, moved.addr.pfn(), moved.sector, number);
        match moved.direction {
            Direction::ToMemory => self.landed(cx, place, moved, number),
            Direction::FromMemory => self.left(cx, place, moved),
        }
    }

    fn landed(&self, cx: &Kernel<'_>, place: Place, moved: &Moved, number: u32) {
        let step = cx.machine.steps();
        self.frames
            .borrow_mut()
            .written(moved.addr, Who::Request(number), step);
        {
            let memory = cx.machine.memory();
            let bytes = memory.bytes(moved.addr, mmu::SECTOR_SIZE);
            self.transfers
                .borrow_mut()
                .piece_of(place)
                .land(place.va, bytes);
        }
        self.check_target(cx, place, moved);
    }

    /// Whether the address still maps the frame; reported once for each page of a request.
    pub(super) fn check_target(&self, cx: &Kernel<'_>, place: Place, moved: &Moved) {
        let mm = self.transfers.borrow().request(place.request).mm;
        let (root, pid) = match cx.mms.borrow().get(mm) {
            Some(mm) => (mm.root, mm.pid),
            None => return,
        };
        let found = walk::lookup_frame(&cx.machine.memory(), root, place.va);
        let Some((at, _, mapped)) = found.filter(|(_, pte, _)| pte.is_leaf()) else {
            return;
        };
        let frame = moved.addr.pfn();
        let mut transfers = self.transfers.borrow_mut();
        let number = transfers.request(place.request).number;
        let submitted = transfers.request(place.request).step;
        let piece = transfers.piece_of(place);
        if mapped == frame || piece.remapped || piece.reported {
            return;
        }
        piece.reported = true;
        let changed = piece.changed;
        drop(transfers);
        let why = match changed {
            Some(change) if matches!(change.by, "do_wp_page" | "hugetlb_cow") => format!(
                "stopped mapping at step {}, when {} broke copy-on-write ({})",
                change.step, change.cpu, change.by
            ),
            Some(change) => format!(
                "stopped mapping at step {}, when {} changed its entry ({})",
                change.step, change.cpu, change.by
            ),
            None => "did not map any more when the request was queued".to_string(),
        };
        let verb = match moved.direction {
            Direction::ToMemory => "landed in",
            Direction::FromMemory => "was read from",
        };
        let message = format!(
            "sector {} of request {number} {verb} frame {frame}, which address {} of process {pid} \
             {why}; it maps frame {} now",
            moved.sector, place.va, mapped
        );
        let focus = vec![
            Object::sector(moved.addr),
            Object::pte(at),
            Object::page(frame),
            Object::page(mapped),
        ];
        let since = self
            .frames
            .borrow()
            .taken(frame, Holder::Pin)
            .min(submitted);
        cx.machine
            .violate("dma-target", "CORRUPT", message, focus, since);
    }
}
