//! Requests in flight: which address of whom each sector belongs to, and what the process held
//! there since it submitted.

use mmu::{PAGE_SIZE, PageSize, Pfn, VirtAddr};

use super::Change;
use super::spaces::{ByteSet, add_bytes, has_byte};
use crate::MmId;

/// The part of a request that lies in one page.
pub(super) struct Piece {
    /// Its first byte.
    pub va: VirtAddr,
    /// The frame that was pinned for it.
    pub pfn: Pfn,
    /// Bytes.
    pub len: usize,
    /// What landed, at the offsets of the page.
    pub landed: Option<Box<[u8; PAGE_SIZE]>>,
    /// The sectors of the page that have landed.
    pub landed_sectors: u8,
    /// Bytes that the process stored to meanwhile.
    pub stored: Option<Box<ByteSet>>,
    /// The process has removed or dropped the page itself.
    pub remapped: bool,
    /// The entry of the address was changed away from the frame.
    pub changed: Option<Change>,
    /// The `dma-target` oracle has reported it.
    pub reported: bool,
    /// The `file-image` oracle has.
    pub reported_image: bool,
    /// Of a write: what the process held here and has stored over since.
    history: Vec<Held>,
}

/// Bytes that a process held and stored over while they were being written to disk.
#[derive(PartialEq, Eq)]
struct Held {
    /// Where they were in the page.
    offset: usize,
    bytes: Vec<u8>,
    /// They could be anything.
    any: bool,
}

/// A request in flight.
pub(super) struct Request {
    /// Its ordinal in the run.
    pub number: u32,
    pub mm: MmId,
    /// The disk writes to memory.
    pub to_memory: bool,
    /// The step at which its first transfer was queued.
    pub step: u64,
    /// In the order in which they are transferred.
    pub pieces: Vec<Piece>,
    /// They are one range: the addresses go up from page to page, one piece each.
    contiguous: bool,
    /// Of a write: the buffers, from the moment the call began.
    buffers: Vec<(VirtAddr, u64)>,
    /// Of a write: what the process stored over before the transfer was queued.
    before: Vec<(VirtAddr, Vec<u8>, bool)>,
}

impl Request {
    /// The pieces that lie in the page of `va`.
    fn near(&self, va: VirtAddr) -> std::ops::Range<usize> {
        if !self.contiguous {
            return 0..self.pieces.len();
        }
        let first = self.pieces.first().map_or(0, |piece| piece.va.page().get());
        match va.page().get().checked_sub(first) {
            Some(at) if (at as usize) < self.pieces.len() => at as usize..at as usize + 1,
            _ => 0..0,
        }
    }

    fn overlaps(&self, mm: MmId, va: VirtAddr, len: u64) -> bool {
        if self.mm != mm {
            return false;
        }
        let over = |piece: &Piece| va < piece.va + piece.len as u64 && piece.va < va + len;
        if self.has_buffer(va, len) {
            return true;
        }
        match (self.contiguous, self.pieces.as_slice()) {
            (true, [first, .., last]) => va < last.va + last.len as u64 && first.va < va + len,
            (_, pieces) => pieces.iter().any(over),
        }
    }

    fn has_buffer(&self, va: VirtAddr, len: u64) -> bool {
        self.buffers
            .iter()
            .any(|(at, bytes)| va < *at + *bytes && *at < va + len)
    }

    /// The piece that covers `va`.
    pub fn piece_at(&self, va: VirtAddr) -> Option<&Piece> {
        self.pieces[self.near(va)]
            .iter()
            .find(|piece| piece.va <= va && va < piece.va + piece.len as u64)
    }

    /// The pieces in the page of `va`.
    fn pieces_in(&mut self, va: VirtAddr) -> impl Iterator<Item = &mut Piece> {
        let near = self.near(va);
        self.pieces[near]
            .iter_mut()
            .filter(move |piece| piece.va.page() == va.page())
    }
}

/// What the transfer in a slot of the DMA engine is: it moves the sectors in order.
#[derive(Clone, Copy)]
struct Slot {
    request: u32,
    piece: usize,
    /// Bytes of the piece that have moved.
    done: usize,
}

/// Where a sector belongs.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The request, as an index.
    pub request: usize,
    /// The piece, as an index.
    pub piece: usize,
    /// The address of the sector.
    pub va: VirtAddr,
}

/// A range that a process has removed or dropped itself.
struct Dropped {
    mm: MmId,
    start: VirtAddr,
    end: VirtAddr,
    step: u64,
}

/// So many removals are remembered for pins that precede them.
const DROPS_KEPT: usize = 64;
/// So many stored-over values are compared with before another is kept.
const LOOK_BACK: usize = 32;

/// All requests in flight.
#[derive(Default)]
pub(super) struct Transfers {
    all: Vec<Request>,
    slots: Vec<Option<Slot>>,
    dropped: Vec<Dropped>,
}

impl Transfers {
    pub fn in_flight(&self) -> usize {
        self.all.len()
    }

    pub fn clear(&mut self) {
        self.all.clear();
        self.slots.clear();
        self.dropped.clear();
    }

    pub fn iter(&self) -> impl Iterator<Item = &Request> {
        self.all.iter()
    }

    pub fn request(&self, at: usize) -> &Request {
        &self.all[at]
    }

    pub fn piece_of(&mut self, place: Place) -> &mut Piece {
        &mut self.all[place.request].pieces[place.piece]
    }

    /// A write from these buffers has begun; nothing is pinned yet.
    pub fn begin(&mut self, number: u32, mm: MmId, buffers: &[(VirtAddr, u64)], step: u64) {
        self.all.push(Request {
            number,
            mm,
            to_memory: false,
            step,
            pieces: Vec::new(),
            contiguous: true,
            buffers: buffers.to_vec(),
            before: Vec::new(),
        });
    }

    /// The transfer in `slot` carries the next pieces of request `number`.
    pub fn submit(
        &mut self,
        number: u32,
        mm: MmId,
        to_memory: bool,
        step: u64,
        slot: usize,
        pieces: impl Iterator<Item = Piece>,
    ) {
        let at = self.all.iter().position(|it| it.number == number);
        let at = at.unwrap_or_else(|| {
            self.all.push(Request {
                number,
                mm,
                to_memory,
                step,
                pieces: Vec::new(),
                contiguous: true,
                buffers: Vec::new(),
                before: Vec::new(),
            });
            self.all.len() - 1
        });
        let request = &mut self.all[at];
        let first = request.pieces.len();
        for piece in pieces {
            if let Some(last) = request.pieces.last() {
                request.contiguous &=
                    piece.va == last.va + last.len as u64 && piece.va.is_aligned(PAGE_SIZE as u64);
            }
            request.pieces.push(piece);
            let piece = request.pieces.last_mut().expect("it was just pushed");
            for (va, old, any) in &request.before {
                if va.page() == piece.va.page() {
                    piece.keep(va.offset(), old, *any);
                }
            }
        }
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, None);
        }
        self.slots[slot] = Some(Slot {
            request: number,
            piece: first,
            done: 0,
        });
    }

    /// Whether the process dropped a part of the range at or after `since`.
    pub fn dropped_since(&self, mm: MmId, va: VirtAddr, len: u64, since: u64) -> bool {
        self.dropped
            .iter()
            .any(|it| it.mm == mm && it.step >= since && va < it.end && it.start < va + len)
    }

    /// Where the sector belongs that the transfer in `slot` has just moved.
    pub fn next_sector(&mut self, slot: usize) -> Option<Place> {
        let Slot {
            request,
            piece,
            done,
        } = (*self.slots.get(slot)?)?;
        let at = self.all.iter().position(|it| it.number == request)?;
        let here = self.all[at].pieces.get(piece)?;
        let place = Place {
            request: at,
            piece,
            va: here.va + done as u64,
        };
        let over = done + mmu::SECTOR_SIZE >= here.len;
        self.slots[slot] = Some(Slot {
            request,
            piece: piece + usize::from(over),
            done: if over { 0 } else { done + mmu::SECTOR_SIZE },
        });
        Some(place)
    }

    /// The request is over.
    pub fn take(&mut self, number: u32) -> Option<Request> {
        let at = self.all.iter().position(|it| it.number == number)?;
        Some(self.all.remove(at))
    }

    /// The process removes or drops the pages of a range itself.
    pub fn drop_range(&mut self, mm: MmId, start: VirtAddr, end: VirtAddr, step: u64) {
        if self.dropped.len() == DROPS_KEPT {
            self.dropped.remove(0);
        }
        self.dropped.push(Dropped {
            mm,
            start,
            end,
            step,
        });
        for piece in self
            .all
            .iter_mut()
            .filter(|it| it.mm == mm)
            .flat_map(|it| &mut it.pieces)
        {
            piece.remapped |= piece.va < end && start < piece.va + piece.len as u64;
        }
    }

    /// Nobody will look at the memory any more.
    pub fn drop_space(&mut self, mm: MmId) {
        for piece in self
            .all
            .iter_mut()
            .filter(|it| it.mm == mm)
            .flat_map(|it| &mut it.pieces)
        {
            piece.remapped = true;
        }
    }

    /// The entry of `va` no longer names `old`, the first frame of a page of this size.
    pub fn entry_changed(
        &mut self,
        mm: MmId,
        va: VirtAddr,
        size: PageSize,
        old: Pfn,
        change: Change,
    ) {
        let page = va.page_down();
        let overlapping = |it: &&mut Request| it.overlaps(mm, page, size.bytes() as u64);
        for request in self.all.iter_mut().filter(overlapping) {
            match size {
                PageSize::Small => {
                    for piece in request.pieces_in(page).filter(|piece| piece.pfn == old) {
                        piece.changed = Some(change);
                    }
                }
                PageSize::Large => {
                    for piece in &mut request.pieces {
                        let at = piece.va.page();
                        if at.large_down() == page.page() && piece.pfn == old + at.index_in_large()
                        {
                            piece.changed = Some(change);
                        }
                    }
                }
            }
        }
    }

    /// Whether a part of the range is being transferred.
    pub fn cover(&self, mm: MmId, va: VirtAddr, len: u64) -> bool {
        self.all.iter().any(|it| it.overlaps(mm, va, len))
    }

    /// The value of a range, `old` until now, changes by the process's own store, or by a read of
    /// its that completes.
    pub fn changing(&mut self, mm: MmId, va: VirtAddr, old: &[u8], any: bool, by_store: bool) {
        for request in &mut self.all {
            if !request.overlaps(mm, va, old.len() as u64) {
                continue;
            }
            let to_memory = request.to_memory;
            if request.has_buffer(va, old.len() as u64) {
                request.before.push((va, old.to_vec(), any));
            }
            for piece in request.pieces_in(va) {
                if !to_memory {
                    piece.keep(va.offset(), old, any);
                } else if by_store {
                    let set = piece
                        .stored
                        .get_or_insert_with(|| Box::new([0; PAGE_SIZE / 64]));
                    add_bytes(set, va.offset(), old.len());
                }
            }
        }
    }

    /// Whether a read in flight has put this byte at `va`.
    pub fn has_landed(&self, mm: MmId, va: VirtAddr, byte: u8) -> bool {
        self.all
            .iter()
            .filter(|it| it.to_memory && it.mm == mm)
            .filter_map(|it| it.piece_at(va))
            .any(|piece| piece.landed_byte(va) == Some(byte))
    }
}

impl Piece {
    /// A piece of which nothing has moved.
    pub fn new(va: VirtAddr, pfn: Pfn, len: usize, remapped: bool) -> Piece {
        Piece {
            va,
            pfn,
            len,
            landed: None,
            landed_sectors: 0,
            stored: None,
            remapped,
            changed: None,
            reported: false,
            reported_image: false,
            history: Vec::new(),
        }
    }

    /// The process stores over `old`, and has not seen the request complete.
    fn keep(&mut self, offset: usize, old: &[u8], any: bool) {
        let held = Held {
            offset,
            bytes: old.to_vec(),
            any,
        };
        if !self
            .history
            .iter()
            .rev()
            .take(LOOK_BACK)
            .any(|known| *known == held)
        {
            self.history.push(held);
        }
    }

    /// The bytes of a sector, those at `at`, that the process has held there since it submitted
    /// and has stored over.
    pub fn held(&self, at: VirtAddr, sector: &[u8]) -> Box<ByteSet> {
        let mut set = Box::new([0; PAGE_SIZE / 64]);
        let start = at.offset();
        for held in &self.history {
            let from = held.offset.max(start);
            let to = (held.offset + held.bytes.len()).min(start + sector.len());
            for byte in from..to {
                if held.any || held.bytes[byte - held.offset] == sector[byte - start] {
                    add_bytes(&mut set, byte, 1);
                }
            }
        }
        set
    }

    /// A sector has landed.
    pub fn land(&mut self, va: VirtAddr, bytes: &[u8]) {
        let landed = self.landed.get_or_insert_with(|| Box::new([0; PAGE_SIZE]));
        landed[va.offset()..va.offset() + bytes.len()].copy_from_slice(bytes);
        self.landed_sectors |= 1 << (va.offset() / mmu::SECTOR_SIZE);
    }

    /// The byte that landed at `va`.
    pub fn landed_byte(&self, va: VirtAddr) -> Option<u8> {
        let landed = self.landed.as_ref()?;
        (self.landed_sectors & 1 << (va.offset() / mmu::SECTOR_SIZE) != 0)
            .then(|| landed[va.offset()])
    }

    /// Whether the process stored to this byte meanwhile.
    pub fn was_stored(&self, va: VirtAddr) -> bool {
        has_byte(self.stored.as_deref(), va.offset())
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    const AT: VirtAddr = VirtAddr::new(0x1000_0e00);

    /// One request of three sectors across a page boundary, in slot 2.
    fn in_flight(to_memory: bool) -> (Transfers, MmId) {
        let mut ids: SlotMap<MmId, ()> = SlotMap::with_key();
        let mm = ids.insert(());
        let mut all = Transfers::default();
        let pieces = [
            Piece::new(AT, Pfn::new(5), 512, false),
            Piece::new(AT + 512, Pfn::new(9), 1024, false),
        ];
        all.submit(1, mm, to_memory, 3, 2, pieces.into_iter());
        (all, mm)
    }

    #[test]
    fn sectors_are_told_in_the_order_of_the_pieces() {
        let (mut all, _) = in_flight(true);
        let seen: Vec<(usize, VirtAddr)> = std::iter::from_fn(|| all.next_sector(2))
            .map(|place| (place.piece, place.va))
            .collect();
        assert_eq!(seen, [(0, AT), (1, AT + 512), (1, AT + 1024)]);
        assert!(all.next_sector(0).is_none());
    }

    #[test]
    fn a_value_stored_over_in_flight_was_held_there_and_nowhere_else() {
        let (mut all, mm) = in_flight(false);
        let sector = [8; 512];
        let is_held = |all: &Transfers, at: VirtAddr| {
            let piece = all.request(0).piece_at(at).expect("it is covered");
            has_byte(Some(&piece.held(AT, &sector)), at.offset())
        };
        all.changing(mm, AT + 4, &[7, 8], false, true);
        assert!(is_held(&all, AT + 5));
        assert!(!is_held(&all, AT + 4), "another value was held");
        assert!(!is_held(&all, AT + 6), "nothing was stored over");
        all.changing(mm, AT + 6, &[7], true, true);
        assert!(is_held(&all, AT + 6), "it could be anything");
        // Beyond the request: nothing to keep it for.
        all.changing(mm, AT + 2048, &[8], false, true);
    }

    #[test]
    fn only_sectors_that_landed_explain_a_load() {
        let (mut all, mm) = in_flight(true);
        let place = all.next_sector(2).expect("three sectors");
        all.piece_of(place).land(place.va, &[6; 512]);
        assert!(all.has_landed(mm, AT + 511, 6));
        assert!(!all.has_landed(mm, AT + 511, 5));
        assert!(
            !all.has_landed(mm, AT + 512, 0),
            "that sector has not landed"
        );
        all.changing(mm, AT + 8, &[0], false, true);
        let piece = all.request(0).piece_at(AT).expect("it is covered");
        assert!(piece.was_stored(AT + 8) && !piece.was_stored(AT + 9));
    }

    #[test]
    fn a_process_that_drops_the_page_has_remapped_it() {
        let (mut all, mm) = in_flight(true);
        all.drop_range(mm, AT.page_up(), AT.page_up() + 4096, 8);
        let told: Vec<bool> = all.request(0).pieces.iter().map(|it| it.remapped).collect();
        assert_eq!(told, [false, true]);
        assert!(all.dropped_since(mm, AT, 4096, 8));
        assert!(!all.dropped_since(mm, AT, 4096, 9));
        assert!(!all.dropped_since(mm, AT, 512, 0));
    }
}
