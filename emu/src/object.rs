//! What a step touches, and how: the vocabulary of announcements, traces and digests.

use std::fmt;

use mmu::{Pfn, PhysAddr};

/// What kind of thing an [`Object`] is. The order is part of the replay format: append only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Nothing shared: private work of one CPU.
    Private,
    /// A lock; the number is its [`LockId`](crate::LockId).
    Lock,
    /// A page-table entry; the number is its physical address.
    Pte,
    /// The bookkeeping of a frame; the number is the frame.
    Page,
    /// A 512-byte sector of memory; the number is its physical address divided by 512.
    Sector,
    /// Delivery of an interrupt to a CPU.
    Irq,
    /// A CPU's run queue.
    RunQueue,
    /// A CPU's TLB.
    Tlb,
    /// A slot in which one CPU asks others to do something.
    Call,
    /// An address space, other than what a lock of its own guards.
    Mm,
    /// A task.
    Task,
    /// A direct-I/O request.
    Request,
    /// The console.
    Console,
    /// The frame allocator.
    Zone,
    /// A file.
    File,
    /// A counter that CPUs spin on.
    Counter,
    /// A user address whose frame is found when the step is chosen.
    User,
    /// A queue of sleepers.
    Wait,
    /// What a patch registered.
    Patch,
    /// The disk: 0 is its queue, `lba + 1` a sector.
    Disk,
    /// What oracles know of a user page.
    Shadow,
    /// A swap area: 0 is its map of free slots, `slot + 1` a slot.
    Swap,
    /// A CPU's batch of pages that wait for the lists of reclaim.
    Batch,
    /// What a CPU has of its own and its interrupt handlers share.
    Cpu,
    /// What a CPU has written that others cannot see yet.
    StoreBuffer,
}

impl Kind {
    /// Every kind, by its number.
    pub const ALL: [Kind; 25] = [
        Kind::Private,
        Kind::Lock,
        Kind::Pte,
        Kind::Page,
        Kind::Sector,
        Kind::Irq,
        Kind::RunQueue,
        Kind::Tlb,
        Kind::Call,
        Kind::Mm,
        Kind::Task,
        Kind::Request,
        Kind::Console,
        Kind::Zone,
        Kind::File,
        Kind::Counter,
        Kind::User,
        Kind::Wait,
        Kind::Patch,
        Kind::Disk,
        Kind::Shadow,
        Kind::Swap,
        Kind::Batch,
        Kind::Cpu,
        Kind::StoreBuffer,
    ];

    fn word(self) -> &'static str {
        match self {
            Kind::Private => "private",
            Kind::Lock => "lock",
            Kind::Pte => "entry",
            Kind::Page => "page",
            Kind::Sector => "sector",
            Kind::Irq => "irq of cpu",
            Kind::RunQueue => "runqueue",
            Kind::Tlb => "tlb",
            Kind::Call => "call slot",
            Kind::Mm => "mm",
            Kind::Task => "task",
            Kind::Request => "request",
            Kind::Console => "console",
            Kind::Zone => "zone",
            Kind::File => "file",
            Kind::Counter => "counter",
            Kind::User => "user",
            Kind::Wait => "waitqueue",
            Kind::Patch => "patch object",
            Kind::Disk => "disk",
            Kind::Shadow => "shadow of page",
            Kind::Cpu => "cpu",
            Kind::Swap => "swap slot",
            Kind::Batch => "page batch of cpu",
            Kind::StoreBuffer => "store buffer of cpu",
        }
    }
}

/// A thing that steps touch: a kind and a number, in one word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object(u64);

impl Object {
    const NUMBER: u64 = (1 << 56) - 1;

    /// The object `number` of `kind`; numbers have 56 bits.
    #[inline]
    pub const fn new(kind: Kind, number: u64) -> Object {
        Object((kind as u64) << 56 | (number & Object::NUMBER))
    }

    /// The page-table entry at `at`.
    #[inline]
    pub const fn pte(at: PhysAddr) -> Object {
        Object::new(Kind::Pte, at.get())
    }

    /// The bookkeeping of frame `pfn`.
    #[inline]
    pub const fn page(pfn: Pfn) -> Object {
        Object::new(Kind::Page, pfn.get() as u64)
    }

    /// The 512-byte sector of memory that holds `at`.
    #[inline]
    pub const fn sector(at: PhysAddr) -> Object {
        Object::new(Kind::Sector, at.get() / mmu::SECTOR_SIZE as u64)
    }

    /// The object of [`Object::raw`].
    pub(crate) const fn from_raw(raw: u64) -> Object {
        Object(raw)
    }

    /// Private work.
    pub const PRIVATE: Object = Object::new(Kind::Private, 0);

    /// The kind.
    #[inline]
    pub const fn kind(self) -> Kind {
        Kind::ALL[(self.0 >> 56) as usize]
    }

    /// The number within the kind.
    #[inline]
    pub const fn number(self) -> u64 {
        self.0 & Object::NUMBER
    }

    /// Kind and number as one word.
    #[inline]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The frame that holds it, for entries, sectors and bookkeeping.
    pub fn frame(self) -> Option<Pfn> {
        match self.kind() {
            Kind::Page => Some(Pfn::new(self.number() as u32)),
            Kind::Sector => Some(Pfn::new((self.number() / 8) as u32)),
            Kind::Pte => Some(PhysAddr::new(self.number()).pfn()),
            _ => None,
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, number) = (self.kind().word(), self.number());
        match self.kind() {
            Kind::Private => f.write_str(word),
            Kind::Pte | Kind::User => write!(f, "{word} {number:#x}"),
            Kind::Page => write!(f, "{word} of frame {number}"),
            Kind::Sector => write!(f, "frame {} sector {}", number / 8, number % 8),
            _ => write!(f, "{word} {number}"),
        }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a step touches its object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Access {
    /// Reads it.
    Read,
    /// Writes it.
    Write,
    /// Reads and writes it in one indivisible operation.
    Update,
    /// Takes the lock.
    Lock,
    /// Releases the lock.
    Unlock,
}

impl Access {
    /// Whether the object may have changed after it.
    #[inline]
    pub const fn writes(self) -> bool {
        !matches!(self, Access::Read)
    }

    /// The access with this number, for replay files.
    pub const fn from_number(number: u8) -> Option<Access> {
        Some(match number {
            0 => Access::Read,
            1 => Access::Write,
            2 => Access::Update,
            3 => Access::Lock,
            4 => Access::Unlock,
            _ => return None,
        })
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Read => "read",
            Access::Write => "write",
            Access::Update => "update",
            Access::Lock => "lock",
            Access::Unlock => "unlock",
        })
    }
}

/// How a step's touch of an object stands to others, for exploration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Touch {
    /// It reads: the order among reads does not matter.
    Read,
    /// It changes the object so that the order among such changes does not matter either, and
    /// learns nothing from it: one's own bit in a mask, a count that somebody else waits for.
    Adjust,
    /// Its order matters.
    Write,
    /// It releases a lock.
    Unlock,
}

impl From<Access> for Touch {
    #[inline]
    fn from(access: Access) -> Touch {
        match access {
            Access::Read => Touch::Read,
            Access::Unlock => Touch::Unlock,
            Access::Write | Access::Update | Access::Lock => Touch::Write,
        }
    }
}

impl Touch {
    /// Whether the order of two touches of one object does not matter.
    #[inline]
    pub fn commutes(self, other: Touch) -> bool {
        self == other && matches!(self, Touch::Read | Touch::Adjust)
    }

    /// Whether the object may have changed after it.
    #[inline]
    pub const fn writes(self) -> bool {
        !matches!(self, Touch::Read)
    }

    /// What two touches by one step come to.
    #[must_use]
    pub fn and(self, other: Touch) -> Touch {
        if self == other { self } else { Touch::Write }
    }
}

/// A step's result as the digest sees it.
pub trait Word {
    /// The value folded into the digest.
    fn word(&self) -> u64;
}

macro_rules! word_from_integer {
    ($($t:ty),*) => { $(impl Word for $t { #[inline] fn word(&self) -> u64 { *self as u64 } })* };
}
word_from_integer!(u8, u16, u32, u64, usize, i32, i64, bool);

impl Word for () {
    #[inline]
    fn word(&self) -> u64 {
        0
    }
}

impl Word for mmu::Pte {
    #[inline]
    fn word(&self) -> u64 {
        self.raw()
    }
}

impl Word for Pfn {
    #[inline]
    fn word(&self) -> u64 {
        u64::from(self.get())
    }
}

impl Word for crate::ThreadId {
    #[inline]
    fn word(&self) -> u64 {
        u64::from(self.0)
    }
}

impl<T: Word> Word for Option<T> {
    #[inline]
    fn word(&self) -> u64 {
        self.as_ref().map_or(u64::MAX, Word::word)
    }
}

impl<T: Word, E: Word> Word for Result<T, E> {
    #[inline]
    fn word(&self) -> u64 {
        match self {
            Ok(value) => value.word(),
            Err(error) => !error.word(),
        }
    }
}

impl<T: Word, U: Word> Word for (T, U) {
    #[inline]
    fn word(&self) -> u64 {
        self.0.word().rotate_left(32) ^ self.1.word().wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl<T: Word> Word for Vec<T> {
    fn word(&self) -> u64 {
        self.iter().fold(self.len() as u64, |hash, item| {
            (hash.rotate_left(7) ^ item.word()).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_listed_by_their_numbers() {
        for (number, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
            assert_eq!(Object::new(kind, 77).kind(), kind);
            assert_eq!(Object::new(kind, 77).number(), 77);
        }
    }

    #[test]
    fn objects_read_as_a_person_would_name_them() {
        assert_eq!(Object::page(Pfn::new(12)).to_string(), "page of frame 12");
        assert_eq!(
            Object::sector(PhysAddr::new(12 * 4096 + 512)).to_string(),
            "frame 12 sector 1"
        );
    }
}
