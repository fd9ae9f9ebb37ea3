//! `reference-balance`: the references and mappings of each frame are those of its holders. What
//! is given back is checked as it happens; everything is counted again when nothing is left to do.
//!
//! Counted are the frames that the run has touched and those that live address spaces map: the
//! others are as they were prepared.

use std::collections::BTreeMap;

use emu::Object;
use mmu::{Pfn, PhysAddr, walk};

use super::lifetime::holder_name;
use super::{Change, Oracles, counted};
use crate::page::PageFlags;
use crate::pin::GUP_PIN_COUNTING_BIAS;
use crate::{Holder, Kernel};

const ORACLE: &str = "reference-balance";
const LEAK: &str = "LEAK";
const BUG: &str = "BUG";

/// Who holds a frame, as counted from the holders themselves.
#[derive(Default)]
struct Counted {
    mappings: i32,
    pins: i32,
    cached: i32,
    batched: i32,
    /// It is a page table of a live address space.
    table: bool,
}

impl Oracles {
    /// `holder` gives back a reference that it does not have.
    pub fn reference_dropped_badly(&self, cx: &Kernel<'_>, pfn: Pfn, holder: Holder) {
        let (count, held) = cx
            .pages
            .borrow()
            .get(pfn)
            .map_or((0, 0), |page| (page.count, page.held[holder as usize]));
        let freed = match count > 0 {
            true => String::new(),
            false => format!("; {}", self.who_freed(pfn)),
        };
        let message = format!(
            "{} gave back a reference to frame {pfn} for {}, which holds {held} (count {count})\
             {freed}",
            Change::now(cx),
            holder_name(holder)
        );
        self.report(cx, pfn, BUG, message, 0);
    }

    /// The map count of a frame has fallen below zero.
    pub fn mapcount_negative(&self, cx: &Kernel<'_>, pfn: Pfn) {
        let mapcount = cx.pages.borrow().get(pfn).map_or(0, |page| page.mapcount);
        let message = format!(
            "{} left frame {pfn} with a map count of {mapcount}",
            Change::now(cx)
        );
        self.report(cx, pfn, BUG, message, 0);
    }

    /// A sector of memory was copied to another: who stored to the one has stored to the other.
    pub fn sector_copied(&self, to: PhysAddr, from: PhysAddr) {
        self.frames.borrow_mut().copied(to, from);
    }

    /// Frames were copied to others.
    pub fn frames_copied(&self, to: Pfn, from: Pfn, frames: u32) {
        let mut notes = self.frames.borrow_mut();
        for frame in 0..frames {
            if notes.get(from + frame).is_none() {
                continue;
            }
            for at in (0..mmu::PAGE_SIZE as u64).step_by(mmu::SECTOR_SIZE) {
                notes.copied((to + frame).base() + at, (from + frame).base() + at);
            }
        }
    }

    /// Nothing is left to do: counts every frame's holders. A run that changed neither an entry
    /// nor a frame's bookkeeping is as balanced as it was prepared.
    pub fn quiesce(&self, cx: &Kernel<'_>) {
        if !self.entries_changed.get() && cx.pages.borrow().untouched() {
            return;
        }
        if cx.swaps() {
            self.count_slots(cx);
        }
        let mut frames = count_holders(cx);
        for pfn in self.frames.borrow().noted() {
            frames.entry(*pfn).or_default();
        }
        for (pfn, counted) in &frames {
            self.check_frame(cx, *pfn, counted);
        }
    }

    fn check_frame(&self, cx: &Kernel<'_>, pfn: Pfn, actual: &Counted) {
        let Some((count, mapcount, flags, held)) = cx.pages.borrow().get(pfn).map(|page| {
            let count = page.count - page.pins * (GUP_PIN_COUNTING_BIAS - 1);
            (count, page.mapcount, page.flags, page.held)
        }) else {
            return;
        };
        if flags.contains(PageFlags::RESERVED) {
            return;
        }
        if count > 0 && flags.contains(PageFlags::TABLE) {
            if !actual.table {
                let step = self
                    .frames
                    .borrow()
                    .get(pfn)
                    .map_or(0, |note| note.allocated);
                let message = format!(
                    "frame {pfn}, a page table since step {step}, is left over: no address space \
                     translates through it"
                );
                self.report(cx, pfn, LEAK, message, step);
            }
            return;
        }
        if count <= 0 && actual.mappings > 0 {
            let entries = counted(actual.mappings as usize, "entry that maps");
            let message = format!(
                "frame {pfn} is free, with {entries} it; {}",
                self.who_freed(pfn)
            );
            return cx
                .machine
                .violate("lifetime", "UAF", message, vec![Object::page(pfn)], 0);
        }
        if mapcount != actual.mappings {
            let word = if mapcount > actual.mappings {
                LEAK
            } else {
                BUG
            };
            let step = self.frames.borrow().taken(pfn, Holder::Mapping);
            let message = format!(
                "the map count of frame {pfn} is {mapcount} and {} it; the last mapping took its \
                 reference at step {step}",
                entries_that_map(actual.mappings)
            );
            self.report(cx, pfn, word, message, step);
        }
        let expected = [
            (Holder::Mapping, actual.mappings),
            (Holder::Pin, actual.pins),
            (Holder::Cache, actual.cached),
            (Holder::Batch, actual.batched),
            (Holder::Hand, 0),
        ];
        for (holder, there) in expected {
            let held = held[holder as usize];
            if held != there {
                self.report_holder(cx, pfn, holder, held, there);
            }
        }
        let sum: i32 = held.iter().sum();
        if count != sum {
            let word = if count > sum { LEAK } else { BUG };
            let message =
                format!("the count of frame {pfn} is {count}, and its holders hold {sum}");
            self.report(cx, pfn, word, message, 0);
        }
    }

    fn report_holder(&self, cx: &Kernel<'_>, pfn: Pfn, holder: Holder, held: i32, there: i32) {
        let word = if held > there { LEAK } else { BUG };
        let step = self.frames.borrow().taken(pfn, holder);
        let message = format!(
            "frame {pfn} is left with {} of {} and there {} {there}; the last was taken at step \
             {step}",
            counted(held.max(0) as usize, "reference"),
            holder_name(holder),
            if there == 1 { "is" } else { "are" },
        );
        self.report(cx, pfn, word, message, step);
    }

    fn report(&self, cx: &Kernel<'_>, pfn: Pfn, word: &'static str, message: String, since: u64) {
        cx.machine
            .violate(ORACLE, word, message, vec![Object::page(pfn)], since);
    }
}

fn entries_that_map(count: i32) -> String {
    match count {
        0 => "no entry maps".to_string(),
        1 => "one entry maps".to_string(),
        more => format!("{more} entries map"),
    }
}

/// Counts mappings and tables of live address spaces, pins of unfinished requests, pages of the
/// swap cache and of batches.
fn count_holders(cx: &Kernel<'_>) -> BTreeMap<Pfn, Counted> {
    let mut frames: BTreeMap<Pfn, Counted> = BTreeMap::new();
    let memory = cx.machine.memory();
    for mm in cx.mms.borrow().values() {
        walk::for_each_leaf(&memory, mm.root, |_, _, pte| {
            if pte.is_leaf() {
                frames.entry(pte.pfn()).or_default().mappings += 1;
            }
        });
        walk::for_each_table(&memory, mm.root, |pfn, _| {
            frames.entry(pfn).or_default().table = true;
        });
    }
    for slot in &cx.swap.borrow().slots {
        if let Some(pfn) = slot.cache {
            frames.entry(pfn).or_default().cached += 1;
        }
    }
    if let Some(head) = cx.huge_file.get() {
        frames.entry(head).or_default().cached += 1;
    }
    for pfn in cx.batches.borrow().waiting.iter().flatten() {
        frames.entry(*pfn).or_default().batched += 1;
    }
    for region in cx.regions.borrow().values() {
        for pfn in region.pages() {
            frames.entry(cx.compound_head(*pfn)).or_default().pins += 1;
        }
    }
    for dio in cx.requests.borrow().iter() {
        for pfn in &dio.pages {
            let head = cx.compound_head(*pfn);
            frames.entry(head).or_default().pins += 1;
        }
    }
    frames
}
