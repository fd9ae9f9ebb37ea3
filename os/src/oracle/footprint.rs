//! What oracles look at, as exploration must know it: two steps whose order an oracle can tell
//! are not independent, although the machine could not.

use emu::{Kind, Object, Touch};
use mmu::{Pfn, PhysAddr, PteFlags, VirtAddr, walk};

use super::Oracles;
use crate::context::{local_object, tlb_object};
use crate::{Kernel, MmId};

/// Addresses of a process, in sectors, in so many bits.
const SPACE_BITS: u32 = 38;
/// What is known of frames.
const FRAMES: u64 = 1 << 55;

impl Oracles {
    /// A user instruction touches `va`, which it finds at `pa`: its shadow, forks under way, the
    /// entry that its translation came from, and if that is stale what flushes have promised.
    #[cold]
    pub fn touch_user(&self, cx: &Kernel<'_>, mm: MmId, va: VirtAddr, touch: Touch, pa: PhysAddr) {
        let cpu = cx.machine.cpu();
        cx.machine.touch(tlb_object(cpu), Touch::Read);
        cx.machine.touch(local_object(cpu), Touch::Read);
        touch_shadow(cx, mm, va, 1, touch);
        if touch.writes() {
            touch_space(cx, mm, Watched::Forks, Touch::Read);
        }
        touch_frame(cx, pa.pfn(), Touch::Read);
        let root = cx.mms.borrow().get(mm).map(|mm| mm.root);
        let memory = cx.machine.memory();
        let found = root.and_then(|root| walk::lookup(&memory, root, va));
        if let Some((at, _)) = found {
            cx.machine.touch(Object::pte(at), Touch::Read);
        }
        let true_still = found.is_some_and(|(_, pte)| {
            pte.is_leaf() && pte.pfn() == pa.pfn() && (pte.writable() || !touch.writes())
        });
        if !true_still {
            touch_space(cx, mm, Watched::Flushes, Touch::Read);
        }
    }

    /// Whether a walk for `va` will set marks in the entry.
    #[cold]
    pub fn walk_marks(&self, cx: &Kernel<'_>, root: Pfn, va: VirtAddr, write: bool) -> bool {
        let needs = PteFlags::A | if write { PteFlags::D } else { PteFlags::A };
        let found = walk::lookup(&cx.machine.memory(), root, va);
        found.is_some_and(|(_, pte)| pte.is_leaf() && !pte.flags().contains(needs))
    }

    /// A walk for `va` read the entries on its way, and marked the last if `marks`; the TLB has
    /// what it found.
    #[cold]
    pub fn touch_walk(&self, cx: &Kernel<'_>, root: Pfn, va: VirtAddr, marks: bool) {
        let cpu = cx.machine.cpu();
        cx.machine.touch(tlb_object(cpu), Touch::Write);
        cx.machine.touch(local_object(cpu), Touch::Read);
        touch_entries(cx, root, va, marks);
    }
}

fn touch_entries(cx: &Kernel<'_>, root: Pfn, va: VirtAddr, marks: bool) {
    let memory = cx.machine.memory();
    let mut table = root;
    for level in (0..4).rev() {
        let at = walk::entry_addr(table, va, level);
        let pte = mmu::Pte::from_raw(memory.read_u64(at));
        let last = level == 0 || !pte.present() || pte.is_leaf();
        let touch = if last && marks {
            Touch::Write
        } else {
            Touch::Read
        };
        cx.machine.touch(Object::pte(at), touch);
        if last {
            break;
        }
        table = pte.pfn();
    }
}

fn pid(cx: &Kernel<'_>, mm: MmId) -> u64 {
    u64::from(cx.pid_of(mm))
}

/// The shadow of the sectors that hold a range.
pub(super) fn touch_shadow(cx: &Kernel<'_>, mm: MmId, va: VirtAddr, len: usize, touch: Touch) {
    if !cx.machine.tracking() {
        return;
    }
    let sector = mmu::SECTOR_SIZE as u64;
    for number in va.get() / sector..(va.get() + len as u64).div_ceil(sector) {
        let object = Object::new(Kind::Shadow, pid(cx, mm) << SPACE_BITS | number);
        cx.machine.touch(object, touch);
    }
}

/// What is known of an address space as a whole.
#[derive(Clone, Copy)]
pub(super) enum Watched {
    /// Flushes that have completed.
    Flushes,
    /// Forks under way.
    Forks,
    /// Ranges that were removed; whether it is gone.
    Ranges,
}

/// What is known of an address space as a whole.
pub(super) fn touch_space(cx: &Kernel<'_>, mm: MmId, what: Watched, touch: Touch) {
    if cx.machine.tracking() {
        let last = (1 << SPACE_BITS) - 1;
        let number = pid(cx, mm) << SPACE_BITS | (last - what as u64);
        cx.machine.touch(Object::new(Kind::Shadow, number), touch);
    }
}

/// Whether a frame is free.
pub(super) fn touch_frame(cx: &Kernel<'_>, pfn: Pfn, touch: Touch) {
    if cx.machine.tracking() {
        let pfn = cx.compound_head(pfn);
        let number = FRAMES | u64::from(pfn.get());
        cx.machine.touch(Object::new(Kind::Shadow, number), touch);
    }
}

/// The entry of an address, which an oracle reads.
pub(super) fn touch_entry(cx: &Kernel<'_>, mm: MmId, va: VirtAddr) {
    if !cx.machine.tracking() {
        return;
    }
    let root = cx.mms.borrow().get(mm).map(|mm| mm.root);
    if let Some(root) = root {
        touch_entries(cx, root, va, false);
    }
}
