//! What a disk holds: a gigabyte of constant files must cost the host little, and going back to
//! a remembered state must cost no more than was written.

use std::collections::BTreeMap;

use mmu::SECTOR_SIZE;

/// Sectors in a block of 4 KiB.
pub(super) const BLOCK_SECTORS: u64 = 8;
const BLOCK_SIZE: usize = BLOCK_SECTORS as usize * SECTOR_SIZE;
/// Blocks in a chunk of 2 MiB, the unit in which the map grows.
const CHUNK_BLOCKS: usize = 512;

/// 4 KiB of the disk.
#[derive(Clone, PartialEq, Eq)]
enum Block {
    /// This byte throughout.
    Fill(u8),
    Bytes(Box<[u8; BLOCK_SIZE]>),
}

struct Chunk {
    blocks: Box<[Block; CHUNK_BLOCKS]>,
    /// A bit a block: its remembered state is in [`Contents::journal`].
    saved: [u64; CHUNK_BLOCKS / 64],
}

impl Chunk {
    fn zeroed() -> Chunk {
        Chunk {
            blocks: Box::new([const { Block::Fill(0) }; CHUNK_BLOCKS]),
            saved: [0; CHUNK_BLOCKS / 64],
        }
    }
}

/// The contents of a disk, with an undo journal.
#[derive(Default)]
pub(super) struct Contents {
    /// By block number divided by [`CHUNK_BLOCKS`]; a chunk that is absent is zeros.
    chunks: BTreeMap<u64, Chunk>,
    /// Block number and remembered state of each block changed since `remember`. Before the
    /// first `remember` there is nothing to go back to but emptiness, and no journal.
    journal: Option<Vec<(u64, Block)>>,
}

/// Which chunk a block is in, and where in it.
#[inline]
fn place(block: u64) -> (u64, usize) {
    let blocks = CHUNK_BLOCKS as u64;
    (block / blocks, (block % blocks) as usize)
}

/// Where in its block a sector begins.
#[inline]
fn offset(lba: u64) -> usize {
    (lba % BLOCK_SECTORS) as usize * SECTOR_SIZE
}

fn uniform(sector: &[u8; SECTOR_SIZE]) -> Option<u8> {
    sector
        .iter()
        .all(|byte| *byte == sector[0])
        .then_some(sector[0])
}

impl Contents {
    pub(super) fn read_sector(&self, lba: u64, into: &mut [u8; SECTOR_SIZE]) {
        let (chunk, index) = place(lba / BLOCK_SECTORS);
        match self.chunks.get(&chunk).map(|chunk| &chunk.blocks[index]) {
            None => into.fill(0),
            Some(Block::Fill(byte)) => into.fill(*byte),
            Some(Block::Bytes(bytes)) => {
                into.copy_from_slice(&bytes[offset(lba)..][..SECTOR_SIZE]);
            }
        }
    }

    pub(super) fn write_sector(&mut self, lba: u64, from: &[u8; SECTOR_SIZE]) {
        let number = lba / BLOCK_SECTORS;
        if uniform(from).is_some_and(|byte| self.is_fill(number, byte)) {
            return;
        }
        let block = self.change(number);
        if let Block::Fill(byte) = *block {
            *block = Block::Bytes(Box::new([byte; BLOCK_SIZE]));
        }
        let Block::Bytes(bytes) = block else {
            unreachable!("a filled block has just been spelled out")
        };
        bytes[offset(lba)..][..SECTOR_SIZE].copy_from_slice(from);
    }

    pub(super) fn fill(&mut self, lba: u64, sectors: u64, byte: u8) {
        let end = lba.saturating_add(sectors);
        let mut at = lba;
        while at < end {
            if at.is_multiple_of(BLOCK_SECTORS) && end - at >= BLOCK_SECTORS {
                let number = at / BLOCK_SECTORS;
                if !self.is_fill(number, byte) {
                    *self.change(number) = Block::Fill(byte);
                }
                at += BLOCK_SECTORS;
            } else {
                self.write_sector(at, &[byte; SECTOR_SIZE]);
                at += 1;
            }
        }
    }

    pub(super) fn remember(&mut self) {
        let mut journal = self.journal.take().unwrap_or_default();
        for (number, _) in journal.drain(..) {
            self.forget_saved(number);
        }
        self.journal = Some(journal);
    }

    pub(super) fn reset(&mut self) {
        let Some(mut journal) = self.journal.take() else {
            self.chunks.clear();
            return;
        };
        for (number, old) in journal.drain(..) {
            self.forget_saved(number);
            let (chunk, index) = place(number);
            if let Some(chunk) = self.chunks.get_mut(&chunk) {
                chunk.blocks[index] = old;
            }
        }
        self.journal = Some(journal);
    }

    fn is_fill(&self, number: u64, byte: u8) -> bool {
        let (chunk, index) = place(number);
        match self.chunks.get(&chunk) {
            None => byte == 0,
            Some(chunk) => chunk.blocks[index] == Block::Fill(byte),
        }
    }

    /// A block that is about to change, its old state saved if that was remembered.
    fn change(&mut self, number: u64) -> &mut Block {
        let (chunk, index) = place(number);
        let chunk = self.chunks.entry(chunk).or_insert_with(Chunk::zeroed);
        if let Some(journal) = &mut self.journal {
            let (word, bit) = (index / 64, 1 << (index % 64));
            if chunk.saved[word] & bit == 0 {
                chunk.saved[word] |= bit;
                journal.push((number, chunk.blocks[index].clone()));
            }
        }
        &mut chunk.blocks[index]
    }

    fn forget_saved(&mut self, number: u64) {
        let (chunk, index) = place(number);
        if let Some(chunk) = self.chunks.get_mut(&chunk) {
            chunk.saved[index / 64] &= !(1 << (index % 64));
        }
    }

    /// Blocks that are spelled out byte by byte.
    #[cfg(test)]
    fn spelled_out(&self) -> usize {
        self.chunks
            .values()
            .flat_map(|chunk| chunk.blocks.iter())
            .filter(|block| matches!(block, Block::Bytes(_)))
            .count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A sector in which no two neighbours are equal.
    fn ramp(first: u8) -> [u8; SECTOR_SIZE] {
        std::array::from_fn(|i| first.wrapping_add(i as u8))
    }

    fn read(contents: &Contents, lba: u64) -> [u8; SECTOR_SIZE] {
        let mut sector = [0x5a; SECTOR_SIZE];
        contents.read_sector(lba, &mut sector);
        sector
    }

    #[test]
    fn a_sector_that_was_never_written_is_zeros_wherever_it_is() {
        let contents = Contents::default();
        assert_eq!(read(&contents, 0), [0; SECTOR_SIZE]);
        assert_eq!(read(&contents, u64::MAX), [0; SECTOR_SIZE]);
    }

    #[test]
    fn a_fill_beyond_the_address_space_ends_with_it() {
        let mut contents = Contents::default();
        contents.write_sector(u64::MAX, &ramp(1));
        contents.fill(u64::MAX - 20, 100, 3);
        assert_eq!(read(&contents, u64::MAX - 1), [3; SECTOR_SIZE]);
        assert_eq!(read(&contents, u64::MAX - 20), [3; SECTOR_SIZE]);
        assert_eq!(read(&contents, u64::MAX - 21), [0; SECTOR_SIZE]);
    }

    #[test]
    fn a_gigabyte_of_constant_files_spells_out_no_block() {
        let mut contents = Contents::default();
        // 1.2 GB in files of 100 MB, one byte value each.
        let sectors = 100_000_000u64.next_multiple_of(4_096) / 512;
        for file in 0..12 {
            contents.fill(file * sectors, sectors, file as u8);
        }
        assert_eq!(read(&contents, 7 * sectors), [7; SECTOR_SIZE]);
        assert_eq!(contents.spelled_out(), 0);
    }

    #[test]
    fn writing_what_is_there_already_costs_nothing() {
        let mut contents = Contents::default();
        contents.fill(0, 8, 9);
        contents.remember();
        contents.write_sector(3, &[9; SECTOR_SIZE]);
        contents.fill(0, 8, 9);
        contents.write_sector(1 << 40, &[0; SECTOR_SIZE]);
        assert_eq!(contents.spelled_out(), 0);
        assert_eq!(contents.chunks.len(), 1);
        assert!(contents.journal.unwrap().is_empty());
    }

    #[test]
    fn a_block_is_saved_once_however_often_it_is_written() {
        let mut contents = Contents::default();
        contents.remember();
        for i in 0..64 {
            contents.write_sector(i % 8, &ramp(i as u8));
        }
        assert_eq!(contents.journal.as_ref().unwrap().len(), 1);
        contents.reset();
        assert_eq!(contents.spelled_out(), 0);
        contents.write_sector(0, &ramp(1));
        assert_eq!(contents.journal.unwrap().len(), 1);
    }

    #[test]
    fn a_reset_with_nothing_remembered_empties_the_disk() {
        let mut contents = Contents::default();
        contents.fill(0, 20, 1);
        contents.reset();
        assert_eq!(read(&contents, 0), [0; SECTOR_SIZE]);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Write(u64, u8),
        WriteUniform(u64, u8),
        Fill(u64, u64, u8),
        Remember,
        Reset,
    }

    /// Three blocks on each side of the border between two chunks.
    const FIRST: u64 = CHUNK_BLOCKS as u64 * BLOCK_SECTORS - 24;
    const SECTORS: u64 = 48;

    fn op() -> impl Strategy<Value = Op> {
        let byte = || 0..3u8;
        prop_oneof![
            4 => (0..SECTORS, any::<u8>()).prop_map(|(at, b)| Op::Write(at, b)),
            3 => (0..SECTORS, byte()).prop_map(|(at, b)| Op::WriteUniform(at, b)),
            3 => (0..SECTORS, 0..SECTORS, byte())
                .prop_map(|(at, n, b)| Op::Fill(at, n.min(SECTORS - at), b)),
            1 => Just(Op::Remember),
            2 => Just(Op::Reset),
        ]
    }

    proptest! {
        #[test]
        fn it_holds_what_a_vector_of_bytes_holds(ops in proptest::collection::vec(op(), 1..60)) {
            let mut contents = Contents::default();
            let mut model = vec![0u8; SECTORS as usize * SECTOR_SIZE];
            let mut remembered = model.clone();
            let range = |at: u64, n: u64| at as usize * SECTOR_SIZE..(at + n) as usize * SECTOR_SIZE;
            for op in ops {
                match op {
                    Op::Write(at, b) => {
                        contents.write_sector(FIRST + at, &ramp(b));
                        model[range(at, 1)].copy_from_slice(&ramp(b));
                    }
                    Op::WriteUniform(at, b) => {
                        contents.write_sector(FIRST + at, &[b; SECTOR_SIZE]);
                        model[range(at, 1)].fill(b);
                    }
                    Op::Fill(at, n, b) => {
                        contents.fill(FIRST + at, n, b);
                        model[range(at, n)].fill(b);
                    }
                    Op::Remember => {
                        contents.remember();
                        remembered.clone_from(&model);
                    }
                    Op::Reset => {
                        contents.reset();
                        model.clone_from(&remembered);
                    }
                }
                for at in 0..SECTORS {
                    prop_assert_eq!(&read(&contents, FIRST + at)[..], &model[range(at, 1)]);
                }
            }
        }
    }
}
