//! A CPU's translation lookaside buffer: two levels, set-associative, tagged with an address
//! space identifier, for pages of 4 KiB and 2 MiB.
//!
//! An entry is a copy of what a walk found, and nothing here looks at a page table again: an
//! entry stays, right or wrong, until it is flushed or replaced.
//!
//! The levels are exclusive: an entry is in one of them. A fill goes to the first; what it
//! replaces there moves to the second; a hit in the second changes places with an entry of
//! the first. So a change to an entry never leaves an older copy behind. Dead entries are
//! filled first; then replacement is round-robin in each set.
//!
//! Each address space has a *key*, a number used once. A flush of the whole TLB, or of one
//! address space, gives out new keys, and all entries under the old ones are dead at once:
//! no array is cleared. Global entries have a key of their own.
//!
//! Not modelled: separate TLBs for instructions, sharing between hyperthreads, and
//! speculative fills (they are the caller's to make).

use std::fmt;

use crate::addr::{PageSize, Pfn, PhysAddr, VirtAddr, Vpn};
use crate::pte::PteFlags;
use crate::tlb_bank::{Bank, Journal, NO_KEY, Tag, tag_page};

/// Ways of the first level's array for large pages, or fewer if it has fewer entries.
const LARGE_WAYS: u16 = 4;
/// The key of an address space that has no entries: no tag bears it.
const UNUSED_KEY: u64 = u64::MAX;
/// No page has this number.
const NO_LAST: (u64, usize) = (u64::MAX, 0);
/// The arrays of a TLB.
const FIRST: usize = 0;
const FIRST_LARGE: usize = 1;
const SECOND: usize = 2;

/// The shape of a TLB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TlbGeometry {
    /// Entries of the first level, for 4 KiB pages.
    pub l1_entries: u16,
    /// How many of them a page can be in.
    pub l1_ways: u16,
    /// Entries of the second level, for pages of both sizes; 0 if there is none.
    pub l2_entries: u16,
    /// How many of them a page can be in; of no meaning if there is no second level.
    pub l2_ways: u16,
    /// Entries of the first level for 2 MiB pages, in sets of four.
    pub large_entries: u16,
}

impl TlbGeometry {
    /// Whether a TLB can have this shape.
    ///
    /// # Errors
    /// A sentence that names what is wrong, its value, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        check_array("l1_entries", self.l1_entries, "l1_ways", self.l1_ways)?;
        if self.l2_entries > 0 {
            check_array("l2_entries", self.l2_entries, "l2_ways", self.l2_ways)?;
        }
        let large = self.large_entries;
        if !large.is_power_of_two() {
            return Err(format!(
                "large_entries is {large}: it must be a power of two (1, 2, 4 ...)"
            ));
        }
        Ok(())
    }
}

fn check_array(entries_name: &str, entries: u16, ways_name: &str, ways: u16) -> Result<(), String> {
    if entries == 0 {
        return Err(format!("{entries_name} is 0: it must be at least 1"));
    }
    if ways == 0 || ways > entries {
        return Err(format!(
            "{ways_name} is {ways}: it must be from 1 to {entries_name} ({entries})"
        ));
    }
    let sets = entries / ways;
    if !entries.is_multiple_of(ways) || !sets.is_power_of_two() {
        let below = u32::from(ways) << sets.ilog2();
        return Err(format!(
            "{entries_name} is {entries}, in sets of {ways} ({ways_name}): \
             it must be {ways_name} times a power of two, such as {below} or {}",
            2 * below,
        ));
    }
    Ok(())
}

/// A cached translation.
///
/// For a large page `vpn` and `pfn` are the first of its 512; [`frame`](Self::frame) does the
/// sum. Whoever gets an entry from [`Tlb::lookup`] may change flags (all but G) and stamps;
/// page and address space are what it is found by, and stay as they were filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TlbEntry {
    /// The page.
    pub vpn: Vpn,
    /// The address space; of no meaning for a global entry.
    pub asid: u16,
    /// The frame.
    pub pfn: Pfn,
    /// The size of page and frame.
    pub size: PageSize,
    /// The flags of the page-table entry when it was read; with G the entry is global.
    pub flags: PteFlags,
    /// When it was filled, in the caller's own count.
    pub filled: u64,
    /// When it was last found to be right, in the caller's own count.
    pub verified: u64,
}

impl TlbEntry {
    /// The 4 KiB frame of a 4 KiB page that the entry covers.
    #[inline]
    pub fn frame(&self, vpn: Vpn) -> Pfn {
        match self.size {
            PageSize::Small => self.pfn,
            PageSize::Large => self.pfn + vpn.index_in_large(),
        }
    }

    /// The physical address of a byte that the entry covers.
    #[inline]
    pub fn translate(&self, va: VirtAddr) -> PhysAddr {
        self.frame(va.page()).base() + va.offset() as u64
    }

    /// Whether the entry's page contains this 4 KiB page.
    #[inline]
    pub fn covers(&self, vpn: Vpn) -> bool {
        match self.size {
            PageSize::Small => self.vpn == vpn,
            PageSize::Large => self.vpn == vpn.large_down(),
        }
    }

    fn tag_page(&self) -> u64 {
        tag_page(self.vpn, self.size)
    }
}

impl fmt::Display for TlbEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TlbEntry {
            vpn,
            asid,
            pfn,
            size,
            flags,
            ..
        } = self;
        write!(
            f,
            "asid {asid} {} {size} -> frame {pfn} {flags}",
            vpn.base()
        )
    }
}

/// Where an entry was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlbLevel {
    /// In the first level.
    First,
    /// In the second; it is in the first now.
    Second,
}

/// What a TLB has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct TlbStats {
    /// Lookups that the first level answered.
    pub hits_l1: u64,
    /// Lookups that the second level answered.
    pub hits_l2: u64,
    /// Lookups that found nothing.
    pub misses: u64,
    /// Entries filled.
    pub fills: u64,
    /// Flushes of everything, global entries included or not.
    pub flushes_full: u64,
    /// Flushes of one address space.
    pub flushes_asid: u64,
    /// Flushes of one page.
    pub flushes_page: u64,
}

/// The keys of the address spaces: which tags are alive.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Keys {
    /// Sorted by address space; one that is not here has no entries.
    by_asid: Vec<(u16, u64)>,
    global: u64,
    next: u64,
}

impl Keys {
    fn get(&self, asid: u16) -> Option<u64> {
        let at = self
            .by_asid
            .binary_search_by_key(&asid, |known| known.0)
            .ok()?;
        Some(self.by_asid[at].1)
    }

    /// The key of the address space; whether it is a new one.
    fn get_or_make(&mut self, asid: u16) -> (u64, bool) {
        match self.by_asid.binary_search_by_key(&asid, |known| known.0) {
            Ok(at) => (self.by_asid[at].1, false),
            Err(at) => {
                let key = self.fresh();
                self.by_asid.insert(at, (asid, key));
                (key, true)
            }
        }
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    #[inline]
    fn live(&self, tag: &Tag, entry: &TlbEntry) -> bool {
        tag.key != NO_KEY && (tag.key == self.global || self.get(entry.asid) == Some(tag.key))
    }
}

/// The translation lookaside buffer of one CPU.
#[derive(Clone, Debug)]
pub struct Tlb {
    banks: [Bank; 3],
    keys: Keys,
    /// The address space looked up last, and its key or `UNUSED_KEY`. `None` when unknown.
    current: (Option<u16>, u64),
    /// The page of the last hit in the first level, while it would be found at the same place.
    last: (u64, usize),
    /// Whether there ever was a global entry, and one of a large page.
    seen: (bool, bool),
    stats: TlbStats,
    journal: Journal,
    remembered: (Keys, TlbStats),
    /// Whether `keys` may differ from what is remembered.
    keys_changed: bool,
}

impl Tlb {
    /// An empty TLB of this shape.
    ///
    /// # Panics
    /// If [`TlbGeometry::check`] does not accept it: who takes a shape from a user asks first.
    pub fn new(geometry: &TlbGeometry) -> Tlb {
        if let Err(why) = geometry.check() {
            panic!("{why}");
        }
        let bank = |id: usize, entries: u16, ways: u16| {
            Bank::new(id as u8, entries as usize, ways as usize)
        };
        let large = geometry.large_entries;
        let keys = Keys {
            by_asid: Vec::new(),
            global: NO_KEY + 1,
            next: NO_KEY + 2,
        };
        Tlb {
            banks: [
                bank(FIRST, geometry.l1_entries, geometry.l1_ways),
                bank(FIRST_LARGE, large, large.min(LARGE_WAYS)),
                bank(SECOND, geometry.l2_entries, geometry.l2_ways),
            ],
            remembered: (keys.clone(), TlbStats::default()),
            keys,
            current: (None, UNUSED_KEY),
            last: NO_LAST,
            seen: (false, false),
            stats: TlbStats::default(),
            journal: Journal::default(),
            keys_changed: false,
        }
    }

    /// What [`lookup`](Self::lookup) returns if it is a small page of the first level that allows
    /// all of `need`; else nothing, and nothing is counted.
    #[inline(always)]
    pub fn hit(&mut self, asid: u16, vpn: Vpn, need: PteFlags) -> Option<&mut TlbEntry> {
        if self.current.0 != Some(asid) {
            return None;
        }
        let page = tag_page(vpn, PageSize::Small);
        let at = if self.last.0 == page {
            self.last.1
        } else {
            self.banks[FIRST].find(page, self.current.1, self.keys.global)?
        };
        let entry = self.banks[FIRST].entry_mut(at, &mut self.journal);
        if !entry.flags.contains(need) {
            return None;
        }
        self.last = (page, at);
        self.stats.hits_l1 += 1;
        Some(entry)
    }

    /// The entry for a page, and the level that had it. If entries of both sizes cover the
    /// page (a large page was split and not flushed), the small one of the first level is
    /// found first.
    #[inline]
    pub fn lookup(&mut self, asid: u16, vpn: Vpn) -> Option<(&mut TlbEntry, TlbLevel)> {
        if self.current.0 != Some(asid) {
            self.select(asid);
        }
        let page = tag_page(vpn, PageSize::Small);
        match self.banks[FIRST].find(page, self.current.1, self.keys.global) {
            Some(at) => {
                self.stats.hits_l1 += 1;
                let entry = self.banks[FIRST].entry_mut(at, &mut self.journal);
                Some((entry, TlbLevel::First))
            }
            None => self.lookup_further(vpn),
        }
    }

    /// Puts in a translation, in place of an older one of the same page and size. Of a large
    /// page, any of its small pages may be given, with its frame.
    pub fn fill(&mut self, entry: TlbEntry) {
        let mut entry = entry;
        if entry.size == PageSize::Large {
            self.seen.1 = true;
            let index = entry.vpn.index_in_large();
            let first = entry.pfn.get().checked_sub(index);
            entry.pfn = Pfn::new(first.expect("a large page starts within memory"));
            entry.vpn = entry.vpn.large_down();
        }
        self.stats.fills += 1;
        let (key, new) = self.key_for_fill(&entry);
        let page = entry.tag_page();
        for bank in self.banks.iter_mut().filter(|_| !new) {
            if let Some(at) = bank.find(page, key, key) {
                bank.take(at, &mut self.journal);
            }
        }
        self.insert_first(Tag { page, key }, entry);
    }

    /// Flushes everything that is not global, in constant time.
    pub fn flush_all(&mut self) {
        self.stats.flushes_full += 1;
        self.retire_asids();
    }

    /// Flushes everything, in constant time.
    pub fn flush_everything(&mut self) {
        self.stats.flushes_full += 1;
        self.retire_asids();
        self.keys.global = self.keys.fresh();
    }

    /// Flushes one address space, global entries excepted.
    pub fn flush_asid(&mut self, asid: u16) {
        self.stats.flushes_asid += 1;
        if let Ok(at) = self
            .keys
            .by_asid
            .binary_search_by_key(&asid, |known| known.0)
        {
            self.keys.by_asid.remove(at);
            self.keys_changed = true;
            self.current.0 = None;
        }
    }

    /// Flushes whatever covers a page in an address space, of both sizes, global entries
    /// included (as INVLPG does).
    pub fn flush_page(&mut self, asid: u16, vpn: Vpn) {
        self.stats.flushes_page += 1;
        self.last = NO_LAST;
        let key = self.keys.get(asid).unwrap_or(UNUSED_KEY);
        let global = self.keys.global;
        for size in [PageSize::Small, PageSize::Large] {
            let page = tag_page(vpn, size);
            for bank in &mut self.banks {
                // Two: a global entry and one of the address space can cover the same page.
                while let Some(at) = bank.find(page, key, global) {
                    bank.take(at, &mut self.journal);
                }
            }
        }
    }

    /// The live entries, for dumps; those of the first level come first.
    pub fn entries(&self) -> impl Iterator<Item = &TlbEntry> {
        let all = self.banks.iter().flat_map(Bank::iter);
        all.filter(|(tag, entry)| self.keys.live(tag, entry))
            .map(|(_, entry)| entry)
    }

    /// What was done so far.
    #[inline]
    pub fn stats(&self) -> TlbStats {
        self.stats
    }

    /// Makes the present content, statistics included, the remembered state.
    pub fn remember(&mut self) {
        self.journal.start();
        self.remembered.0.clone_from(&self.keys);
        self.remembered.1 = self.stats;
        self.keys_changed = false;
    }

    /// Returns to the remembered state exactly: entries, order of replacement, statistics. The
    /// time is proportional to the entries changed or looked up since.
    ///
    /// # Panics
    /// If nothing was ever remembered.
    pub fn reset(&mut self) {
        assert!(self.journal.started(), "a reset needs a state to return to");
        self.journal.undo(&mut self.banks);
        self.last = NO_LAST;
        if self.keys_changed {
            self.keys.by_asid.clone_from(&self.remembered.0.by_asid);
            self.keys.global = self.remembered.0.global;
            self.keys.next = self.remembered.0.next;
            self.keys_changed = false;
            self.current = (None, UNUSED_KEY);
        }
        self.stats = self.remembered.1;
    }

    #[cold]
    fn select(&mut self, asid: u16) {
        self.last = NO_LAST;
        self.current = (Some(asid), self.keys.get(asid).unwrap_or(UNUSED_KEY));
    }

    fn lookup_further(&mut self, vpn: Vpn) -> Option<(&mut TlbEntry, TlbLevel)> {
        let (key, global) = (self.current.1, self.keys.global);
        let (globals, larges) = self.seen;
        if key == UNUSED_KEY && !globals {
            self.stats.misses += 1;
            return None;
        }
        let large = tag_page(vpn, PageSize::Large);
        if larges && let Some(at) = self.banks[FIRST_LARGE].find(large, key, global) {
            self.stats.hits_l1 += 1;
            let entry = self.banks[FIRST_LARGE].entry_mut(at, &mut self.journal);
            return Some((entry, TlbLevel::First));
        }
        let second = &mut self.banks[SECOND];
        let small = tag_page(vpn, PageSize::Small);
        let found = second.find(small, key, global).or_else(|| {
            let found = larges.then(|| second.find(large, key, global));
            found.flatten()
        });
        let Some(at) = found else {
            self.stats.misses += 1;
            return None;
        };
        self.stats.hits_l2 += 1;
        let (tag, entry) = second.take(at, &mut self.journal);
        let (bank, at) = self.insert_first(tag, entry);
        Some((
            self.banks[bank].entry_mut(at, &mut self.journal),
            TlbLevel::Second,
        ))
    }

    /// Puts an entry in the first level, and what it replaces there in the second. Returns
    /// array and place.
    fn insert_first(&mut self, tag: Tag, entry: TlbEntry) -> (usize, usize) {
        self.last = NO_LAST;
        let first = match entry.size {
            PageSize::Small => FIRST,
            PageSize::Large => FIRST_LARGE,
        };
        let Tlb {
            banks,
            keys,
            journal,
            ..
        } = self;
        let live = |tag: &Tag, entry: &TlbEntry| keys.live(tag, entry);
        let (at, replaced) = banks[first].insert(tag, entry, live, journal);
        if let Some((tag, entry)) = replaced
            && !banks[SECOND].is_absent()
        {
            banks[SECOND].insert(tag, entry, live, journal);
        }
        (first, at)
    }

    /// The key that the entry gets; whether it is a new one.
    fn key_for_fill(&mut self, entry: &TlbEntry) -> (u64, bool) {
        if entry.flags.contains(PteFlags::G) {
            self.seen.0 = true;
            return (self.keys.global, false);
        }
        let (key, new) = self.keys.get_or_make(entry.asid);
        if new {
            self.keys_changed = true;
            self.current.0 = None;
        }
        (key, new)
    }

    fn retire_asids(&mut self) {
        self.keys.by_asid.clear();
        self.keys_changed = true;
        self.current.0 = None;
    }
}

#[cfg(test)]
mod tests;
