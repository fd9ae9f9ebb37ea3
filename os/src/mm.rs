//! Address spaces: limits of mappings, the page-table root, and the entries under it.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use bitflags::bitflags;
use emu::{Access, LockId, Object, Request};
use mmu::{Pfn, PhysAddr, Pte, PteFlags, VirtAddr, walk};

use crate::cpuset::CpuSet;
use crate::extension::Extensions;
use crate::page::{Holder, PageFlags};
use crate::{Cx, Errno};

slotmap::new_key_type! {
    /// An address space.
    pub struct MmId;
}

bitflags! {
    /// Flags of a mapping.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct VmFlags: u32 {
        /// May be written.
        const WRITE = 1;
        /// Left out at fork (`MADV_DONTFORK`).
        const DONTCOPY = 1 << 1;
        /// Copied at fork, if the kernel knows the advice.
        const COPYFORK = 1 << 2;
        /// Something in it was pinned, if the kernel marks mappings.
        const PINNED = 1 << 3;
        /// A private mapping of the file of huge pages.
        const FILE = 1 << 4;
        /// Of huge pages (`VM_HUGETLB`).
        const HUGE = 1 << 8;
    }
}

/// A mapping: private anonymous memory from `start` to `end`.
#[derive(Clone)]
pub struct Vma {
    /// First byte.
    pub start: VirtAddr,
    /// First byte after it.
    pub end: VirtAddr,
    /// Flags.
    pub flags: VmFlags,
    /// What patches keep here.
    pub ext: Extensions,
}

/// Mappings by their start; a copy is a reference until one side changes.
#[derive(Clone, Default)]
pub struct Vmas(Rc<BTreeMap<u64, Vma>>);

impl Deref for Vmas {
    type Target = BTreeMap<u64, Vma>;

    fn deref(&self) -> &BTreeMap<u64, Vma> {
        &self.0
    }
}

impl DerefMut for Vmas {
    fn deref_mut(&mut self) -> &mut BTreeMap<u64, Vma> {
        Rc::make_mut(&mut self.0)
    }
}

impl FromIterator<(u64, Vma)> for Vmas {
    fn from_iter<I: IntoIterator<Item = (u64, Vma)>>(all: I) -> Vmas {
        Vmas(Rc::new(all.into_iter().collect()))
    }
}

/// An address space (`struct mm_struct`).
pub struct Mm {
    // set once:
    /// The root page table.
    pub root: Pfn,
    /// Guards the mappings: exclusive to change them, shared to fault.
    pub mmap_sem: LockId,
    /// Guards the entries; the lockless pin reads them without.
    pub ptl: LockId,
    /// The process's number, for messages.
    pub pid: u32,
    // mmap_sem:
    /// Mappings by their start.
    pub vmas: Vmas,
    /// Where the next mapping goes.
    pub mmap_base: u64,
    // atomic:
    /// Tasks that use it.
    pub users: u32,
    /// CPUs that may hold translations of it (`mm_cpumask`).
    pub cpumask: CpuSet,
    /// Something here was pinned once (`has_pinned`).
    pub has_pinned: bool,
    /// Pins of pages whose reverse map begins here, where a patch counts them.
    pub root_pins: u32,
    /// Odd while fork takes write access away (`write_protect_seq`).
    pub write_protect_seq: u64,
    // mmap_sem, or the patch's own lock:
    /// What patches keep here.
    pub ext: Extensions,
}

/// By hand for `clone_from`, which resets a machine and must reuse the memory.
impl Clone for Mm {
    fn clone(&self) -> Self {
        Mm {
            vmas: self.vmas.clone(),
            ext: self.ext.clone(),
            ..*self
        }
    }

    fn clone_from(&mut self, from: &Self) {
        let Mm {
            root,
            mmap_sem,
            ptl,
            pid,
            vmas,
            mmap_base,
            users,
            cpumask,
            has_pinned,
            root_pins,
            write_protect_seq,
            ext,
        } = self;
        *root = from.root;
        *mmap_sem = from.mmap_sem;
        *ptl = from.ptl;
        *pid = from.pid;
        vmas.clone_from(&from.vmas);
        *mmap_base = from.mmap_base;
        *users = from.users;
        *cpumask = from.cpumask;
        *has_pinned = from.has_pinned;
        *root_pins = from.root_pins;
        *write_protect_seq = from.write_protect_seq;
        ext.clone_from(&from.ext);
    }
}

/// Mappings start here.
pub const MMAP_BASE: u64 = 0x10_0000_0000;

/// Where user addresses end.
pub const TASK_SIZE: u64 = 1 << 46;

impl Mm {
    /// The mapping that holds `at` (`find_vma`, exactly).
    pub fn find_vma(&self, at: VirtAddr) -> Option<&Vma> {
        let (_, vma) = self.vmas.range(..=at.get()).next_back()?;
        (at < vma.end).then_some(vma)
    }

    /// Splits mappings so that none crosses `at`.
    fn split(&mut self, at: VirtAddr) {
        let Some(start) = self.find_vma(at).map(|vma| vma.start) else {
            return;
        };
        if start == at {
            return;
        }
        let vma = self.vmas.get_mut(&start.get()).expect("it was just found");
        let mut tail = vma.clone();
        vma.end = at;
        tail.start = at;
        self.vmas.insert(at.get(), tail);
    }

    /// Splits at both ends and returns the starts of the mappings in between. The caller holds
    /// `mmap_sem` exclusively.
    pub fn carve(&mut self, start: VirtAddr, end: VirtAddr) -> Vec<u64> {
        self.split(start);
        self.split(end);
        self.vmas
            .range(start.get()..end.get())
            .map(|(at, _)| *at)
            .collect()
    }

    /// Reserves address space for a mapping of `len` bytes, with a hole after it.
    pub fn place(&mut self, len: u64) -> Result<VirtAddr, Errno> {
        self.place_flags(self.mmap_base, len, VmFlags::WRITE)
    }

    /// Reserves address space for a mapping of huge pages.
    pub fn place_huge(&mut self, len: u64) -> Result<VirtAddr, Errno> {
        let huge = mmu::LARGE_PAGE_SIZE as u64;
        let at = self.mmap_base.next_multiple_of(huge);
        self.place_flags(at, len, VmFlags::WRITE | VmFlags::HUGE)
    }

    fn place_flags(&mut self, at: u64, len: u64, flags: VmFlags) -> Result<VirtAddr, Errno> {
        let next = at
            .checked_add(len + mmu::PAGE_SIZE as u64)
            .ok_or(Errno::ENOMEM)?;
        if len == 0 || next > TASK_SIZE {
            return Err(if len == 0 {
                Errno::EINVAL
            } else {
                Errno::ENOMEM
            });
        }
        self.mmap_base = next;
        let start = VirtAddr::new(at);
        self.vmas.insert(
            at,
            Vma {
                start,
                end: VirtAddr::new(at + len),
                flags,
                ext: Extensions::default(),
            },
        );
        Ok(start)
    }
}

/// The flags of a present user entry.
pub fn user_pte(pfn: Pfn, writable: bool, dirty: bool) -> Pte {
    let mut flags = PteFlags::V | PteFlags::R | PteFlags::U | PteFlags::A;
    flags.set(PteFlags::W, writable);
    flags.set(PteFlags::D, dirty);
    Pte::leaf(pfn, flags)
}

/// Reads an entry: a step.
#[track_caller]
pub fn read_pte<'w>(cx: Cx<'w>, at: PhysAddr) -> impl Future<Output = Pte> + 'w {
    let request = Request::touch(Object::pte(at), Access::Read, cx.machine.costs().l1);
    cx.machine.step(request, move |acting| acting.read_pte(at))
}

/// Changes an entry in one indivisible step and returns what it was.
#[track_caller]
pub fn update_pte<'w>(
    cx: Cx<'w>,
    mm: MmId,
    va: VirtAddr,
    at: PhysAddr,
    change: impl FnOnce(Pte) -> Pte + 'w,
) -> impl Future<Output = Pte> + 'w {
    let request = Request::touch(Object::pte(at), Access::Update, cx.machine.costs().l1);
    cx.machine.step(request, move |acting| {
        let old = acting.read_pte(at);
        let new = change(old);
        acting.write_pte(at, new);
        cx.oracles.entry_changed(cx, mm, va, old, new);
        old
    })
}

/// Writes an entry (`set_pte_at`).
#[track_caller]
pub fn set_pte_at<'w>(
    cx: Cx<'w>,
    mm: MmId,
    va: VirtAddr,
    at: PhysAddr,
    pte: Pte,
) -> impl Future<Output = Pte> + 'w {
    update_pte(cx, mm, va, at, move |_| pte)
}

/// Takes the permission to write away (`ptep_set_wrprotect`).
#[track_caller]
pub fn ptep_set_wrprotect<'w>(
    cx: Cx<'w>,
    mm: MmId,
    va: VirtAddr,
    at: PhysAddr,
) -> impl Future<Output = Pte> + 'w {
    update_pte(cx, mm, va, at, |pte| pte.without(PteFlags::W))
}

/// What the tables have for an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// The place of a 4 KiB entry.
    Small(PhysAddr),
    /// The entry of a huge page, and its place.
    Huge(PhysAddr, Pte),
}

/// Finds the entry of an address, if the tables above it exist: steps that read them.
pub async fn find_any(cx: Cx<'_>, mm: MmId, va: VirtAddr) -> Option<Found> {
    let mut table = cx.mm(mm).root;
    for level in (1..=3).rev() {
        let at = walk::entry_addr(table, va, level);
        let pte = read_pte(cx, at).await;
        if !pte.present() {
            return None;
        }
        if pte.is_leaf() {
            return Some(Found::Huge(at, pte));
        }
        table = pte.pfn();
    }
    Some(Found::Small(walk::entry_addr(table, va, 0)))
}

/// Finds the 4 KiB entry of an address, if the tables above it exist.
pub async fn find_entry(cx: Cx<'_>, mm: MmId, va: VirtAddr) -> Option<PhysAddr> {
    match find_any(cx, mm, va).await {
        Some(Found::Small(at)) => Some(at),
        _ => None,
    }
}

/// Finds the entry of an address, and makes the tables above it (`pte_alloc_map`). The caller
/// holds `ptl`. `None` when memory is out.
pub async fn pte_alloc(cx: Cx<'_>, mm: MmId, va: VirtAddr) -> Option<PhysAddr> {
    entry_alloc(cx, mm, va, 0).await
}

/// The same for the entry of a huge page (`huge_pte_alloc`).
pub async fn pmd_alloc(cx: Cx<'_>, mm: MmId, va: VirtAddr) -> Option<PhysAddr> {
    entry_alloc(cx, mm, va, walk::LARGE_LEVEL).await
}

async fn entry_alloc(cx: Cx<'_>, mm: MmId, va: VirtAddr, of: u8) -> Option<PhysAddr> {
    let mut table = cx.mm(mm).root;
    for level in (of + 1..=3).rev() {
        let at = walk::entry_addr(table, va, level);
        let pte = read_pte(cx, at).await;
        table = if pte.present() {
            pte.pfn()
        } else {
            let new = crate::page::alloc_page(cx).await?;
            cx.make_table(new);
            let request = Request::touch(Object::pte(at), Access::Write, cx.machine.costs().l1);
            cx.machine
                .step(request, |acting| acting.write_pte(at, Pte::table(new)))
                .await;
            new
        };
    }
    Some(walk::entry_addr(table, va, of))
}

impl<'w> crate::Kernel<'w> {
    /// A fresh frame becomes an empty page table.
    pub(crate) fn make_table(&self, pfn: Pfn) {
        self.machine.prepare_memory().clear(pfn);
        let mut pages = self.pages.borrow_mut();
        let page = pages.get_mut(pfn);
        page.flags = PageFlags::TABLE;
        page.held = [0; Holder::ALL.len()];
    }
}
