use proptest::prelude::*;

use super::*;
use crate::DiskTiming;

const FRAMES: u32 = 4;
const SECTORS: u64 = FRAMES as u64 * 8;

fn disk() -> Disk {
    Disk::new(DiskTiming {
        access_cycles: 0,
        sequential_cycles: 0,
        sector_cycles: 0,
        queue: 4,
        max_request_sectors: 64,
    })
}

fn segment(addr: u64, len: u32) -> Segment {
    Segment {
        addr: PhysAddr::new(addr),
        len,
    }
}

/// A sector that says which it is.
fn stamp(number: u64) -> [u8; SECTOR_SIZE] {
    std::array::from_fn(|i| (number.wrapping_mul(31) as u8) ^ (i as u8))
}

fn memory_sector(mem: &PhysMemory, number: u64) -> [u8; SECTOR_SIZE] {
    *sector(mem, PhysAddr::new(number * SECTOR_SIZE as u64))
}

fn disk_sector(disk: &Disk, lba: u64) -> [u8; SECTOR_SIZE] {
    let mut sector = [0; SECTOR_SIZE];
    disk.read_sector(lba, &mut sector);
    sector
}

#[test]
fn segments_that_are_not_whole_sectors_are_refused_by_name() {
    let new = |segments| Transfer::new(7, Direction::ToMemory, 0, segments).unwrap_err();
    assert_eq!(new(vec![]), DmaError::Empty { id: 7 });
    assert_eq!(
        new(vec![segment(0, 512), segment(512, 0)]),
        DmaError::EmptySegment { id: 7, segment: 1 }
    );
    assert_eq!(
        new(vec![segment(0x201, 512)]),
        DmaError::MisalignedAddress {
            id: 7,
            segment: 0,
            addr: 0x201
        }
    );
    assert_eq!(
        new(vec![segment(0x200, 511)]),
        DmaError::MisalignedLength {
            id: 7,
            segment: 0,
            len: 511
        }
    );
}

#[test]
fn a_transfer_past_the_last_address_is_refused() {
    let last = u64::MAX - 511;
    let new = |lba, segments| Transfer::new(7, Direction::ToMemory, lba, segments);
    let refused = Err(DmaError::OutOfRange { id: 7, segment: 0 });
    assert_eq!(new(0, vec![segment(last, 512)]), refused);
    assert_eq!(new(u64::MAX, vec![segment(0, 512)]), refused);
    assert!(new(u64::MAX - 1, vec![segment(last - 512, 512)]).is_ok());
}

#[test]
fn the_lowest_free_slot_is_used_again() {
    let one = || Transfer::new(1, Direction::ToMemory, 0, vec![segment(0, 512)]).unwrap();
    let mut engine = DmaEngine::new(2);
    let (mut mem, mut disk) = (PhysMemory::new(FRAMES), disk());
    assert_eq!([engine.start(one()), engine.start(one())], [0, 1]);
    assert!(engine.advance(0, &mut mem, &mut disk).last);
    assert_eq!(engine.next_sector(0), None);
    assert_eq!(engine.finish(0), one());
    assert_eq!(engine.transfer(0), None);
    assert_eq!(engine.start(one()), 0);
    engine.clear();
    assert_eq!(engine, DmaEngine::new(2));
}

#[test]
#[should_panic(expected = "after 1 of 2 sectors")]
fn finishing_before_the_last_sector_is_a_bug_of_the_machine() {
    let two = Transfer::new(1, Direction::ToMemory, 0, vec![segment(0, 1024)]).unwrap();
    let mut engine = DmaEngine::new(1);
    let slot = engine.start(two);
    engine.advance(slot, &mut PhysMemory::new(FRAMES), &mut disk());
    engine.finish(slot);
}

#[test]
#[should_panic(expected = "no sector is left")]
fn moving_more_than_the_transfer_has_is_a_bug_of_the_machine() {
    DmaEngine::new(1).advance(0, &mut PhysMemory::new(FRAMES), &mut disk());
}

#[test]
fn a_store_between_two_sectors_reaches_the_disk_only_where_it_is_ahead_of_the_transfer() {
    let two = Transfer::new(1, Direction::FromMemory, 0, vec![segment(0, 1024)]).unwrap();
    let mut engine = DmaEngine::new(1);
    let (mut mem, mut disk) = (PhysMemory::new(FRAMES), disk());
    let slot = engine.start(two);
    engine.advance(slot, &mut mem, &mut disk);
    mem.bytes_mut(PhysAddr::new(0), 1024).fill(9);
    engine.advance(slot, &mut mem, &mut disk);
    assert_eq!(disk_sector(&disk, 0), [0; SECTOR_SIZE]);
    assert_eq!(disk_sector(&disk, 1), [9; SECTOR_SIZE]);
}

proptest! {
    #[test]
    fn each_sector_moves_once_and_nothing_else_does(
        to_memory in any::<bool>(),
        lba in 0..100u64,
        // Cuts memory into segments of 1 to 8 sectors, and keeps some of them.
        cuts in proptest::collection::vec((1..=8u64, any::<bool>()), 1..30),
        reversed in any::<bool>(),
    ) {
        let mut segments = Vec::new();
        let mut at = 0;
        for (sectors, kept) in cuts {
            let sectors = sectors.min(SECTORS - at);
            if kept && sectors > 0 {
                segments.push(segment(at * 512, sectors as u32 * 512));
            }
            at += sectors;
        }
        prop_assume!(!segments.is_empty());
        if reversed {
            segments.reverse();
        }
        // The same list, spelled out sector by sector.
        let expected: Vec<u64> = segments
            .iter()
            .flat_map(|s| s.addr.get() / 512..s.addr.get() / 512 + u64::from(s.len) / 512)
            .collect();

        let (mut mem, mut disk) = (PhysMemory::new(FRAMES), disk());
        for i in 0..SECTORS {
            *sector_mut(&mut mem, PhysAddr::new(i * 512)) = stamp(i);
            disk.write_sector(lba + i, &stamp(100 + i));
        }
        let direction = if to_memory { Direction::ToMemory } else { Direction::FromMemory };
        let transfer = Transfer::new(3, direction, lba, segments).unwrap();
        prop_assert_eq!(transfer.sectors() as usize, expected.len());
        let mut engine = DmaEngine::new(2);
        let slot = engine.start(transfer.clone());
        for (i, place) in expected.iter().enumerate() {
            let announced = engine.next_sector(slot);
            let moved = engine.advance(slot, &mut mem, &mut disk);
            prop_assert_eq!(announced, Some(moved));
            prop_assert_eq!(moved, Moved {
                sector: i as u32,
                addr: PhysAddr::new(place * 512),
                lba: lba + i as u64,
                direction,
                last: i + 1 == expected.len(),
            });
        }
        prop_assert_eq!(engine.finish(slot), transfer);

        for place in 0..SECTORS {
            let index = expected.iter().position(|p| *p == place).filter(|_| to_memory);
            let held = index.map_or(stamp(place), |i| stamp(100 + i as u64));
            prop_assert_eq!(memory_sector(&mem, place), held);
        }
        for i in 0..SECTORS {
            let source = expected.get(i as usize).filter(|_| !to_memory);
            let held = source.map_or(stamp(100 + i), |place| stamp(*place));
            prop_assert_eq!(disk_sector(&disk, lba + i), held);
        }
    }
}
