//! `entry-ownership`: a swap entry is malformed, or names a slot that is not in use; a slot is used
//! by more or fewer than name it.

use std::collections::BTreeMap;

use emu::{Access, Object};
use mmu::{PhysAddr, Pte, PteKind, SwapEntry, VirtAddr, walk};

use super::footprint::touch_entry;
use super::{Change, Oracles};
use crate::swap::slot_object;
use crate::{Kernel, MmId};

const ORACLE: &str = "entry-ownership";
const WORD: &str = "SWAPENT";

impl Oracles {
    /// An entry of `mm` that is not present has been written.
    #[inline(never)]
    pub(super) fn absent_entry_written(
        &self,
        cx: &Kernel<'_>,
        mm: MmId,
        va: VirtAddr,
        old: Pte,
        new: Pte,
    ) {
        let pid = cx.pid_of(mm);
        let what = match new.kind() {
            PteKind::Swap(entry) if cx.swap.borrow().slot(entry).is_none() => {
                format!("swap entry {new}, and there is no such slot")
            }
            PteKind::Malformed => format!("{:#x}, which is no entry", new.raw()),
            _ => return,
        };
        let message = format!(
            "{} left at address {va} of process {pid} {what}; before it was {old} ({:#x})",
            Change::now(cx),
            old.raw()
        );
        let at = walk::leaf_entry_addr(&cx.machine.memory(), cx.mm(mm).root, va);
        cx.machine.violate(
            ORACLE,
            WORD,
            message,
            at.map(Object::pte).into_iter().collect(),
            0,
        );
    }

    /// Somebody used a slot that is free.
    pub fn free_slot_used(&self, cx: &Kernel<'_>, entry: SwapEntry, did: &str) {
        let message = format!(
            "{} {did} swap slot {}, which is free",
            Change::now(cx),
            entry.offset
        );
        cx.machine
            .violate(ORACLE, WORD, message, vec![slot_object(entry)], 0);
    }

    /// Nothing is left to do: every slot is counted.
    pub(super) fn count_slots(&self, cx: &Kernel<'_>) {
        let mut named: BTreeMap<u32, u32> = BTreeMap::new();
        for mm in cx.mms.borrow().values() {
            walk::for_each_leaf(&cx.machine.memory(), mm.root, |_, _, pte| {
                if let PteKind::Swap(entry) = pte.kind() {
                    *named.entry(entry.offset).or_default() += 1;
                }
            });
        }
        for (at, slot) in cx.swap.borrow().slots.iter().enumerate() {
            let named = named.get(&(at as u32)).copied().unwrap_or(0);
            let cached = u32::from(slot.cache.is_some());
            if slot.count == named + cached {
                continue;
            }
            let entry = SwapEntry {
                area: 0,
                offset: at as u32,
            };
            let message = format!(
                "swap slot {at} is left with {} users; {named} entries name it and {cached} page of \
                 the swap cache belongs to it",
                slot.count
            );
            cx.machine
                .violate(ORACLE, WORD, message, vec![slot_object(entry)], 0);
        }
    }

    /// Where the contents of an address are: the frame that it maps, that of the swap cache, or
    /// that of its slot.
    pub(super) fn contents(cx: &Kernel<'_>, mm: MmId, va: VirtAddr) -> Option<PhysAddr> {
        let root = cx.mms.borrow().get(mm)?.root;
        touch_entry(cx, mm, va);
        let (_, pte, pfn) = walk::lookup_frame(&cx.machine.memory(), root, va)?;
        let frame = match pte.kind() {
            PteKind::Leaf => pfn,
            PteKind::Swap(entry) => {
                cx.machine.touch(slot_object(entry), Access::Read);
                let swap = cx.swap.borrow();
                let slot = swap.slot(entry)?;
                slot.cache.unwrap_or(slot.frame)
            }
            _ => return None,
        };
        Some(frame.base() + va.offset() as u64)
    }
}
