//! The DMA engine: moves sectors between the disk and *physical* memory, one at a time, whatever
//! the page tables say meanwhile.

use mmu::{PhysAddr, PhysMemory, SECTOR_SIZE};

use crate::Disk;

/// A physically contiguous piece of memory in a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Where it begins; a multiple of 512.
    pub addr: PhysAddr,
    /// Its length in bytes; a multiple of 512, and not 0.
    pub len: u32,
}

/// Which way a transfer goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// A read of the disk.
    ToMemory,
    /// A write to the disk.
    FromMemory,
}

/// Why a list of segments is not a transfer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DmaError {
    /// There is no segment at all.
    #[error("transfer {id} has no segments; it needs one sector of 512 bytes at least")]
    Empty {
        /// The transfer's id.
        id: u32,
    },
    /// A segment without a byte.
    #[error(
        "segment {segment} of transfer {id} is empty; a segment is one sector of 512 bytes at least"
    )]
    EmptySegment {
        /// The transfer's id.
        id: u32,
        /// The segment's place in the list.
        segment: usize,
    },
    /// A segment whose address is not a multiple of 512.
    #[error(
        "segment {segment} of transfer {id} is at {addr:#x}, which is not a multiple of 512 bytes"
    )]
    MisalignedAddress {
        /// The transfer's id.
        id: u32,
        /// The segment's place in the list.
        segment: usize,
        /// Its physical address.
        addr: u64,
    },
    /// A segment whose length is not a multiple of 512.
    #[error(
        "segment {segment} of transfer {id} is {len} bytes long, which is not a multiple of 512"
    )]
    MisalignedLength {
        /// The transfer's id.
        id: u32,
        /// The segment's place in the list.
        segment: usize,
        /// Its length in bytes.
        len: u32,
    },
    /// The transfer runs past the last physical address, the last sector of a disk, or the 2^32
    /// sectors that one transfer may have.
    #[error(
        "segment {segment} of transfer {id} runs past the end of memory's or the disk's addresses"
    )]
    OutOfRange {
        /// The transfer's id.
        id: u32,
        /// The segment's place in the list.
        segment: usize,
    },
}

/// A scatter-gather request: consecutive sectors of the disk from `lba` on, and the pieces of
/// memory that they come from or go to, in that order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transfer {
    /// The requester's name for it.
    pub id: u32,
    /// Which way it goes.
    pub direction: Direction,
    /// The first sector on the disk.
    pub lba: u64,
    /// The memory. Not to be changed after [`new`](Transfer::new), which has checked it.
    pub segments: Vec<Segment>,
    /// For each segment, how many sectors lie before its end: what makes finding one a search.
    ends: Vec<u32>,
}

impl Transfer {
    /// Checks the segments.
    ///
    /// # Errors
    ///
    /// [`DmaError`] names the first segment that is empty, or not whole sectors, or out of range.
    pub fn new(
        id: u32,
        direction: Direction,
        lba: u64,
        segments: Vec<Segment>,
    ) -> Result<Transfer, DmaError> {
        const SECTOR: u32 = SECTOR_SIZE as u32;
        if segments.is_empty() {
            return Err(DmaError::Empty { id });
        }
        let mut ends = Vec::with_capacity(segments.len());
        let mut sectors = 0u32;
        for (segment, &Segment { addr, len }) in segments.iter().enumerate() {
            let addr = addr.get();
            if len == 0 {
                return Err(DmaError::EmptySegment { id, segment });
            }
            if !addr.is_multiple_of(u64::from(SECTOR)) {
                return Err(DmaError::MisalignedAddress { id, segment, addr });
            }
            if !len.is_multiple_of(SECTOR) {
                return Err(DmaError::MisalignedLength { id, segment, len });
            }
            let out_of_range = DmaError::OutOfRange { id, segment };
            let Some(end) = sectors.checked_add(len / SECTOR) else {
                return Err(out_of_range);
            };
            if addr.checked_add(u64::from(len)).is_none()
                || lba.checked_add(u64::from(end)).is_none()
            {
                return Err(out_of_range);
            }
            sectors = end;
            ends.push(sectors);
        }
        Ok(Transfer {
            id,
            direction,
            lba,
            segments,
            ends,
        })
    }

    /// How many sectors move in all; never 0.
    #[inline]
    pub fn sectors(&self) -> u32 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Where sector `index` of the transfer is: on the disk and in memory.
    ///
    /// # Panics
    ///
    /// If `index` is not below [`sectors`](Transfer::sectors).
    #[inline]
    pub fn sector(&self, index: u32) -> (u64, PhysAddr) {
        assert!(
            index < self.sectors(),
            "sector {index} of transfer {}, which has {}",
            self.id,
            self.sectors()
        );
        let segment = self.ends.partition_point(|&end| end <= index);
        let before = match segment {
            0 => 0,
            _ => self.ends[segment - 1],
        };
        let offset = u64::from(index - before) * SECTOR_SIZE as u64;
        (
            self.lba + u64::from(index),
            self.segments[segment].addr + offset,
        )
    }
}

/// One sector that moved, or moves next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moved {
    /// Its index in the transfer.
    pub sector: u32,
    /// Where it is in memory.
    pub addr: PhysAddr,
    /// Where it is on the disk.
    pub lba: u64,
    /// Which way it goes.
    pub direction: Direction,
    /// It is the transfer's last: [`DmaEngine::finish`] is due.
    pub last: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct InFlight {
    transfer: Transfer,
    /// Sectors moved so far.
    moved: u32,
}

/// The transfers in flight, each in a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DmaEngine {
    slots: Vec<Option<InFlight>>,
}

impl DmaEngine {
    /// An engine with slots 0 to `queue` - 1, all free.
    pub fn new(queue: usize) -> DmaEngine {
        DmaEngine {
            slots: vec![None; queue],
        }
    }

    /// Takes a transfer and says in which slot: the lowest free one.
    ///
    /// # Panics
    ///
    /// If every slot is in use. An engine with as many slots as the disk's queue has places
    /// is never full when [`Disk::submit`] was asked first.
    pub fn start(&mut self, transfer: Transfer) -> usize {
        let slot = self
            .slots
            .iter()
            .position(Option::is_none)
            .unwrap_or_else(|| {
                panic!(
                    "all {} slots of the DMA engine are in use",
                    self.slots.len()
                )
            });
        self.slots[slot] = Some(InFlight { transfer, moved: 0 });
        slot
    }

    /// The transfer in `slot`, if there is one.
    #[inline]
    pub fn transfer(&self, slot: usize) -> Option<&Transfer> {
        self.slots.get(slot)?.as_ref().map(|t| &t.transfer)
    }

    /// The sector that [`advance`](Self::advance) will move next: what a step announces. `None`
    /// when the slot is free or everything has moved.
    #[inline]
    pub fn next_sector(&self, slot: usize) -> Option<Moved> {
        let InFlight { transfer, moved } = self.slots.get(slot)?.as_ref()?;
        if *moved == transfer.sectors() {
            return None;
        }
        let (lba, addr) = transfer.sector(*moved);
        Some(Moved {
            sector: *moved,
            addr,
            lba,
            direction: transfer.direction,
            last: *moved + 1 == transfer.sectors(),
        })
    }

    /// Moves the next sector of the transfer in `slot`, 512 bytes, and says which it was.
    ///
    /// # Panics
    ///
    /// If the slot is free or everything has moved, or the address is beyond memory.
    pub fn advance(&mut self, slot: usize, mem: &mut PhysMemory, disk: &mut Disk) -> Moved {
        let next = self.next_sector(slot).unwrap_or_else(|| {
            panic!("no sector is left to move in slot {slot} of the DMA engine")
        });
        match next.direction {
            Direction::ToMemory => disk.read_sector(next.lba, sector_mut(mem, next.addr)),
            Direction::FromMemory => disk.write_sector(next.lba, sector(mem, next.addr)),
        }
        if let Some(in_flight) = &mut self.slots[slot] {
            in_flight.moved += 1;
        }
        next
    }

    /// Frees the slot and hands its transfer back.
    ///
    /// # Panics
    ///
    /// If the slot is free, or a sector has not moved yet.
    pub fn finish(&mut self, slot: usize) -> Transfer {
        let Some(InFlight { transfer, moved }) = self.slots[slot].take() else {
            panic!("finished slot {slot} of the DMA engine, which is free")
        };
        assert!(
            moved == transfer.sectors(),
            "finished transfer {} after {moved} of {} sectors",
            transfer.id,
            transfer.sectors()
        );
        transfer
    }

    /// The slots in use, in order, with their transfers and how many sectors have moved.
    pub fn in_flight(&self) -> impl Iterator<Item = (usize, &Transfer, u32)> + '_ {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(slot, t)| t.as_ref().map(|t| (slot, &t.transfer, t.moved)))
    }

    /// Forgets every transfer, as a reset of the machine does.
    pub fn clear(&mut self) {
        self.slots.fill(None);
    }
}

/// The 512 bytes at `addr`, which [`Transfer::new`] has aligned: they are in one frame.
#[inline]
fn sector(mem: &PhysMemory, addr: PhysAddr) -> &[u8; SECTOR_SIZE] {
    let bytes = mem.bytes(addr, SECTOR_SIZE).first_chunk();
    bytes.expect("a sector was asked for")
}

/// The same, to be written.
#[inline]
fn sector_mut(mem: &mut PhysMemory, addr: PhysAddr) -> &mut [u8; SECTOR_SIZE] {
    let bytes = mem.bytes_mut(addr, SECTOR_SIZE).first_chunk_mut();
    bytes.expect("a sector was asked for")
}

#[cfg(test)]
mod tests;
