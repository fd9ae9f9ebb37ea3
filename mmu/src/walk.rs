//! The page-table walk, as the hardware does it, and the ways in which software reads and
//! builds the same tables.
//!
//! Follows "Virtual Address Translation Process" of the RISC-V privileged architecture, with
//! hardware that sets A and D itself (Svadu). The kernel may read and write pages of user
//! mode (SUM is set), but never execute them. A present entry of a reserved form faults like
//! one that is not present. Not modelled: leaves above 2 MiB, which fault as well.

use crate::addr::{PAGE_SIZE, PAGES_PER_LARGE, PageSize, Pfn, PhysAddr, VirtAddr};
use crate::memory::PhysMemory;
use crate::pte::{Pte, PteFlags, PteKind};
use crate::walk_cache::WalkCache;

/// The level of the root table. The last table, of 4 KiB leaves, has level 0.
pub const ROOT_LEVEL: u8 = 3;
/// The level of a 2 MiB leaf.
pub const LARGE_LEVEL: u8 = 1;
/// Entries in a table.
pub const ENTRIES: usize = 512;

/// What an access wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccessKind {
    /// A load.
    Read,
    /// A store, or an atomic operation.
    Write,
    /// The fetch of an instruction.
    Execute,
}

impl AccessKind {
    /// Whether a mapping with these flags lets the access pass, from user mode or not.
    #[inline]
    pub const fn allowed(self, flags: PteFlags, user: bool) -> bool {
        let wanted = match self {
            AccessKind::Read => PteFlags::R,
            AccessKind::Write => PteFlags::W,
            AccessKind::Execute => PteFlags::X,
        };
        let of_user = flags.contains(PteFlags::U);
        let mode = if user {
            of_user
        } else {
            !(of_user && matches!(self, AccessKind::Execute))
        };
        flags.contains(wanted) && mode
    }

    /// The marks that the access leaves in an entry: A, and D on a write.
    #[inline]
    pub const fn marks(self) -> PteFlags {
        match self {
            AccessKind::Write => PteFlags::A.union(PteFlags::D),
            _ => PteFlags::A,
        }
    }
}

/// What a successful walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The 4 KiB frame that is addressed, in a large page too.
    pub pfn: Pfn,
    /// The size of the page.
    pub size: PageSize,
    /// The entry as it is now in memory, A and D set.
    pub pte: Pte,
    /// Where the entry is.
    pub pte_addr: PhysAddr,
    /// Entries read, 1 to 4: fewer than 4 for a large page or after a hit in the cache.
    pub levels_read: u8,
    /// Whether the walk changed the entry.
    pub set_bits: bool,
}

/// Why a walk failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// An entry on the way is not present or has a reserved form, or the address is not
    /// canonical.
    NotPresent,
    /// The leaf does not allow the access.
    Protection,
}

/// A failed walk. Nothing was changed in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkFault {
    /// Why.
    pub kind: FaultKind,
    /// The level of the entry that stopped the walk.
    pub level: u8,
    /// Where that entry is.
    pub pte_addr: PhysAddr,
    /// What it holds.
    pub pte: Pte,
}

/// The position of `va`'s entry in a table of `level` (3 to 0).
#[inline]
pub const fn index(va: VirtAddr, level: u8) -> usize {
    (va.get() >> (12 + 9 * level as u32)) as usize % ENTRIES
}

/// The address of `va`'s entry in the table of `level` in the frame `table`.
#[inline]
pub const fn entry_addr(table: Pfn, va: VirtAddr, level: u8) -> PhysAddr {
    PhysAddr::new(table.base().get() + 8 * index(va, level) as u64)
}

/// Translates `va` for an access, and marks the leaf accessed, and dirty on a write.
///
/// Starts from the lowest table that `cache` knows, and leaves there the tables that it
/// passes. What the cache knows may be out of date: then so is the answer.
///
/// # Errors
/// The entry that stopped it.
#[inline]
pub fn walk(
    memory: &mut PhysMemory,
    root: Pfn,
    va: VirtAddr,
    access: AccessKind,
    user: bool,
    cache: &mut WalkCache,
) -> Result<Translation, WalkFault> {
    let (mut table, mut level) = match cache.lookup(root, va) {
        Some(known) => known,
        None => (root, ROOT_LEVEL),
    };
    let mut levels_read = 0;
    loop {
        let pte_addr = entry_addr(table, va, level);
        let pte = Pte::from_raw(memory.read_u64(pte_addr));
        levels_read += 1;
        if !usable(pte, level, memory.frames()) || !va.is_canonical() {
            return Err(WalkFault {
                kind: FaultKind::NotPresent,
                level,
                pte_addr,
                pte,
            });
        }
        if pte.is_table() {
            level -= 1;
            table = pte.pfn();
            cache.fill(root, va, level, table);
            continue;
        }
        if !access.allowed(pte.flags(), user) {
            return Err(WalkFault {
                kind: FaultKind::Protection,
                level,
                pte_addr,
                pte,
            });
        }
        let marked = pte.with(access.marks());
        let set_bits = marked != pte;
        if set_bits {
            memory.write_u64(pte_addr, marked.raw());
        }
        let (size, pfn) = match level {
            0 => (PageSize::Small, pte.pfn()),
            _ => (PageSize::Large, pte.pfn() + va.page().index_in_large()),
        };
        return Ok(Translation {
            pfn,
            size,
            pte: marked,
            pte_addr,
            levels_read,
            set_bits,
        });
    }
}

/// Whether the hardware can go on from this entry of `level`: present, of a form that is not
/// reserved, and naming frames that exist.
#[inline]
fn usable(pte: Pte, level: u8, frames: u32) -> bool {
    if !pte.present() || pte.is_reserved_form() {
        return false;
    }
    let pfn = pte.pfn().get();
    if pte.is_table() {
        return level > 0 && pfn < frames;
    }
    match level {
        0 => pfn < frames,
        LARGE_LEVEL => {
            pfn.is_multiple_of(PAGES_PER_LARGE) && frames.saturating_sub(pfn) >= PAGES_PER_LARGE
        }
        _ => false,
    }
}

/// The table of `level` on the way to `va`, if the tables down to it exist.
fn table_at(memory: &PhysMemory, root: Pfn, va: VirtAddr, level: u8) -> Option<Pfn> {
    let mut table = root;
    for above in (level + 1..=ROOT_LEVEL).rev() {
        let pte = Pte::from_raw(memory.read_u64(entry_addr(table, va, above)));
        if !pte.is_table() || !usable(pte, above, memory.frames()) {
            return None;
        }
        table = pte.pfn();
    }
    Some(table)
}

/// The entry that maps or could map `va`, and where it is: the 4 KiB one if its table exists,
/// else an entry for 2 MiB that is neither zero nor a pointer to a table. Marks nothing.
pub fn lookup(memory: &PhysMemory, root: Pfn, va: VirtAddr) -> Option<(PhysAddr, Pte)> {
    lookup_frame(memory, root, va).map(|(at, pte, _)| (at, pte))
}

/// Like [`lookup`], with the 4 KiB frame that a leaf names for `va`: one of 512 for a large page.
pub fn lookup_frame(memory: &PhysMemory, root: Pfn, va: VirtAddr) -> Option<(PhysAddr, Pte, Pfn)> {
    let read = |at| Pte::from_raw(memory.read_u64(at));
    let table = table_at(memory, root, va, LARGE_LEVEL)?;
    let at = entry_addr(table, va, LARGE_LEVEL);
    let pte = read(at);
    match pte.kind() {
        PteKind::None => None,
        PteKind::Table if pte.pfn().get() < memory.frames() => {
            let at = entry_addr(pte.pfn(), va, 0);
            let pte = read(at);
            Some((at, pte, pte.pfn()))
        }
        PteKind::Leaf => Some((at, pte, pte.pfn() + va.page().index_in_large())),
        _ => Some((at, pte, pte.pfn())),
    }
}

/// The address of `va`'s 4 KiB entry, if its table exists.
pub fn leaf_entry_addr(memory: &PhysMemory, root: Pfn, va: VirtAddr) -> Option<PhysAddr> {
    table_at(memory, root, va, 0).map(|table| entry_addr(table, va, 0))
}

/// Writes the 4 KiB entry of `va`, whatever it is, and makes the tables that are missing from
/// frames of `alloc`, which are cleared. Returns where the entry is.
///
/// # Panics
/// If something other than a table stands in the way.
pub fn map(
    memory: &mut PhysMemory,
    root: Pfn,
    va: VirtAddr,
    pte: Pte,
    alloc: &mut dyn FnMut() -> Pfn,
) -> PhysAddr {
    write_entry(memory, root, va, 0, pte, alloc)
}

/// Like [`map`], for the 2 MiB entry that covers `va`. A table that is there already is
/// replaced, and is the caller's to free.
///
/// # Panics
/// If something other than a table stands in the way.
pub fn map_large(
    memory: &mut PhysMemory,
    root: Pfn,
    va: VirtAddr,
    pte: Pte,
    alloc: &mut dyn FnMut() -> Pfn,
) -> PhysAddr {
    write_entry(memory, root, va, LARGE_LEVEL, pte, alloc)
}

fn write_entry(
    memory: &mut PhysMemory,
    root: Pfn,
    va: VirtAddr,
    level: u8,
    pte: Pte,
    alloc: &mut dyn FnMut() -> Pfn,
) -> PhysAddr {
    assert!(va.is_canonical(), "{va} is not an address of Sv48");
    let mut table = root;
    for above in (level + 1..=ROOT_LEVEL).rev() {
        let at = entry_addr(table, va, above);
        let pointer = Pte::from_raw(memory.read_u64(at));
        table = match pointer.kind() {
            PteKind::Table => pointer.pfn(),
            PteKind::None => {
                let made = alloc();
                memory.clear(made);
                memory.write_u64(at, Pte::table(made).raw());
                made
            }
            _ => panic!("{pointer} at level {above} stands in the way to {va}"),
        };
    }
    let at = entry_addr(table, va, level);
    memory.write_u64(at, pte.raw());
    at
}

/// Calls `visit` with each entry under `root` that is not zero and maps, or could map, a page:
/// its first address, where it is, what it is. In the order of addresses, the upper half of
/// the address space last.
pub fn for_each_leaf(
    memory: &PhysMemory,
    root: Pfn,
    mut visit: impl FnMut(VirtAddr, PhysAddr, Pte),
) {
    visit_leaves(memory, root, ROOT_LEVEL, 0, &mut visit);
}

/// Calls `visit` with each table under `root` and its level, the root first, and each table
/// before those below it.
pub fn for_each_table(memory: &PhysMemory, root: Pfn, mut visit: impl FnMut(Pfn, u8)) {
    visit_tables(memory, root, ROOT_LEVEL, &mut visit);
}

fn visit_leaves(
    memory: &PhysMemory,
    table: Pfn,
    level: u8,
    base: u64,
    visit: &mut dyn FnMut(VirtAddr, PhysAddr, Pte),
) {
    for (index, at, pte) in entries(memory, table) {
        let va = base | index << (12 + 9 * level);
        if pte.is_table() && usable(pte, level, memory.frames()) {
            visit_leaves(memory, pte.pfn(), level - 1, va, visit);
        } else if level <= LARGE_LEVEL {
            visit(sign_extend(va), at, pte);
        }
    }
}

fn visit_tables(memory: &PhysMemory, table: Pfn, level: u8, visit: &mut dyn FnMut(Pfn, u8)) {
    visit(table, level);
    if level == 0 {
        return;
    }
    for (_, _, pte) in entries(memory, table) {
        if pte.is_table() && usable(pte, level, memory.frames()) {
            visit_tables(memory, pte.pfn(), level - 1, visit);
        }
    }
}

/// The entries of a table that are not zero: position, address, entry.
fn entries(memory: &PhysMemory, table: Pfn) -> impl Iterator<Item = (u64, PhysAddr, Pte)> {
    let words = memory.bytes(table.base(), PAGE_SIZE).chunks_exact(8);
    (0u64..).zip(words).filter_map(move |(index, word)| {
        let raw = u64::from_le_bytes(word.try_into().expect("the chunks are of 8 bytes"));
        (raw != 0).then_some((index, table.base() + 8 * index, Pte::from_raw(raw)))
    })
}

/// The canonical address with these low 48 bits.
fn sign_extend(low: u64) -> VirtAddr {
    VirtAddr::new(((low << 16) as i64 >> 16) as u64)
}

#[cfg(test)]
mod tests;
