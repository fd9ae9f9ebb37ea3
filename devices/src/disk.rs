//! A disk: when its sectors pass under the head, and what they hold.

mod contents;

use std::fmt;

use mmu::SECTOR_SIZE;

use contents::Contents;

/// What the disk costs, in cycles of the machine's clock, and what it takes at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskTiming {
    /// Cycles from the start of a request to its first sector, when the head must move.
    pub access_cycles: u64,
    /// The same when the request goes on where the one before it ended.
    pub sequential_cycles: u64,
    /// Cycles a sector takes to pass under the head.
    pub sector_cycles: u64,
    /// Requests accepted and not yet completed, at most.
    pub queue: usize,
    /// Sectors of one request, at most. Splitting longer ones is the block layer's work.
    pub max_request_sectors: u32,
}

/// When the sectors of an accepted request are under the head: sector `i` is done at
/// `first_sector_at + i * sector_cycles`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// The cycle at which the first sector has passed under the head.
    pub first_sector_at: u64,
    /// Cycles from one sector to the next.
    pub sector_cycles: u64,
}

impl Schedule {
    /// The cycle at which sector `index` of the request has passed under the head.
    #[inline]
    pub fn sector_at(&self, index: u32) -> u64 {
        self.first_sector_at
            .saturating_add(self.sector_cycles.saturating_mul(u64::from(index)))
    }
}

/// The disk has as many requests as it takes at once; it takes another after
/// [`Disk::complete`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the disk's queue is full: {queue} requests are in flight, complete one first")]
pub struct QueueFull {
    /// The length of the queue.
    pub queue: usize,
}

/// The part of a disk that is small and changes with every request.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Drive {
    in_flight: usize,
    /// The cycle at which the last accepted request ends.
    busy_until: u64,
    /// The sector after the last accepted request; `None` before the first.
    head: Option<u64>,
    /// The first sector that no extent was allocated from.
    free_from: u64,
}

/// One disk with one head, which serves requests in the order in which they come.
///
/// A request is *sequential* when it begins at the sector where the one before it ends, and the
/// disk was not idle between them for longer than one access takes: until then the head has not
/// been called away. Any other request, the first included, pays a full access.
///
/// Addresses are in sectors of 512 bytes. Any `lba` may be read or written; what was never
/// written is zeros and takes no memory of the host.
///
/// ```
/// use devices::{Disk, DiskTiming};
///
/// let mut disk = Disk::new(DiskTiming {
///     access_cycles: 1_000,
///     sequential_cycles: 0,
///     sector_cycles: 10,
///     queue: 2,
///     max_request_sectors: 1_024,
/// });
/// let file = disk.alloc(16);
/// disk.fill(file, 16, 0xaa);
/// let seek = disk.submit(0, file, 8, 0)?;
/// let next = disk.submit(0, file + 8, 8, 0)?;
/// assert_eq!(seek.first_sector_at, 1_010);
/// assert_eq!(next.first_sector_at, seek.sector_at(7) + 10);
/// assert!(disk.submit(0, 0, 8, 0).is_err());
/// # Ok::<(), devices::QueueFull>(())
/// ```
pub struct Disk {
    timing: DiskTiming,
    drive: Drive,
    contents: Contents,
    /// What [`reset`](Disk::reset) goes back to.
    remembered: Drive,
}

impl Disk {
    /// An idle disk of zeros.
    pub fn new(timing: DiskTiming) -> Disk {
        Disk {
            timing,
            drive: Drive::default(),
            contents: Contents::default(),
            remembered: Drive::default(),
        }
    }

    /// What the disk costs.
    #[inline]
    pub fn timing(&self) -> &DiskTiming {
        &self.timing
    }

    /// Queues a request for `sectors` sectors from `lba` on and says when each will be under the
    /// head. `jitter` cycles are added to the access, which never becomes negative.
    ///
    /// # Errors
    ///
    /// [`QueueFull`] when no place is free; nothing has changed then.
    ///
    /// # Panics
    ///
    /// If `sectors` is 0 or above [`DiskTiming::max_request_sectors`].
    pub fn submit(
        &mut self,
        now: u64,
        lba: u64,
        sectors: u32,
        jitter: i64,
    ) -> Result<Schedule, QueueFull> {
        let most = self.timing.max_request_sectors;
        assert!(
            (1..=most).contains(&sectors),
            "a request of {sectors} sectors at {lba}; the disk takes 1 to {most}"
        );
        if self.drive.in_flight >= self.timing.queue {
            return Err(QueueFull {
                queue: self.timing.queue,
            });
        }
        let start = now.max(self.drive.busy_until);
        let idle = start - self.drive.busy_until;
        let sequential = self.drive.head == Some(lba) && idle <= self.timing.access_cycles;
        let access = match sequential {
            true => self.timing.sequential_cycles,
            false => self.timing.access_cycles,
        };
        let schedule = Schedule {
            first_sector_at: start
                .saturating_add(access.saturating_add_signed(jitter))
                .saturating_add(self.timing.sector_cycles),
            sector_cycles: self.timing.sector_cycles,
        };
        self.drive.in_flight += 1;
        self.drive.busy_until = schedule.sector_at(sectors - 1);
        self.drive.head = lba.checked_add(u64::from(sectors));
        Ok(schedule)
    }

    /// A request is done; its place in the queue is free.
    ///
    /// # Panics
    ///
    /// If no request is in flight.
    pub fn complete(&mut self) {
        assert!(
            self.drive.in_flight > 0,
            "completed a disk request, but none is in flight"
        );
        self.drive.in_flight -= 1;
    }

    /// Requests accepted and not yet completed.
    #[inline]
    pub fn in_flight(&self) -> usize {
        self.drive.in_flight
    }

    /// Copies the sector at `lba` to `into`.
    #[inline]
    pub fn read_sector(&self, lba: u64, into: &mut [u8; SECTOR_SIZE]) {
        self.contents.read_sector(lba, into);
    }

    /// Replaces the sector at `lba`.
    #[inline]
    pub fn write_sector(&mut self, lba: u64, from: &[u8; SECTOR_SIZE]) {
        self.contents.write_sector(lba, from);
    }

    /// Sets each byte of `sectors` sectors from `lba` on. Whole blocks of 4 KiB take 16 bytes of
    /// the host.
    pub fn fill(&mut self, lba: u64, sectors: u64, byte: u8) {
        self.contents.fill(lba, sectors, byte);
    }

    /// Reserves `sectors` consecutive sectors that no other extent has, and says where they
    /// begin: always at a block of 4 KiB, as a file system lays them out. Their contents are
    /// left as they are.
    ///
    /// # Panics
    ///
    /// If no extent of that length is left in the 2^64 sectors of the disk.
    pub fn alloc(&mut self, sectors: u64) -> u64 {
        let lba = self.drive.free_from;
        self.drive.free_from = lba
            .checked_add(sectors)
            .and_then(|end| end.checked_next_multiple_of(contents::BLOCK_SECTORS))
            .unwrap_or_else(|| panic!("no extent of {sectors} sectors is left from {lba} on"));
        lba
    }

    /// Remembers the contents, the extents, the head and the queue for [`reset`](Self::reset).
    /// From now on each block is copied before its first change.
    pub fn remember(&mut self) {
        self.remembered = self.drive;
        self.contents.remember();
    }

    /// Goes back to what [`remember`](Self::remember) saw last; without one, to the empty disk.
    /// Takes time in proportion to the blocks changed since.
    pub fn reset(&mut self) {
        self.drive = self.remembered;
        self.contents.reset();
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("timing", &self.timing)
            .field("drive", &self.drive)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIMING: DiskTiming = DiskTiming {
        access_cycles: 1_000,
        sequential_cycles: 30,
        sector_cycles: 10,
        queue: 4,
        max_request_sectors: 64,
    };

    #[test]
    fn a_request_where_the_last_one_ends_pays_no_access() {
        let mut disk = Disk::new(TIMING);
        let first = disk.submit(500, 80, 8, 0).unwrap();
        assert_eq!(first.first_sector_at, 500 + 1_000 + 10);
        let end = first.sector_at(7);
        let next = disk.submit(500, 88, 8, 0).unwrap();
        assert_eq!(next.first_sector_at, end + 30 + 10);
        // The same sectors again lie behind the head.
        let again = disk.submit(500, 88, 8, 0).unwrap();
        assert_eq!(again.first_sector_at, next.sector_at(7) + 1_000 + 10);
    }

    #[test]
    fn the_head_waits_in_place_for_one_access_time_and_no_longer() {
        for (idle, access) in [(1_000, 30), (1_001, 1_000)] {
            let mut disk = Disk::new(TIMING);
            let end = disk.submit(0, 0, 8, 0).unwrap().sector_at(7);
            disk.complete();
            let next = disk.submit(end + idle, 8, 8, 0).unwrap();
            assert_eq!(next.first_sector_at, end + idle + access + 10);
        }
    }

    #[test]
    fn the_first_request_pays_an_access_even_at_sector_zero() {
        let schedule = Disk::new(TIMING).submit(0, 0, 1, 0).unwrap();
        assert_eq!(schedule.first_sector_at, 1_010);
    }

    #[test]
    fn a_full_queue_refuses_until_a_request_completes() {
        let mut disk = Disk::new(TIMING);
        for _ in 0..4 {
            disk.submit(0, 0, 1, 0).unwrap();
        }
        assert_eq!(disk.submit(0, 0, 1, 0), Err(QueueFull { queue: 4 }));
        assert_eq!(disk.in_flight(), 4);
        disk.complete();
        assert!(disk.submit(0, 0, 1, 0).is_ok());
    }

    #[test]
    fn jitter_never_makes_an_access_negative() {
        let mut disk = Disk::new(TIMING);
        assert_eq!(disk.submit(0, 0, 1, i64::MIN).unwrap().first_sector_at, 10);
        assert_eq!(
            disk.submit(0, 500, 1, -400).unwrap().first_sector_at,
            10 + 600 + 10
        );
    }

    #[test]
    #[should_panic(expected = "none is in flight")]
    fn completing_more_than_was_submitted_is_a_bug_of_the_machine() {
        Disk::new(TIMING).complete();
    }

    #[test]
    fn extents_are_disjoint_and_begin_at_blocks() {
        let mut disk = Disk::new(TIMING);
        assert_eq!([disk.alloc(3), disk.alloc(8), disk.alloc(9)], [0, 8, 16]);
        assert_eq!(disk.alloc(1), 32);
    }

    #[test]
    fn a_reset_brings_back_the_head_the_queue_and_the_extents() {
        let mut disk = Disk::new(TIMING);
        disk.alloc(8);
        disk.submit(0, 0, 8, 0).unwrap();
        disk.remember();
        let run = |disk: &mut Disk| (disk.alloc(8), disk.submit(0, 8, 8, 3), disk.in_flight());
        let before = run(&mut disk);
        disk.reset();
        assert_eq!(run(&mut disk), before);
        assert_eq!(before.2, 2);
    }

    proptest! {
        #[test]
        fn two_sectors_are_never_under_the_head_at_once(
            requests in proptest::collection::vec(
                (0..3_000u64, 0..4u64, 1..=64u32, -1_200..1_200i64, any::<bool>()), 1..60),
        ) {
            let mut disk = Disk::new(TIMING);
            let mut now = 0;
            let mut free_at = 0;
            for (wait, place, sectors, jitter, complete) in requests {
                now += wait;
                if complete && disk.in_flight() > 0 {
                    disk.complete();
                }
                let full = disk.in_flight() == TIMING.queue;
                let submitted = disk.submit(now, place * 64, sectors, jitter);
                prop_assert_eq!(submitted.is_err(), full);
                let Ok(schedule) = submitted else { continue };
                // A sector occupies the head for `sector_cycles` before it is done.
                prop_assert!(schedule.first_sector_at >= free_at + TIMING.sector_cycles);
                prop_assert!(schedule.first_sector_at >= now + TIMING.sector_cycles);
                free_at = schedule.sector_at(sectors - 1);
            }
        }
    }
}
