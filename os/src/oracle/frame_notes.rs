//! What the oracles remember of each frame, to name the other side in a message: who stored to its
//! sectors last, when references were taken, when it was freed.
//!
//! A note counts in the run that made it and in no other, so that a reset costs nothing.

use std::fmt;

use mmu::{PAGE_SIZE, Pfn, PhysAddr, SECTOR_SIZE};

use super::Change;
use crate::Holder;

/// Who stored to a sector last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Who {
    /// Nobody since the frame was allocated, or since the machine was prepared.
    #[default]
    Nobody,
    /// A process, by its number.
    Process(u32),
    /// A direct-I/O request, by its ordinal.
    Request(u32),
}

/// Who stored, and at which step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Writer {
    pub who: Who,
    pub step: u64,
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.who {
            Who::Nobody => f.write_str("nobody has stored there in this run"),
            Who::Process(pid) => write!(f, "process {pid} stored there at step {}", self.step),
            Who::Request(io) => write!(f, "request {io} landed there at step {}", self.step),
        }
    }
}

const SECTORS: usize = PAGE_SIZE / SECTOR_SIZE;

/// What is known of one frame.
#[derive(Clone, Copy)]
pub(super) struct FrameNote {
    run: u32,
    /// The step at which it was allocated; 0 if that was in preparing.
    pub allocated: u64,
    /// When it was freed last, on the clock of translations; 0 if never.
    pub freed_stamp: u64,
    /// Who freed it last.
    pub freed: Option<Change>,
    /// The step at which each kind of holder took its last reference.
    pub taken: [u64; Holder::ALL.len()],
    writers: [Writer; SECTORS],
}

impl Default for FrameNote {
    fn default() -> Self {
        FrameNote {
            run: u32::MAX,
            allocated: 0,
            freed_stamp: 0,
            freed: None,
            taken: [0; Holder::ALL.len()],
            writers: [Writer::default(); SECTORS],
        }
    }
}

const CHUNK: usize = 32;

/// The notes of all frames, made when first wanted.
#[derive(Default)]
pub(super) struct FrameNotes {
    run: u32,
    chunks: Vec<Option<Box<[FrameNote]>>>,
    /// The frames with a note in this run.
    noted: Vec<Pfn>,
}

impl FrameNotes {
    /// All notes so far are of another run.
    pub fn next_run(&mut self) {
        self.run = (self.run + 1) % u32::MAX;
        self.noted.clear();
    }

    /// The note of a frame, if this run made one.
    pub fn get(&self, pfn: Pfn) -> Option<&FrameNote> {
        let at = pfn.get() as usize;
        let note = &self.chunks.get(at / CHUNK)?.as_ref()?[at % CHUNK];
        (note.run == self.run).then_some(note)
    }

    /// The note of a frame, to write to.
    #[inline(never)]
    pub fn of(&mut self, pfn: Pfn) -> &mut FrameNote {
        let at = pfn.get() as usize;
        if self.chunks.len() <= at / CHUNK {
            self.chunks.resize_with(at / CHUNK + 1, || None);
        }
        let chunk =
            self.chunks[at / CHUNK].get_or_insert_with(|| vec![FrameNote::default(); CHUNK].into());
        let note = &mut chunk[at % CHUNK];
        if note.run != self.run {
            *note = FrameNote {
                run: self.run,
                ..FrameNote::default()
            };
            self.noted.push(pfn);
        }
        note
    }

    /// The frames that this run has notes of.
    pub fn noted(&self) -> &[Pfn] {
        &self.noted
    }

    /// Somebody has stored to the sector at `at`.
    #[inline]
    pub fn written(&mut self, at: PhysAddr, who: Who, step: u64) {
        let pfn = at.pfn().get() as usize;
        let writer = Writer { who, step };
        let sector = at.offset() / SECTOR_SIZE;
        if let Some(Some(chunk)) = self.chunks.get_mut(pfn / CHUNK)
            && chunk[pfn % CHUNK].run == self.run
        {
            chunk[pfn % CHUNK].writers[sector] = writer;
        } else {
            self.of(at.pfn()).writers[sector] = writer;
        }
    }

    /// A sector was copied: who stored to the one has stored to the other.
    pub fn copied(&mut self, to: PhysAddr, from: PhysAddr) {
        let writer = self.writer(from);
        self.of(to.pfn()).writers[to.offset() / SECTOR_SIZE] = writer;
    }

    /// Who stored last to the sector at `at`.
    pub fn writer(&self, at: PhysAddr) -> Writer {
        self.get(at.pfn()).map_or_else(Writer::default, |note| {
            note.writers[at.offset() / SECTOR_SIZE]
        })
    }

    /// The frame is somebody's again: what was known of its content is not of this content.
    pub fn allocated(&mut self, pfn: Pfn, step: u64) {
        let note = self.of(pfn);
        note.allocated = step;
        note.taken = [0; Holder::ALL.len()];
        note.taken[Holder::Hand as usize] = step;
        note.writers = [Writer::default(); SECTORS];
    }

    /// The step at which `holder` took its last reference, as far as it is known.
    pub fn taken(&self, pfn: Pfn, holder: Holder) -> u64 {
        self.get(pfn)
            .map_or(0, |note| note.taken[holder as usize].max(note.allocated))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_of_another_run_is_no_note() {
        let mut notes = FrameNotes::default();
        let at = Pfn::new(70).base() + 512;
        notes.written(at, Who::Process(3), 9);
        assert_eq!(
            notes.writer(at).to_string(),
            "process 3 stored there at step 9"
        );
        assert_eq!(notes.noted(), [Pfn::new(70)]);
        notes.next_run();
        assert_eq!(notes.writer(at).who, Who::Nobody);
        assert_eq!(notes.noted(), []);
    }

    #[test]
    fn a_copy_has_the_writer_of_what_was_copied_until_the_frame_is_allocated_again() {
        let mut notes = FrameNotes::default();
        let (from, to) = (Pfn::new(1).base() + 1024, Pfn::new(2).base() + 1024);
        notes.written(from, Who::Request(4), 5);
        notes.copied(to, from);
        assert_eq!(notes.writer(to + 511).who, Who::Request(4));
        assert_eq!(notes.writer(to + 512).who, Who::Nobody);
        notes.allocated(Pfn::new(2), 8);
        assert_eq!(notes.writer(to).who, Who::Nobody);
        assert_eq!(notes.taken(Pfn::new(2), Holder::Mapping), 8);
    }
}
