//! Addresses, physical memory, page tables and translation caches of the Shootdown machine.
//!
//! Memory is real bytes in 4 KiB frames; page tables are four-level tables of 64-bit entries
//! *in* that memory, in the Sv48 format of the RISC-V privileged architecture (volume II,
//! "Sv48: Page-Based 48-bit Virtual-Memory System"). A translation cache holds *copies* of
//! entries, so it goes on answering after the table has changed, until something flushes it.
//! That gap is what the whole machine is about: nothing here closes it.
//!
//! ```
//! use mmu::{AccessKind, Pfn, PhysMemory, Pte, PteFlags, VirtAddr, WalkCache, walk};
//!
//! let mut memory = PhysMemory::new(64);
//! let (root, page) = (Pfn::new(1), Pfn::new(9));
//! let mut next = 1;
//! let mut alloc = || { next += 1; Pfn::new(next) };
//!
//! let va = VirtAddr::new(0x40_0000);
//! let flags = PteFlags::R | PteFlags::W | PteFlags::U;
//! walk::map(&mut memory, root, va, Pte::leaf(page, flags), &mut alloc);
//!
//! let mut cache = WalkCache::new();
//! let found = walk::walk(&mut memory, root, va + 8, AccessKind::Write, true, &mut cache).unwrap();
//! assert_eq!(found.pfn, page);
//! assert_eq!(found.levels_read, 4);
//! // The walker has marked the entry in memory.
//! assert_eq!(walk::lookup(&memory, root, va).unwrap().1.to_string(), "frame 9 rw-uad");
//! ```
//!
//! Not modelled: time and CPUs (they belong to the crates above), caches of data, memory
//! types, leaves of 1 GiB and 512 GiB, two-stage translation, and walks in several steps: a
//! walk is one instant here, and whoever calls it decides what may come in between.

pub mod addr;
pub mod memory;
pub mod pte;
pub mod tlb;
mod tlb_bank;
pub mod walk;
pub mod walk_cache;

pub use addr::{
    LARGE_PAGE_SIZE, PAGE_SHIFT, PAGE_SIZE, PAGES_PER_LARGE, PageSize, Pfn, PhysAddr, SECTOR_SIZE,
    VirtAddr, Vpn,
};
pub use memory::PhysMemory;
pub use pte::{Pte, PteFlags, PteKind, SwapEntry};
pub use tlb::{Tlb, TlbEntry, TlbGeometry, TlbLevel, TlbStats};
pub use walk::{AccessKind, FaultKind, Translation, WalkFault};
pub use walk_cache::WalkCache;
