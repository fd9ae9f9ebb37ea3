//! One set-associative array of a TLB, and the journal that undoes its changes.

use crate::addr::{PageSize, Vpn};
use crate::tlb::TlbEntry;

/// No translation has this key: the tag is dead.
pub(crate) const NO_KEY: u64 = 0;
/// Set in the page of a tag of a large page, so that both sizes can share an array. No page
/// number reaches this bit.
const LARGE: u64 = 1 << 63;

/// What identifies a translation: the page, and the key of its address space. A flush retires
/// a key, and with it all tags that bear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) page: u64,
    pub(crate) key: u64,
}

const DEAD: Tag = Tag {
    page: 0,
    key: NO_KEY,
};

/// The page of a tag: its low bits choose the set.
#[inline]
pub(crate) const fn tag_page(vpn: Vpn, size: PageSize) -> u64 {
    match size {
        PageSize::Small => vpn.get(),
        PageSize::Large => vpn.get() >> crate::addr::LARGE_PAGE_BITS | LARGE,
    }
}

/// An entry, and the generation of the journal that knows what it was.
#[derive(Clone, Copy, Debug)]
struct Held {
    entry: TlbEntry,
    journaled: u64,
}

/// Sets of `ways` entries each. Tags lie apart from entries, four to a host cache line.
#[derive(Clone, Debug)]
pub(crate) struct Bank {
    id: u8,
    ways: usize,
    set_mask: usize,
    tags: Vec<Tag>,
    held: Vec<Held>,
    /// For each set, the way that is replaced next when all are live.
    cursors: Vec<u16>,
}

/// How one entry was when the state was remembered. The cursor of its set rides along: a
/// cursor moves only together with a change to an entry of its set, so the oldest record of
/// the set has the cursor as it was.
#[derive(Clone, Debug)]
struct Record {
    tag: Tag,
    entry: TlbEntry,
    at: u32,
    cursor: u16,
    bank: u8,
}

/// The first change of each entry since the state was remembered. Generation 0: nothing is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    generation: u64,
    records: Vec<Record>,
}

impl Journal {
    /// From now on, changes are noted.
    pub(crate) fn start(&mut self) {
        self.generation += 1;
        self.records.clear();
    }

    /// Whether there is a state to return to.
    pub(crate) fn started(&self) -> bool {
        self.generation > 0
    }

    /// Undoes what was noted, latest first, and starts again from there.
    pub(crate) fn undo(&mut self, banks: &mut [Bank]) {
        for record in self.records.drain(..).rev() {
            let bank = &mut banks[record.bank as usize];
            let at = record.at as usize;
            bank.tags[at] = record.tag;
            bank.held[at].entry = record.entry;
            bank.cursors[at / bank.ways] = record.cursor;
        }
        self.generation += 1;
    }
}

impl Bank {
    /// An array of `entries`, or none at all: a shape that [`TlbGeometry::check`] accepts.
    ///
    /// [`TlbGeometry::check`]: crate::TlbGeometry::check
    pub(crate) fn new(id: u8, entries: usize, ways: usize) -> Bank {
        // An absent array still has a way, so that nothing divides by zero.
        let ways = ways.max(1);
        let sets = entries / ways;
        let held = Held {
            entry: TlbEntry::default(),
            journaled: 0,
        };
        Bank {
            id,
            ways,
            set_mask: sets.saturating_sub(1),
            tags: vec![DEAD; entries],
            held: vec![held; entries],
            cursors: vec![0; sets],
        }
    }

    #[inline]
    pub(crate) fn is_absent(&self) -> bool {
        self.tags.is_empty()
    }

    #[inline]
    fn set_of(&self, page: u64) -> usize {
        page as usize & self.set_mask
    }

    /// Where the page's entry is, under either key.
    #[inline]
    pub(crate) fn find(&self, page: u64, key: u64, global: u64) -> Option<usize> {
        let base = self.set_of(page) * self.ways;
        let set = self.tags.get(base..base + self.ways)?;
        let hit = |tag: &Tag| tag.page == page && (tag.key == key || tag.key == global);
        set.iter().position(hit).map(|way| base + way)
    }

    /// The entry at `at`, to be changed by whoever gets it.
    #[inline]
    pub(crate) fn entry_mut(&mut self, at: usize, journal: &mut Journal) -> &mut TlbEntry {
        if self.held[at].journaled != journal.generation {
            self.note(at, journal);
        }
        &mut self.held[at].entry
    }

    /// Kills the entry at `at`; returns what it was.
    pub(crate) fn take(&mut self, at: usize, journal: &mut Journal) -> (Tag, TlbEntry) {
        let was = (self.tags[at], *self.entry_mut(at, journal));
        self.tags[at] = DEAD;
        was
    }

    /// Puts an entry in its set, in place of a dead one, or else of the next in turn. Returns
    /// the place, and the live entry that had it.
    pub(crate) fn insert(
        &mut self,
        tag: Tag,
        entry: TlbEntry,
        live: impl Fn(&Tag, &TlbEntry) -> bool,
        journal: &mut Journal,
    ) -> (usize, Option<(Tag, TlbEntry)>) {
        let set = self.set_of(tag.page);
        let base = set * self.ways;
        let dead = (base..base + self.ways).find(|&at| !live(&self.tags[at], &self.held[at].entry));
        let at = dead.unwrap_or(base + self.cursors[set] as usize);
        let was = (self.tags[at], *self.entry_mut(at, journal));
        self.tags[at] = tag;
        self.held[at].entry = entry;
        if dead.is_some() {
            return (at, None);
        }
        self.cursors[set] = ((self.cursors[set] as usize + 1) % self.ways) as u16;
        (at, Some(was))
    }

    /// All tags and entries, dead ones too.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Tag, &TlbEntry)> {
        self.tags
            .iter()
            .zip(self.held.iter().map(|held| &held.entry))
    }

    /// Everything that a reset restores.
    #[cfg(test)]
    pub(crate) fn content(&self) -> (Vec<Tag>, Vec<TlbEntry>, Vec<u16>) {
        let entries = self.held.iter().map(|held| held.entry).collect();
        (self.tags.clone(), entries, self.cursors.clone())
    }

    #[cold]
    #[inline(never)]
    fn note(&mut self, at: usize, journal: &mut Journal) {
        self.held[at].journaled = journal.generation;
        journal.records.push(Record {
            tag: self.tags[at],
            entry: self.held[at].entry,
            at: at as u32,
            cursor: self.cursors[at / self.ways],
            bank: self.id,
        });
    }
}
