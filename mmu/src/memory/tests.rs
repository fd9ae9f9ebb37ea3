use super::*;
use proptest::prelude::*;

const FRAMES: u32 = 1030;

fn at(frame: u32, offset: usize) -> PhysAddr {
    Pfn::new(frame).base() + offset as u64
}

#[test]
fn the_largest_machine_holds_nothing_until_touched() {
    let mut memory = PhysMemory::new(16 << 20);
    let empty = memory.host_bytes();
    assert!(
        empty <= 8 * 32768,
        "one pointer for each 2 MiB, not {empty} bytes"
    );
    let last = at((16 << 20) - 1, 4088);
    assert_eq!(memory.read_u64(last), 0);
    assert_eq!((memory.resident_frames(), memory.host_bytes()), (0, empty));
    memory.write_u64(last, 7);
    assert_eq!((memory.read_u64(last), memory.resident_frames()), (7, 1));
    memory.release(last.pfn());
    assert_eq!((memory.read_u64(last), memory.resident_frames()), (0, 0));
}

#[test]
fn words_are_little_endian() {
    let mut memory = PhysMemory::new(1);
    memory.write_u64(at(0, 8), 0x0102);
    assert_eq!(memory.bytes(at(0, 8), 3), [2, 1, 0]);
}

#[test]
fn copying_zero_to_an_untouched_frame_takes_no_memory() {
    let mut memory = PhysMemory::new(2);
    memory.copy(at(0, 0), at(1, 0), PAGE_SIZE);
    memory.clear(Pfn::new(1));
    assert_eq!(memory.resident_frames(), 0);
}

#[test]
fn an_overlapping_copy_in_one_frame_moves_the_old_bytes() {
    let mut memory = PhysMemory::new(1);
    memory.bytes_mut(at(0, 0), 4).copy_from_slice(&[1, 2, 3, 4]);
    memory.copy(at(0, 0), at(0, 1), 4);
    assert_eq!(memory.bytes(at(0, 0), 5), [1, 1, 2, 3, 4]);
}

#[test]
fn resets_take_copies_once() {
    let mut memory = PhysMemory::new(4);
    memory.write_u64(at(0, 0), 1);
    memory.remember();
    memory.write_u64(at(0, 0), 2);
    memory.write_u64(at(1, 0), 2);
    memory.reset();
    let after_first = memory.host_bytes();
    for round in 0..10 {
        memory.write_u64(at(0, 512), round);
        memory.write_u64(at(1, 1024), round);
        memory.reset();
    }
    assert_eq!(memory.host_bytes(), after_first);
    assert_eq!(
        (memory.read_u64(at(0, 0)), memory.read_u64(at(1, 0))),
        (1, 0)
    );
}

#[test]
fn clearing_a_frame_that_was_untouched_when_remembered_dirties_nothing_more() {
    let mut memory = PhysMemory::new(1);
    memory.remember();
    memory.write_u64(at(0, 0), 1);
    memory.clear(Pfn::new(0));
    assert_eq!(memory.read_u64(at(0, 0)), 0);
    let slot = memory.slot(Pfn::new(0)).unwrap();
    assert_eq!(slot.dirty, 1);
}

#[test]
fn neighbouring_sectors_are_one_range() {
    let mut ranges = Vec::new();
    for_each_sector(0b1100_0101, |range| ranges.push(range));
    assert_eq!(ranges, [0..512, 1024..1536, 3072..4096]);
}

#[test]
#[should_panic(expected = "leave their frame")]
fn a_range_across_frames_is_refused() {
    PhysMemory::new(2).bytes(at(0, 4090), 7);
}

#[test]
#[should_panic(expected = "frame 513 is not in memory")]
fn a_frame_beyond_the_end_is_refused_within_the_last_chunk() {
    PhysMemory::new(513).read_u64(at(513, 0));
}

#[test]
#[should_panic(expected = "remember() comes first")]
fn a_reset_without_a_remembered_state_is_refused() {
    PhysMemory::new(1).reset();
}

#[derive(Clone, Debug)]
enum Op {
    Word(u32, usize, u64),
    Fill(u32, usize, usize, u8),
    Copy(u32, usize, u32, usize, usize),
    Clear(u32),
    Release(u32),
    Remember,
    Reset,
}

/// Few frames, in three chunks, so that operations meet.
fn frame() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0u32), Just(1), Just(511), Just(512), Just(1029)]
}

fn op() -> impl Strategy<Value = Op> {
    let word = (frame(), 0usize..512, any::<u64>()).prop_map(|(f, w, v)| Op::Word(f, 8 * w, v));
    let range = (0usize..=4096, 0usize..=4096).prop_map(|(a, b)| (a.min(b), a.abs_diff(b)));
    let fill = (frame(), range, any::<u8>()).prop_map(|(f, (from, len), v)| {
        Op::Fill(f, from.min(4095), len.min(4096 - from.min(4095)), v)
    });
    let copy = (frame(), 0usize..4096, frame(), 0usize..4096, 0usize..=4096)
        .prop_map(|(f, from, g, to, len)| Op::Copy(f, from, g, to, len.min(4096 - from.max(to))));
    prop_oneof![
        6 => word,
        3 => fill,
        3 => copy,
        1 => frame().prop_map(Op::Clear),
        2 => frame().prop_map(Op::Release),
        1 => Just(Op::Remember),
        2 => Just(Op::Reset),
    ]
}

/// The same memory as plain arrays.
#[derive(Clone)]
struct Model(Vec<(u32, Vec<u8>)>);

impl Model {
    fn new() -> Model {
        Model(
            [0, 1, 511, 512, 1029]
                .map(|frame| (frame, vec![0; PAGE_SIZE]))
                .to_vec(),
        )
    }

    fn frame(&mut self, frame: u32) -> &mut Vec<u8> {
        &mut self.0.iter_mut().find(|known| known.0 == frame).unwrap().1
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Word(f, from, value) => {
                self.frame(f)[from..from + 8].copy_from_slice(&value.to_le_bytes());
            }
            Op::Fill(f, from, len, value) => self.frame(f)[from..from + len].fill(value),
            Op::Copy(f, from, g, to, len) => {
                let bytes = self.frame(f)[from..from + len].to_vec();
                self.frame(g)[to..to + len].copy_from_slice(&bytes);
            }
            Op::Clear(f) | Op::Release(f) => self.frame(f).fill(0),
            Op::Remember | Op::Reset => {}
        }
    }
}

fn apply(memory: &mut PhysMemory, op: &Op) {
    match *op {
        Op::Word(f, from, value) => memory.write_u64(at(f, from), value),
        Op::Fill(f, from, len, value) => memory.bytes_mut(at(f, from), len).fill(value),
        Op::Copy(f, from, g, to, len) => memory.copy(at(f, from), at(g, to), len),
        Op::Clear(f) => memory.clear(Pfn::new(f)),
        Op::Release(f) => memory.release(Pfn::new(f)),
        Op::Remember => memory.remember(),
        Op::Reset => memory.reset(),
    }
}

fn holds_together(memory: &PhysMemory) {
    let slots = || {
        memory
            .chunks
            .iter()
            .flatten()
            .flat_map(|chunk| chunk.iter())
    };
    assert_eq!(
        memory.live_held,
        slots().filter(|slot| slot.live.is_some()).count()
    );
    assert_eq!(
        memory.saved_held,
        slots().filter(|slot| slot.saved.is_some()).count()
    );
    assert_eq!(
        memory.dirty.len(),
        slots().filter(|slot| slot.dirty != 0).count()
    );
    let known = slots()
        .filter(|slot| slot.blank || slot.saved.is_some())
        .count();
    assert_eq!(memory.known.len(), known);
}

proptest! {
    /// Whatever happens, the memory reads as plain arrays would, and a reset as the arrays at
    /// the time of the last `remember`.
    #[test]
    fn memory_and_its_resets_equal_a_fresh_copy(ops in prop::collection::vec(op(), 1..80)) {
        let mut memory = PhysMemory::new(FRAMES);
        let mut model = Model::new();
        let mut remembered = None;
        for op in &ops {
            match op {
                Op::Remember => remembered = Some(model.clone()),
                Op::Reset => match &remembered {
                    Some(state) => model = state.clone(),
                    None => continue,
                },
                _ => model.apply(op),
            }
            apply(&mut memory, op);
            for (frame, bytes) in &model.0 {
                prop_assert_eq!(memory.bytes(at(*frame, 0), PAGE_SIZE), &bytes[..], "{:?}", op);
            }
            holds_together(&memory);
        }
    }
}
