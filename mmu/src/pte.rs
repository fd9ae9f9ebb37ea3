//! Page-table entries: present ones in the Sv48 format, and what the kernel keeps in the
//! others.
//!
//! ```text
//! present      63..54 must be 0 | 53..42 must be 0 here | 41..10 frame | 9 8 soft | D A G U X W R V
//! not present  63..52 must be 0 | 51..20 offset or frame | 19..12 area | 11 10 form | 9 8 soft | 0
//! ```
//!
//! Sv48 leaves the bits of an entry without V to software. As in Linux, a swapped page leaves
//! a swap entry there, and a page under migration leaves an entry that names the old frame
//! and whether it could be written.

use std::fmt;

use bitflags::bitflags;

use crate::Pfn;

bitflags! {
    /// The flag bits of an entry, where Sv48 has them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
    pub struct PteFlags: u64 {
        /// Valid: the hardware may use the entry.
        const V = 1 << 0;
        /// May be read.
        const R = 1 << 1;
        /// May be written. Without R the combination is reserved, and faults.
        const W = 1 << 2;
        /// May be executed.
        const X = 1 << 3;
        /// Belongs to user mode.
        const U = 1 << 4;
        /// Global: in every address space; survives a flush of all.
        const G = 1 << 5;
        /// Accessed; the walker sets it.
        const A = 1 << 6;
        /// Dirty; the walker sets it on a write.
        const D = 1 << 7;
        /// The kernel's to use.
        const SOFT0 = 1 << 8;
        /// The kernel's to use.
        const SOFT1 = 1 << 9;
    }
}

/// Where a swapped-out page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SwapEntry {
    /// The swap area.
    pub area: u8,
    /// The slot in the area, in pages.
    pub offset: u32,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PteKind {
    /// All zero.
    None,
    /// Present, maps a page.
    Leaf,
    /// Present, points to a table of the next level.
    Table,
    /// Not present: the page is in a swap area.
    Swap(SwapEntry),
    /// Not present: the page is moving to another frame.
    Migration {
        /// The frame it moves from.
        pfn: Pfn,
        /// Whether the mapping that it replaces could be written.
        writable: bool,
    },
    /// Anything else: reserved bits set, or permissions on an entry that is not present.
    Malformed,
}

/// A page-table entry: the raw word. Every 64-bit value is one, well formed or not, since
/// kernels with bugs write what they like.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pte(u64);

const FRAME_SHIFT: u32 = 10;
/// Bits that are zero in a present entry: no memory here has more than 2^32 frames.
const PRESENT_RESERVED: u64 = !((1 << (FRAME_SHIFT + 32)) - 1);

const FORM_SHIFT: u32 = 10;
const FORM_SWAP: u64 = 1;
const FORM_MIGRATION_READ: u64 = 2;
const FORM_MIGRATION_WRITE: u64 = 3;
const AREA_SHIFT: u32 = 12;
const OFFSET_SHIFT: u32 = 20;
const SOFT: u64 = PteFlags::SOFT0.bits() | PteFlags::SOFT1.bits();
const PERMISSIONS: u64 = PteFlags::R.bits() | PteFlags::W.bits() | PteFlags::X.bits();
/// Bits that mean something only in a leaf.
const LEAF_ONLY: u64 = PteFlags::U.bits() | PteFlags::A.bits() | PteFlags::D.bits();

impl Pte {
    /// The empty entry.
    pub const NONE: Pte = Pte(0);

    /// The entry with this raw word.
    #[inline]
    pub const fn from_raw(raw: u64) -> Pte {
        Pte(raw)
    }

    /// The raw word, as it lies in memory (little-endian there).
    #[inline]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// A present entry that maps `pfn`. V is added to `flags`; the caller gives at least R or X.
    #[inline]
    pub const fn leaf(pfn: Pfn, flags: PteFlags) -> Pte {
        Pte((pfn.get() as u64) << FRAME_SHIFT | flags.bits() | PteFlags::V.bits())
    }

    /// A present entry that points to the table in `pfn`.
    #[inline]
    pub const fn table(pfn: Pfn) -> Pte {
        Pte((pfn.get() as u64) << FRAME_SHIFT | PteFlags::V.bits())
    }

    /// The entry of a page that is in a swap area.
    #[inline]
    pub const fn swap(entry: SwapEntry) -> Pte {
        Pte(FORM_SWAP << FORM_SHIFT
            | (entry.area as u64) << AREA_SHIFT
            | (entry.offset as u64) << OFFSET_SHIFT)
    }

    /// The entry of a page that is moving away from `pfn`.
    #[inline]
    pub const fn migration(pfn: Pfn, writable: bool) -> Pte {
        let form = if writable {
            FORM_MIGRATION_WRITE
        } else {
            FORM_MIGRATION_READ
        };
        Pte(form << FORM_SHIFT | (pfn.get() as u64) << OFFSET_SHIFT)
    }

    /// Whether the word is zero.
    #[inline]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether V is set.
    #[inline]
    pub const fn present(self) -> bool {
        self.0 & PteFlags::V.bits() != 0
    }

    /// Whether it is present and has a permission, so maps a page.
    #[inline]
    pub const fn is_leaf(self) -> bool {
        self.present() && self.0 & PERMISSIONS != 0
    }

    /// Whether it is present and has no permission, so points to a table.
    #[inline]
    pub const fn is_table(self) -> bool {
        self.present() && self.0 & PERMISSIONS == 0
    }

    /// Whether the hardware faults on this present entry for its form alone: a reserved bit is
    /// set, W stands without R, or a pointer to a table has bits of a leaf.
    #[inline]
    pub const fn is_reserved_form(self) -> bool {
        let write_only = self.0 & (PteFlags::R.bits() | PteFlags::W.bits()) == PteFlags::W.bits();
        let leaf_bits_in_table = self.0 & PERMISSIONS == 0 && self.0 & LEAF_ONLY != 0;
        self.0 & PRESENT_RESERVED != 0 || write_only || leaf_bits_in_table
    }

    /// The frame that a present entry names; for others, use [`kind`](Pte::kind).
    #[inline]
    pub const fn pfn(self) -> Pfn {
        Pfn::new((self.0 >> FRAME_SHIFT) as u32)
    }

    /// The flag bits, whatever the rest of the word is.
    #[inline]
    pub const fn flags(self) -> PteFlags {
        PteFlags::from_bits_truncate(self.0)
    }

    /// Whether W is set.
    #[inline]
    pub const fn writable(self) -> bool {
        self.0 & PteFlags::W.bits() != 0
    }

    /// Whether D is set.
    #[inline]
    pub const fn dirty(self) -> bool {
        self.0 & PteFlags::D.bits() != 0
    }

    /// Whether A is set.
    #[inline]
    pub const fn accessed(self) -> bool {
        self.0 & PteFlags::A.bits() != 0
    }

    /// Whether U is set.
    #[inline]
    pub const fn user(self) -> bool {
        self.0 & PteFlags::U.bits() != 0
    }

    /// The same word with these bits set: on any word, so that a kernel which sets W on an
    /// entry that is no longer present makes the word that it would really make.
    #[inline]
    pub const fn with(self, flags: PteFlags) -> Pte {
        Pte(self.0 | flags.bits())
    }

    /// The same word with these bits cleared.
    #[inline]
    pub const fn without(self, flags: PteFlags) -> Pte {
        Pte(self.0 & !flags.bits())
    }

    /// What the word is. The software bits never change the answer, except that alone they
    /// are `Malformed`.
    pub const fn kind(self) -> PteKind {
        if self.0 == 0 {
            return PteKind::None;
        }
        if self.present() {
            return match (self.is_reserved_form(), self.is_leaf()) {
                (true, _) => PteKind::Malformed,
                (false, true) => PteKind::Leaf,
                (false, false) => PteKind::Table,
            };
        }
        self.absent_kind()
    }

    const fn absent_kind(self) -> PteKind {
        let word = self.0 & !SOFT;
        let form = word >> FORM_SHIFT & 3;
        let area = (word >> AREA_SHIFT) as u8;
        let number = (word >> OFFSET_SHIFT) as u32;
        let (kind, rebuilt) = match form {
            FORM_SWAP => {
                let entry = SwapEntry {
                    area,
                    offset: number,
                };
                (PteKind::Swap(entry), Pte::swap(entry))
            }
            FORM_MIGRATION_READ | FORM_MIGRATION_WRITE => {
                let (pfn, writable) = (Pfn::new(number), form == FORM_MIGRATION_WRITE);
                (
                    PteKind::Migration { pfn, writable },
                    Pte::migration(pfn, writable),
                )
            }
            _ => return PteKind::Malformed,
        };
        // A bit that the form has no place for would be lost by reading it back.
        if rebuilt.0 == word {
            kind
        } else {
            PteKind::Malformed
        }
    }
}

/// The letters of the permissions and marks, each `-` when clear; G and the software bits
/// only appear when set.
fn letters(flags: PteFlags, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (flag, letter) in [
        (PteFlags::R, 'r'),
        (PteFlags::W, 'w'),
        (PteFlags::X, 'x'),
        (PteFlags::U, 'u'),
        (PteFlags::A, 'a'),
        (PteFlags::D, 'd'),
    ] {
        write!(f, "{}", if flags.contains(flag) { letter } else { '-' })?;
    }
    for (flag, name) in [
        (PteFlags::G, " global"),
        (PteFlags::SOFT0, " soft0"),
        (PteFlags::SOFT1, " soft1"),
    ] {
        if flags.contains(flag) {
            f.write_str(name)?;
        }
    }
    Ok(())
}

impl fmt::Display for PteFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        letters(*self, f)
    }
}

impl fmt::Display for Pte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            PteKind::None => f.write_str("none"),
            PteKind::Leaf => write!(f, "frame {} {}", self.pfn(), self.flags()),
            PteKind::Table => write!(f, "table {}", self.pfn()),
            PteKind::Swap(entry) => write!(f, "swap {}:{}", entry.area, entry.offset),
            PteKind::Migration { pfn, writable } => {
                write!(
                    f,
                    "migration from {} {}",
                    pfn,
                    if writable { "rw" } else { "r" }
                )
            }
            PteKind::Malformed => write!(f, "malformed {:#x}", self.0),
        }
    }
}

impl fmt::Debug for Pte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pte({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RW: PteFlags = PteFlags::R.union(PteFlags::W);

    #[test]
    fn write_permission_on_an_absent_entry_is_kept_and_is_malformed() {
        let swapped = Pte::swap(SwapEntry {
            area: 1,
            offset: 77,
        });
        let bad = swapped.with(PteFlags::W);
        assert!(bad.writable() && !bad.present());
        assert_eq!(bad.kind(), PteKind::Malformed);
        assert_eq!(bad.without(PteFlags::W), swapped);
        assert_eq!(Pte::NONE.with(PteFlags::W).kind(), PteKind::Malformed);
    }

    #[test]
    fn every_flag_of_a_leaf_makes_an_absent_entry_malformed() {
        for bit in 1..=7 {
            let word = Pte::from_raw(Pte::migration(Pfn::new(5), true).raw() | 1 << bit);
            assert_eq!(word.kind(), PteKind::Malformed, "bit {bit}");
        }
    }

    #[test]
    fn software_bits_ride_along_on_a_swap_entry() {
        let entry = SwapEntry {
            area: 3,
            offset: u32::MAX,
        };
        let marked = Pte::swap(entry).with(PteFlags::SOFT0 | PteFlags::SOFT1);
        assert_eq!(marked.kind(), PteKind::Swap(entry));
    }

    #[test]
    fn write_without_read_is_reserved() {
        assert_eq!(
            Pte::leaf(Pfn::new(1), PteFlags::W).kind(),
            PteKind::Malformed
        );
        assert_eq!(Pte::leaf(Pfn::new(1), RW).kind(), PteKind::Leaf);
        assert_eq!(
            Pte::table(Pfn::new(1)).with(PteFlags::A).kind(),
            PteKind::Malformed
        );
    }

    #[test]
    fn entries_print_for_dumps() {
        let all = RW | PteFlags::X | PteFlags::U | PteFlags::A | PteFlags::D;
        for (pte, text) in [
            (Pte::NONE, "none"),
            (Pte::leaf(Pfn::new(12), all), "frame 12 rwxuad"),
            (
                Pte::leaf(Pfn::new(12), PteFlags::R | PteFlags::G),
                "frame 12 r----- global",
            ),
            (Pte::table(Pfn::new(7)), "table 7"),
            (Pte::swap(SwapEntry { area: 2, offset: 9 }), "swap 2:9"),
            (Pte::migration(Pfn::new(4), false), "migration from 4 r"),
            (Pte::from_raw(4), "malformed 0x4"),
        ] {
            assert_eq!(pte.to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn a_leaf_gives_back_its_frame_and_flags(frame: u32, bits in 0u64..1024) {
            let flags = PteFlags::from_bits_truncate(bits) | PteFlags::R;
            let pte = Pte::leaf(Pfn::new(frame), flags);
            prop_assert_eq!(pte.pfn(), Pfn::new(frame));
            prop_assert_eq!(pte.flags(), flags | PteFlags::V);
            prop_assert_eq!(pte.kind(), PteKind::Leaf);
        }

        #[test]
        fn absent_forms_give_back_what_they_hold(area: u8, number: u32, writable: bool) {
            let entry = SwapEntry { area, offset: number };
            prop_assert_eq!(Pte::swap(entry).kind(), PteKind::Swap(entry));
            let pfn = Pfn::new(number);
            let moving = Pte::migration(pfn, writable);
            prop_assert_eq!(moving.kind(), PteKind::Migration { pfn, writable });
            prop_assert!(!Pte::swap(entry).present() && !moving.present());
        }

        /// Decoding is exact: a word that decodes to a form is the one word of that form,
        /// software bits aside.
        #[test]
        fn no_two_absent_words_decode_alike(raw: u64) {
            let word = Pte::from_raw(raw).without(PteFlags::V | PteFlags::SOFT0 | PteFlags::SOFT1);
            match word.kind() {
                PteKind::Swap(entry) => prop_assert_eq!(Pte::swap(entry), word),
                PteKind::Migration { pfn, writable } => {
                    prop_assert_eq!(Pte::migration(pfn, writable), word);
                }
                PteKind::None => prop_assert_eq!(word.raw(), 0),
                kind => prop_assert_eq!(kind, PteKind::Malformed),
            }
        }
    }
}
