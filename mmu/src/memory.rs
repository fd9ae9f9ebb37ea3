//! Physical memory: 4 KiB frames of real bytes, taken from the host when first written.
//!
//! A directory of chunks of 512 frames; an absent chunk or frame reads as zero. For
//! exploration, the memory can [`remember`](PhysMemory::remember) its content and
//! [`reset`](PhysMemory::reset) to it in time proportional to the 512-byte sectors written
//! in between: each frame has a mask of dirty sectors, and its remembered bytes are copied
//! aside once, before its first write, and stay aside for all later resets.

use std::fmt;

use crate::addr::{PAGE_SIZE, Pfn, PhysAddr, SECTOR_SIZE};

type Frame = [u8; PAGE_SIZE];

static ZERO: Frame = [0; PAGE_SIZE];

/// 512 frames, 2 MiB, to one entry of the directory.
const CHUNK_SHIFT: u32 = 9;
const CHUNK_FRAMES: usize = 1 << CHUNK_SHIFT;
/// The mask of all eight sectors.
const ALL_SECTORS: u8 = 0xff;

/// The host's side of one frame.
#[derive(Clone, Default)]
struct Slot {
    /// The content; absent while the frame reads as zero and has no memory.
    live: Option<Box<Frame>>,
    /// The remembered content, once the frame has been written since; absent if that is zero
    /// (see `blank`).
    saved: Option<Box<Frame>>,
    /// Sectors that may differ from the remembered content. Not zero exactly while the frame
    /// is in `PhysMemory::dirty`.
    dirty: u8,
    /// The frame had no memory when the state was remembered, so its remembered bytes are zero
    /// and need no copy. In `PhysMemory::known` exactly when this or `saved` is set.
    blank: bool,
}

type Chunk = [Slot; CHUNK_FRAMES];

/// The memory of the machine.
#[derive(Clone)]
pub struct PhysMemory {
    frames: u32,
    chunks: Vec<Option<Box<Chunk>>>,
    /// All ones until a state is remembered, then zero: or-ed to a frame's dirty mask, it says
    /// in one test that a write needs no preparation.
    untracked: u8,
    /// Frames with a dirty sector.
    dirty: Vec<Pfn>,
    /// Frames whose remembered content is known aside: a copy, or `blank`.
    known: Vec<Pfn>,
    chunks_held: usize,
    live_held: usize,
    saved_held: usize,
}

impl PhysMemory {
    /// Memory of `frames` frames of 4 KiB, all zero. Costs the host eight bytes per 2 MiB.
    pub fn new(frames: u32) -> PhysMemory {
        let mut chunks = Vec::new();
        chunks.resize_with((frames as usize).div_ceil(CHUNK_FRAMES), || None);
        PhysMemory {
            frames,
            chunks,
            untracked: ALL_SECTORS,
            dirty: Vec::new(),
            known: Vec::new(),
            chunks_held: 0,
            live_held: 0,
            saved_held: 0,
        }
    }

    /// The number of frames. Frames are numbered from zero.
    #[inline]
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// `len` bytes from `at` on.
    ///
    /// # Panics
    /// If the range leaves its frame, or the frame is not in memory.
    #[inline]
    pub fn bytes(&self, at: PhysAddr, len: usize) -> &[u8] {
        let from = in_one_frame(at, len);
        &self.frame(at.pfn())[from..from + len]
    }

    /// `len` bytes from `at` on, to be written: their sectors count as dirty from now on.
    ///
    /// # Panics
    /// If the range leaves its frame, or the frame is not in memory.
    #[inline]
    pub fn bytes_mut(&mut self, at: PhysAddr, len: usize) -> &mut [u8] {
        let from = in_one_frame(at, len);
        &mut self.frame_mut(at.pfn(), sectors(from, len))[from..from + len]
    }

    /// The little-endian word at `at`.
    ///
    /// # Panics
    /// If `at` is not a multiple of 8, or the frame is not in memory.
    #[inline]
    pub fn read_u64(&self, at: PhysAddr) -> u64 {
        let from = word_offset(at);
        let word = self.frame(at.pfn())[from..].first_chunk();
        u64::from_le_bytes(*word.expect("an aligned word lies within its frame"))
    }

    /// Stores the little-endian word at `at`.
    ///
    /// # Panics
    /// If `at` is not a multiple of 8, or the frame is not in memory.
    #[inline]
    pub fn write_u64(&mut self, at: PhysAddr, value: u64) {
        let from = word_offset(at);
        let frame = self.frame_mut(at.pfn(), 1 << (from / SECTOR_SIZE));
        let word = frame[from..].first_chunk_mut();
        *word.expect("an aligned word lies within its frame") = value.to_le_bytes();
    }

    /// Copies `len` bytes, as if through a buffer when they overlap.
    ///
    /// # Panics
    /// If either range leaves its frame, or a frame is not in memory.
    pub fn copy(&mut self, from: PhysAddr, to: PhysAddr, len: usize) {
        let (source, target) = (in_one_frame(from, len), in_one_frame(to, len));
        let (source_pfn, target_pfn) = (from.pfn(), to.pfn());
        if !self.is_resident(source_pfn) {
            if self.is_resident(target_pfn) {
                self.bytes_mut(to, len).fill(0);
            }
            return;
        }
        let frame = self.frame_mut(target_pfn, sectors(target, len));
        if source_pfn == target_pfn {
            frame.copy_within(source..source + len, target);
            return;
        }
        // The target leaves its slot for the time of the copy, so that both can be borrowed.
        let mut frame = self
            .slot_mut(target_pfn)
            .live
            .take()
            .expect("it was just made writable");
        frame[target..target + len].copy_from_slice(&self.frame(source_pfn)[source..source + len]);
        self.slot_mut(target_pfn).live = Some(frame);
    }

    /// Sets the whole frame to zero. A frame without memory stays without.
    ///
    /// # Panics
    /// If the frame is not in memory.
    pub fn clear(&mut self, pfn: Pfn) {
        if !self.is_resident(pfn) {
            return;
        }
        let slot = self.slot_mut(pfn);
        if slot.blank {
            // Zero is what is remembered, so only the dirty sectors can be anything else: a
            // page that a run allocates, clears and touches costs a reset one sector.
            let dirty = slot.dirty;
            let live = slot.live.as_deref_mut().expect("it is resident");
            for_each_sector(dirty, |range| live[range].fill(0));
        } else {
            self.frame_mut(pfn, ALL_SECTORS).fill(0);
        }
    }

    /// Gives the frame's memory back to the host; it reads as zero from now on. Bytes that a
    /// reset would need stay aside.
    ///
    /// # Panics
    /// If the frame is not in memory.
    pub fn release(&mut self, pfn: Pfn) {
        if !self.is_resident(pfn) {
            return;
        }
        let tracked = self.untracked == 0;
        let slot = self.slot_mut(pfn);
        let frame = slot.live.take();
        let was_clean = slot.dirty == 0;
        let first_change = tracked && !slot.blank && slot.saved.is_none();
        if tracked && !slot.blank {
            slot.dirty = ALL_SECTORS;
        }
        if first_change {
            slot.saved = frame;
            self.known.push(pfn);
            self.saved_held += 1;
        }
        let slot = self.slot_mut(pfn);
        if was_clean && slot.dirty != 0 {
            self.dirty.push(pfn);
        }
        self.live_held -= 1;
    }

    /// Frames that hold memory of the host at present. A reset may leave frames that the run
    /// before it was the first to touch, cleared.
    pub fn resident_frames(&self) -> usize {
        self.live_held
    }

    /// Bytes of the host's memory in use, bookkeeping and remembered copies included.
    pub fn host_bytes(&self) -> usize {
        let lists = (self.dirty.capacity() + self.known.capacity()) * size_of::<Pfn>();
        self.chunks.capacity() * size_of::<Option<Box<Chunk>>>()
            + self.chunks_held * size_of::<Chunk>()
            + (self.live_held + self.saved_held) * PAGE_SIZE
            + lists
    }

    /// Makes the present content the remembered state. Costs as much as what was written since
    /// the last time, and nothing the first time.
    pub fn remember(&mut self) {
        self.untracked = 0;
        for pfn in std::mem::take(&mut self.dirty) {
            self.slot_mut(pfn).dirty = 0;
        }
        for pfn in std::mem::take(&mut self.known) {
            let slot = self.slot_mut(pfn);
            slot.blank = false;
            if slot.saved.take().is_some() {
                self.saved_held -= 1;
            }
        }
    }

    /// Returns to the remembered content, in time proportional to the sectors written since.
    ///
    /// # Panics
    /// If nothing was ever remembered.
    pub fn reset(&mut self) {
        assert!(
            self.untracked == 0,
            "a reset needs a state to return to: remember() comes first"
        );
        for at in 0..self.dirty.len() {
            let slot = slot_in(&mut self.chunks, self.dirty[at]);
            match (&mut slot.live, &slot.saved) {
                (Some(live), Some(saved)) => {
                    for_each_sector(slot.dirty, |range| {
                        live[range.clone()].copy_from_slice(&saved[range]);
                    });
                }
                (Some(live), None) => for_each_sector(slot.dirty, |range| live[range].fill(0)),
                (None, Some(saved)) => {
                    slot.live = Some(saved.clone());
                    self.live_held += 1;
                }
                (None, None) => {}
            }
            slot.dirty = 0;
        }
        self.dirty.clear();
    }

    /// Whether the frame has memory of its own.
    #[inline]
    fn is_resident(&self, pfn: Pfn) -> bool {
        self.slot(pfn).is_some_and(|slot| slot.live.is_some())
    }

    #[inline]
    fn slot(&self, pfn: Pfn) -> Option<&Slot> {
        assert!(pfn.get() < self.frames, "frame {pfn} is not in memory");
        let chunk = self.chunks[pfn.get() as usize >> CHUNK_SHIFT].as_deref()?;
        Some(&chunk[pfn.get() as usize % CHUNK_FRAMES])
    }

    /// The slot of a frame whose chunk exists.
    #[inline]
    fn slot_mut(&mut self, pfn: Pfn) -> &mut Slot {
        slot_in(&mut self.chunks, pfn)
    }

    #[inline]
    fn frame(&self, pfn: Pfn) -> &Frame {
        self.slot(pfn)
            .and_then(|slot| slot.live.as_deref())
            .unwrap_or(&ZERO)
    }

    /// The frame, with memory, and with `sectors` known to be dirty.
    #[inline]
    fn frame_mut(&mut self, pfn: Pfn, sectors: u8) -> &mut Frame {
        let untracked = self.untracked;
        let ready = self.slot(pfn).is_some_and(|slot| {
            slot.live.is_some() && (slot.dirty | untracked) & sectors == sectors
        });
        if !ready {
            self.prepare_write(pfn, sectors);
        }
        self.slot_mut(pfn)
            .live
            .as_deref_mut()
            .expect("a prepared frame has memory")
    }

    /// Gives the frame memory, puts its remembered content aside, and marks `sectors` dirty.
    #[cold]
    #[inline(never)]
    fn prepare_write(&mut self, pfn: Pfn, sectors: u8) {
        let chunk = &mut self.chunks[pfn.get() as usize >> CHUNK_SHIFT];
        if chunk.is_none() {
            let slots = vec![Slot::default(); CHUNK_FRAMES].into_boxed_slice();
            *chunk = Some(
                slots
                    .try_into()
                    .unwrap_or_else(|_| unreachable!("512 slots were made")),
            );
            self.chunks_held += 1;
        }
        let tracked = self.untracked == 0;
        let slot = slot_in(&mut self.chunks, pfn);
        if tracked && !slot.blank && slot.saved.is_none() {
            match &slot.live {
                Some(live) => {
                    slot.saved = Some(live.clone());
                    self.saved_held += 1;
                }
                None => slot.blank = true,
            }
            self.known.push(pfn);
        }
        if slot.live.is_none() {
            slot.live = Some(Box::new(ZERO));
            self.live_held += 1;
        }
        if tracked && sectors != 0 {
            if slot.dirty == 0 {
                self.dirty.push(pfn);
            }
            slot.dirty |= sectors;
        }
    }
}

impl fmt::Debug for PhysMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhysMemory")
            .field("frames", &self.frames)
            .field("resident_frames", &self.live_held)
            .field("dirty_frames", &self.dirty.len())
            .finish_non_exhaustive()
    }
}

#[inline]
fn slot_in(chunks: &mut [Option<Box<Chunk>>], pfn: Pfn) -> &mut Slot {
    let chunk = chunks[pfn.get() as usize >> CHUNK_SHIFT].as_deref_mut();
    &mut chunk.expect("a frame in use has its chunk")[pfn.get() as usize % CHUNK_FRAMES]
}

/// The offset of a range in its frame.
#[inline]
fn in_one_frame(at: PhysAddr, len: usize) -> usize {
    let from = at.offset();
    assert!(
        len <= PAGE_SIZE - from,
        "{len} bytes at {at} leave their frame"
    );
    from
}

#[inline]
fn word_offset(at: PhysAddr) -> usize {
    let from = at.offset();
    assert!(
        from.is_multiple_of(8),
        "a word at {at} is not aligned to 8 bytes"
    );
    from
}

/// The mask of the sectors that `len` bytes at `from` touch.
#[inline]
fn sectors(from: usize, len: usize) -> u8 {
    if len == 0 {
        return 0;
    }
    let (first, last) = (from / SECTOR_SIZE, (from + len - 1) / SECTOR_SIZE);
    (ALL_SECTORS << first) & (ALL_SECTORS >> (7 - last))
}

/// Calls `act` with the byte range of each sector in `mask`, neighbours as one range.
#[inline]
fn for_each_sector(mut mask: u8, mut act: impl FnMut(std::ops::Range<usize>)) {
    while mask != 0 {
        let first = mask.trailing_zeros() as usize;
        let count = (mask >> first).trailing_ones() as usize;
        act(first * SECTOR_SIZE..(first + count) * SECTOR_SIZE);
        mask &= !sectors(first * SECTOR_SIZE, count * SECTOR_SIZE);
    }
}

#[cfg(test)]
mod tests;
