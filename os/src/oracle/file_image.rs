//! `file-image`: each byte that direct I/O writes to the disk is a value that the writing process
//! held at that address between its call and now. Reported once for each page of a request.

use devices::Moved;
use emu::Object;
use mmu::{PhysAddr, SECTOR_SIZE};

use super::spaces::{ZEROS, has_byte};
use super::transfers::Place;
use super::{Oracles, counted};
use crate::{Holder, Kernel};

impl Oracles {
    /// A sector left memory for the disk.
    pub(super) fn left(&self, cx: &Kernel<'_>, place: Place, moved: &Moved) {
        let mut bytes = [0; SECTOR_SIZE];
        bytes.copy_from_slice(cx.machine.memory().bytes(moved.addr, SECTOR_SIZE));
        let transfers = self.transfers.borrow();
        let request = transfers.request(place.request);
        let piece = &request.pieces[place.piece];
        if piece.remapped || piece.reported_image {
            return;
        }
        let va = place.va;
        let spaces = self.spaces.borrow();
        let space = spaces.get(request.mm);
        let expected = space.map_or(&ZEROS, |space| space.bytes(va));
        let expected = &expected[va.offset()..va.offset() + SECTOR_SIZE];
        if expected == bytes {
            return;
        }
        let held = piece.held(va, &bytes);
        let loose = space.is_some_and(|space| space.any_unspecified(va, SECTOR_SIZE));
        let never_held: Vec<usize> = (0..SECTOR_SIZE)
            .filter(|&at| bytes[at] != expected[at] && !has_byte(Some(&held), va.offset() + at))
            .filter(|&at| {
                let here = va + at as u64;
                let anything = loose && space.is_some_and(|space| space.any_unspecified(here, 1));
                !anything && !transfers.has_landed(request.mm, here, bytes[at])
            })
            .collect();
        let Some(&first) = never_held.first() else {
            return;
        };
        let at: PhysAddr = moved.addr + first as u64;
        let writer = self.frames.borrow().writer(at);
        let message = format!(
            "request {} of process {} wrote {:#04x} to the disk from frame {} (sector {} of the \
             request, {}), but at address {} the process has held {:#04x} and not that since \
             it called at step {}; {writer}",
            request.number,
            cx.pid_of(request.mm),
            bytes[first],
            moved.addr.pfn(),
            moved.sector,
            counted(never_held.len(), "wrong byte"),
            va + first as u64,
            expected[first],
            request.step,
        );
        let since = self
            .frames
            .borrow()
            .taken(moved.addr.pfn(), Holder::Pin)
            .min(request.step);
        drop((transfers, spaces));
        self.transfers.borrow_mut().piece_of(place).reported_image = true;
        let focus = vec![Object::sector(moved.addr), Object::page(moved.addr.pfn())];
        cx.machine
            .violate("file-image", "CORRUPT", message, focus, since);
        self.check_target(cx, place, moved);
    }
}
