//! The paging-structure cache: pointers to lower tables, so that a walk starts near its end.
//!
//! Modelled on the caches described in Intel's Software Developer's Manual, volume 3, section
//! "Paging-Structure Caches": like a TLB, it holds *copies*, and a walk that starts from one
//! reads a table which may by now belong to somebody else. Direct mapped, 44 entries: 32
//! pointers to last-level tables, 8 to those above, 4 to those above them.
//!
//! Not modelled: the kinds differ in size from CPU to CPU; these numbers are of one middling.

use crate::addr::{Pfn, VirtAddr};

/// One cached pointer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pointer {
    /// Live if it is the cache's epoch.
    epoch: u64,
    root: Pfn,
    /// The address above the part that the table translates.
    prefix: u64,
    table: Pfn,
}

const VACANT: Pointer = Pointer {
    epoch: 0,
    root: Pfn::new(0),
    prefix: 0,
    table: Pfn::new(0),
};

/// For tables of level 0, 1, 2: where their entries start, how many there are.
const BANKS: [(usize, usize); 3] = [(0, 32), (32, 8), (40, 4)];
const ENTRIES: usize = 44;

/// What a reset returns to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Content {
    pointers: [Pointer; ENTRIES],
    epoch: u64,
}

/// A paging-structure cache. One belongs to one CPU.
#[derive(Clone, Debug)]
pub struct WalkCache {
    now: Content,
    remembered: Option<Box<Content>>,
    /// Entries that may differ from those, a bit each.
    changed: u64,
}

impl Default for WalkCache {
    fn default() -> Self {
        WalkCache::new()
    }
}

impl WalkCache {
    /// An empty cache.
    pub fn new() -> WalkCache {
        let now = Content {
            pointers: [VACANT; ENTRIES],
            epoch: 1,
        };
        WalkCache {
            now,
            remembered: None,
            changed: 0,
        }
    }

    /// The lowest table known on the way to `va`, and its level.
    #[inline]
    pub fn lookup(&self, root: Pfn, va: VirtAddr) -> Option<(Pfn, u8)> {
        (0..3).find_map(|level| {
            let (prefix, at) = place(va, level);
            let pointer = &self.now.pointers[at];
            let hit =
                pointer.prefix == prefix && pointer.root == root && pointer.epoch == self.now.epoch;
            hit.then_some((pointer.table, level))
        })
    }

    /// Keeps a pointer to the table of `level` (0 to 2) on the way to `va`.
    #[inline]
    pub fn fill(&mut self, root: Pfn, va: VirtAddr, level: u8, table: Pfn) {
        let (prefix, at) = place(va, level);
        self.changed |= 1 << at;
        self.now.pointers[at] = Pointer {
            epoch: self.now.epoch,
            root,
            prefix,
            table,
        };
    }

    /// Forgets everything, in constant time.
    #[inline]
    pub fn flush(&mut self) {
        self.now.epoch += 1;
    }

    /// Forgets what belongs to the address space under `root`.
    pub fn flush_root(&mut self, root: Pfn) {
        for (at, pointer) in self.now.pointers.iter_mut().enumerate() {
            if pointer.root == root {
                *pointer = VACANT;
                self.changed |= 1 << at;
            }
        }
    }

    /// Forgets the pointers on the way to `va`. (INVLPG forgets them all: that is
    /// [`flush`](Self::flush).)
    pub fn flush_page(&mut self, root: Pfn, va: VirtAddr) {
        for level in 0..3 {
            let (prefix, at) = place(va, level);
            let pointer = &mut self.now.pointers[at];
            if pointer.prefix == prefix && pointer.root == root {
                *pointer = VACANT;
                self.changed |= 1 << at;
            }
        }
    }

    /// The live pointers for a dump: root, first address, level of the table, table.
    pub fn entries(&self) -> impl Iterator<Item = (Pfn, VirtAddr, u8, Pfn)> + '_ {
        (0u8..).zip(BANKS).flat_map(move |(level, (start, len))| {
            self.now.pointers[start..start + len]
                .iter()
                .filter(|pointer| pointer.epoch == self.now.epoch)
                .map(move |pointer| {
                    let va = VirtAddr::new(pointer.prefix << prefix_shift(level));
                    (pointer.root, va, level, pointer.table)
                })
        })
    }

    /// Makes the present content the remembered state.
    pub fn remember(&mut self) {
        self.remembered = Some(Box::new(self.now));
        self.changed = 0;
    }

    /// Returns to the remembered state; costs as much as has changed.
    ///
    /// # Panics
    /// If nothing was ever remembered.
    pub fn reset(&mut self) {
        let remembered = self.remembered.as_deref();
        let remembered = remembered.expect("a reset needs a state to return to");
        self.now.epoch = remembered.epoch;
        while self.changed != 0 {
            let at = self.changed.trailing_zeros() as usize;
            self.now.pointers[at] = remembered.pointers[at];
            self.changed &= self.changed - 1;
        }
    }
}

/// The bits of an address that a table of `level` translates, offsets included.
#[inline]
const fn prefix_shift(level: u8) -> u32 {
    21 + 9 * level as u32
}

/// The prefix of `va` at `level`, and the entry it may be in.
#[inline]
fn place(va: VirtAddr, level: u8) -> (u64, usize) {
    let prefix = va.get() >> prefix_shift(level);
    let (start, len) = BANKS[level as usize];
    (prefix, start + prefix as usize % len)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Pfn = Pfn::new(3);
    const VA: VirtAddr = VirtAddr::new(0x7000_1234_5000);

    #[test]
    fn the_lowest_table_known_is_found() {
        let mut cache = WalkCache::new();
        cache.fill(ROOT, VA, 2, Pfn::new(20));
        assert_eq!(cache.lookup(ROOT, VA), Some((Pfn::new(20), 2)));
        cache.fill(ROOT, VA, 0, Pfn::new(10));
        assert_eq!(cache.lookup(ROOT, VA), Some((Pfn::new(10), 0)));
        // 2 MiB further on, another last-level table is needed; the upper one still serves.
        assert_eq!(cache.lookup(ROOT, VA + (2 << 20)), Some((Pfn::new(20), 2)));
        assert_eq!(cache.lookup(Pfn::new(4), VA), None);
    }

    #[test]
    fn an_empty_cache_knows_not_even_the_zero_page() {
        assert_eq!(WalkCache::new().lookup(Pfn::new(0), VirtAddr::new(0)), None);
    }

    #[test]
    fn each_flush_forgets_its_own() {
        let other = Pfn::new(4);
        let far = VA + (1 << 21);
        let filled = || {
            let mut cache = WalkCache::new();
            cache.fill(ROOT, VA, 0, Pfn::new(10));
            cache.fill(other, far, 0, Pfn::new(11));
            cache
        };
        let left = |flush: fn(&mut WalkCache)| {
            let mut cache = filled();
            flush(&mut cache);
            (
                cache.lookup(ROOT, VA).is_some(),
                cache.lookup(Pfn::new(4), VA + (1 << 21)).is_some(),
            )
        };
        assert_eq!(left(|_| {}), (true, true));
        assert_eq!(left(WalkCache::flush), (false, false));
        assert_eq!(left(|cache| cache.flush_root(ROOT)), (false, true));
        assert_eq!(
            left(|cache| cache.flush_page(ROOT, VA + 0x1000)),
            (false, true)
        );
        assert_eq!(
            left(|cache| cache.flush_page(Pfn::new(4), VA)),
            (true, true)
        );
    }

    #[test]
    fn a_reset_undoes_each_kind_of_change() {
        let changes: [fn(&mut WalkCache); 4] = [
            WalkCache::flush,
            |cache| cache.flush_root(ROOT),
            |cache| cache.flush_page(ROOT, VA),
            |cache| cache.fill(ROOT, VA, 0, Pfn::new(12)),
        ];
        let mut cache = WalkCache::new();
        cache.fill(ROOT, VA, 0, Pfn::new(10));
        cache.remember();
        let before = cache.now;
        for change in changes {
            change(&mut cache);
            assert_ne!(cache.now, before);
            cache.reset();
            assert_eq!(cache.now, before);
        }
        let entries: Vec<_> = cache.entries().collect();
        let base = VirtAddr::new(VA.get() >> 21 << 21);
        assert_eq!(entries, [(ROOT, base, 0, Pfn::new(10))]);
    }
}
