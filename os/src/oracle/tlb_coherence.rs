//! `tlb-coherence`: a CPU *uses* a translation that a completed flush has promised gone or weaker,
//! or one to a frame that was freed since.
//!
//! A clock counts weakenings of entries (the frame changed, or the permission to write went, or
//! the entry). An entry of a TLB is stamped with that clock when it is filled. A flush moves the
//! weakenings that preceded its beginning from "pending" to "promised" when it ends; an entry that
//! is older than the last promised weakening of its page must not be used, unless what it says is
//! still true. A second clock counts promises and freed frames: an entry that was checked at its
//! present value needs no second look, so that a hit costs one comparison.
//!
//! A stale entry that nobody uses (a lazy CPU's) is no violation.

use std::cell::{Cell, RefCell};

use emu::{CpuId, Object, Touch};
use mmu::{PageSize, Pfn, Pte, PteFlags, TlbEntry, VirtAddr, walk};
use slotmap::SecondaryMap;

use super::footprint::{Watched, touch_space};
use super::spaces::{page_address, page_index};
use super::{Change, Oracles};
use crate::flush::FlushRange;
use crate::{Kernel, MmId};

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// It may no longer be written through.
    Write,
    /// It names another frame.
    Frame,
    /// It is not present.
    Entry,
}

impl Loss {
    /// What a change takes away, if anything.
    fn of(old: Pte, new: Pte) -> Option<Loss> {
        if !old.is_leaf() {
            None
        } else if !new.is_leaf() {
            Some(Loss::Entry)
        } else if new.pfn() != old.pfn() {
            Some(Loss::Frame)
        } else {
            (old.writable() && !new.writable()).then_some(Loss::Write)
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Loss::Write => "took write permission away",
            Loss::Frame => "mapped another frame",
            Loss::Entry => "removed the mapping",
        }
    }
}

#[derive(Clone, Copy)]
struct Weakening {
    page: usize,
    stamp: u64,
    loss: Loss,
    by: Change,
}

#[derive(Clone, Copy)]
struct Promised {
    /// It counts in this run only.
    run: u32,
    what: Weakening,
    /// The step at which the flush completed.
    step: u64,
}

const CHUNK: usize = 64;

#[derive(Default)]
struct Revocations {
    pending: Vec<Weakening>,
    /// The last promised weakening of each page.
    promised: Vec<Option<Box<[Option<Promised>; CHUNK]>>>,
}

impl Revocations {
    /// What `flush` covers is promised from now on; tells whether it covers anything.
    fn keep(&mut self, flush: &Promise, run: u32, step: u64) -> bool {
        let Revocations { pending, promised } = self;
        let before = pending.len();
        pending.retain(|what| {
            if !flush.covers(what) {
                return true;
            }
            let at = what.page / CHUNK;
            if promised.len() <= at {
                promised.resize_with(at + 1, || None);
            }
            let chunk = promised[at].get_or_insert_with(|| Box::new([None; CHUNK]));
            let what = *what;
            chunk[what.page % CHUNK] = Some(Promised { run, what, step });
            false
        });
        pending.len() < before
    }

    fn promised(&self, page: usize, run: u32) -> Option<&Promised> {
        let chunk = self.promised.get(page / CHUNK)?.as_ref()?;
        chunk[page % CHUNK].as_ref().filter(|it| it.run == run)
    }
}

/// A flush under way: what it will have promised when it ends.
#[must_use = "a flush that completes keeps its promise by flush_end"]
#[derive(Debug)]
pub struct Promise {
    mm: MmId,
    range: FlushRange,
    stamp: u64,
}

impl Promise {
    fn covers(&self, weakening: &Weakening) -> bool {
        let inside = match self.range {
            FlushRange::All => true,
            FlushRange::Range { start, end } => {
                let page = page_address(weakening.page);
                page < end && start < page + mmu::PAGE_SIZE as u64
            }
        };
        inside && weakening.stamp <= self.stamp
    }
}

/// The state of the oracle.
#[derive(Default)]
pub(super) struct TlbCoherence {
    clock: Cell<u64>,
    verified: Cell<u64>,
    run: Cell<u32>,
    saved: Cell<(u64, u64)>,
    all: RefCell<SecondaryMap<MmId, Revocations>>,
    /// Address spaces that may have pending weakenings.
    changed: RefCell<Vec<MmId>>,
}

impl TlbCoherence {
    pub fn remember(&self) {
        self.saved.set((self.clock.get(), self.verified.get()));
    }

    pub fn reset(&self) {
        let (clock, verified) = self.saved.get();
        self.clock.set(clock);
        self.verified.set(verified);
        self.run.set(self.run.get().wrapping_add(1));
        let mut all = self.all.borrow_mut();
        for mm in self.changed.borrow_mut().drain(..) {
            if let Some(it) = all.get_mut(mm) {
                it.pending.clear();
            }
        }
    }

    fn tick(&self) -> u64 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
    }

    /// Translations to the frame, older than the stamp returned, must not be used.
    pub fn frame_freed(&self) -> u64 {
        self.verified.set(self.verified.get() + 1);
        self.tick()
    }

    fn weakened(&self, mm: MmId, page: usize, loss: Loss, by: Change) {
        let stamp = self.tick();
        let mut all = self.all.borrow_mut();
        if !all.contains_key(mm) {
            all.insert(mm, Revocations::default());
        }
        let pending = &mut all[mm].pending;
        if pending.is_empty() {
            self.changed.borrow_mut().push(mm);
        }
        pending.push(Weakening {
            page,
            stamp,
            loss,
            by,
        });
    }

    fn keep(&self, promise: &Promise, step: u64) {
        let mut all = self.all.borrow_mut();
        let kept = all
            .get_mut(promise.mm)
            .is_some_and(|it| it.keep(promise, self.run.get(), step));
        if kept {
            self.verified.set(self.verified.get() + 1);
        }
    }

    /// The promise that forbids an entry of this age.
    fn forbids(&self, mm: MmId, page: usize, filled: u64) -> Option<Promised> {
        let all = self.all.borrow();
        let promised = all.get(mm)?.promised(page, self.run.get())?;
        (promised.what.stamp > filled).then_some(*promised)
    }
}

impl Oracles {
    /// The stamp for the age of a translation that is filled now.
    #[inline]
    pub fn filled_stamp(&self) -> u64 {
        self.tlb.clock.get()
    }

    /// The stamp of a translation that is known to be right now.
    #[inline]
    pub fn verified_stamp(&self) -> u64 {
        self.tlb.verified.get()
    }

    /// A CPU uses a cached translation.
    #[inline]
    pub fn translated(
        &self,
        cx: &Kernel<'_>,
        cpu: CpuId,
        mm: MmId,
        entry: &mut TlbEntry,
        va: VirtAddr,
        write: bool,
    ) {
        if entry.verified != self.tlb.verified.get() {
            self.verify(cx, cpu, mm, entry, va, write);
        }
    }

    #[inline(never)]
    fn verify(
        &self,
        cx: &Kernel<'_>,
        cpu: CpuId,
        mm: MmId,
        entry: &mut TlbEntry,
        va: VirtAddr,
        write: bool,
    ) {
        entry.verified = self.tlb.verified.get();
        let pfn = entry.frame(va.page());
        // A huge page is freed by its head, and its entry stands for that of its first address.
        let (first, first_va) = match entry.size {
            PageSize::Small => (pfn, va),
            PageSize::Large => (entry.pfn, va.page().large_down().base()),
        };
        let freed = {
            let frames = self.frames.borrow();
            frames
                .get(first)
                .is_some_and(|note| note.freed_stamp > entry.filled)
        };
        let page = page_index(first_va);
        let promised = page.and_then(|page| self.tlb.forbids(mm, page, entry.filled));
        let promised = promised.filter(|_| !still_true(cx, mm, entry, va));
        if promised.is_none() && !freed {
            return;
        }
        // One report for each entry.
        entry.filled = self.tlb.clock.get();
        let verb = if write { "stored" } else { "loaded" };
        let pid = cx.pid_of(mm);
        let used = format!(
            "{cpu} {verb} through a translation of address {va} of process {pid} to frame {pfn} \
             that it had cached before"
        );
        let (message, since) = match promised {
            Some(Promised { what, step, .. }) => (
                format!(
                    "{used}; {} ({}) {} at step {} and its flush completed at step {step}",
                    what.by.by,
                    what.by.cpu,
                    what.loss.verb(),
                    what.by.step
                ),
                what.by.step,
            ),
            None => (
                format!("{used}; since then, {}", self.who_freed(first)),
                self.freed_step(first),
            ),
        };
        let root = cx.mm(mm).root;
        let mut focus = vec![
            Object::new(emu::Kind::Tlb, u64::from(cpu.0)),
            Object::page(pfn),
        ];
        let found = walk::lookup(&cx.machine.memory(), root, va);
        focus.extend(found.map(|(at, _)| Object::pte(at)));
        cx.machine
            .violate("tlb-coherence", "STALETLB", message, focus, since);
    }

    fn freed_step(&self, pfn: Pfn) -> u64 {
        let frames = self.frames.borrow();
        frames
            .get(pfn)
            .and_then(|note| note.freed)
            .map_or(0, |change| change.step)
    }

    /// A leaf entry of `mm` has changed.
    #[inline]
    pub fn entry_changed(&self, cx: &Kernel<'_>, mm: MmId, va: VirtAddr, old: Pte, new: Pte) {
        self.changed(cx, mm, va, PageSize::Small, old, new);
    }

    /// The entry of the huge page at `va` has changed.
    pub fn huge_entry_changed(&self, cx: &Kernel<'_>, mm: MmId, va: VirtAddr, old: Pte, new: Pte) {
        self.changed(cx, mm, va, PageSize::Large, old, new);
    }

    #[inline]
    fn changed(&self, cx: &Kernel<'_>, mm: MmId, va: VirtAddr, size: PageSize, old: Pte, new: Pte) {
        self.entries_changed.set(true);
        if new.is_leaf() && (!old.is_leaf() || new.pfn() != old.pfn()) {
            self.check_mapped(cx, mm, va, new.pfn());
        }
        if !new.present() && !new.is_none() {
            self.absent_entry_written(cx, mm, va, old, new);
        }
        let Some(loss) = Loss::of(old, new) else {
            return;
        };
        if self.is_gone(mm) {
            // Nobody can use its translations, but its frames are to be counted.
            self.frames.borrow_mut().of(old.pfn());
            return;
        }
        let Some(page) = page_index(va) else { return };
        let by = Change::now(cx);
        self.tlb.weakened(mm, page, loss, by);
        if loss == Loss::Write {
            return;
        }
        self.frames.borrow_mut().of(old.pfn());
        if self.watching.get() != 0 {
            self.transfers
                .borrow_mut()
                .entry_changed(mm, va, size, old.pfn(), by);
        }
    }

    /// A flush of `range` begins: it answers for what was weakened until now.
    pub fn flush_begin(&self, _: &Kernel<'_>, mm: MmId, range: FlushRange) -> Promise {
        Promise {
            mm,
            range,
            stamp: self.tlb.clock.get(),
        }
    }

    /// The flush has completed.
    pub fn flush_end(&self, cx: &Kernel<'_>, promise: Promise) {
        touch_space(cx, promise.mm, Watched::Flushes, Touch::Write);
        self.tlb.keep(&promise, cx.machine.steps());
    }
}

/// Whether the page table grants at least what the cached translation does.
fn still_true(cx: &Kernel<'_>, mm: MmId, entry: &TlbEntry, va: VirtAddr) -> bool {
    let found = walk::lookup_frame(&cx.machine.memory(), cx.mm(mm).root, va);
    found.is_some_and(|(_, pte, mapped)| {
        pte.is_leaf()
            && mapped == entry.frame(va.page())
            && (pte.writable() || !entry.flags.contains(PteFlags::W))
    })
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    fn mm() -> MmId {
        SlotMap::<MmId, ()>::with_key().insert(())
    }

    const BY: Change = Change {
        step: 4,
        cpu: CpuId(1),
        by: "copy_one_pte",
    };

    fn promise(tlb: &TlbCoherence, mm: MmId, range: FlushRange) -> Promise {
        Promise {
            mm,
            range,
            stamp: tlb.clock.get(),
        }
    }

    #[test]
    fn a_weakening_counts_once_its_flush_has_completed() {
        let (tlb, mm) = (TlbCoherence::default(), mm());
        let filled = tlb.clock.get();
        tlb.weakened(mm, 3, Loss::Write, BY);
        let flush = promise(&tlb, mm, FlushRange::All);
        assert!(tlb.forbids(mm, 3, filled).is_none());
        let verified = tlb.verified.get();
        tlb.keep(&flush, 9);
        assert!(tlb.verified.get() > verified, "entries are checked again");
        let forbidden = tlb.forbids(mm, 3, filled).expect("promised");
        assert_eq!((forbidden.what.by, forbidden.step), (BY, 9));
        assert!(tlb.forbids(mm, 4, filled).is_none());
        assert!(
            tlb.forbids(mm, 3, tlb.clock.get()).is_none(),
            "filled afterwards"
        );
    }

    #[test]
    fn a_flush_answers_for_what_came_before_it_and_in_its_range() {
        let (tlb, mm) = (TlbCoherence::default(), mm());
        tlb.weakened(mm, 3, Loss::Entry, BY);
        tlb.weakened(mm, 4, Loss::Entry, BY);
        let flush = promise(&tlb, mm, FlushRange::page(page_address(3)));
        tlb.weakened(mm, 3, Loss::Frame, BY);
        tlb.keep(&flush, 9);
        assert_eq!(
            tlb.forbids(mm, 3, 0).map(|it| it.what.loss),
            Some(Loss::Entry)
        );
        assert!(tlb.forbids(mm, 4, 0).is_none());
        let all = promise(&tlb, mm, FlushRange::All);
        tlb.keep(&all, 10);
        assert_eq!(
            tlb.forbids(mm, 3, 0).map(|it| it.what.loss),
            Some(Loss::Frame)
        );
        assert!(tlb.forbids(mm, 4, 0).is_some());
    }

    #[test]
    fn a_reset_forgets_promises_and_what_is_pending() {
        let (tlb, mm) = (TlbCoherence::default(), mm());
        tlb.remember();
        tlb.weakened(mm, 3, Loss::Entry, BY);
        let flush = promise(&tlb, mm, FlushRange::All);
        tlb.keep(&flush, 9);
        tlb.weakened(mm, 4, Loss::Entry, BY);
        tlb.reset();
        assert!(tlb.forbids(mm, 3, 0).is_none());
        let flush = promise(&tlb, mm, FlushRange::All);
        tlb.keep(&flush, 9);
        assert!(tlb.forbids(mm, 4, 0).is_none());
        assert_eq!(tlb.clock.get(), 0);
    }

    #[test]
    fn only_less_than_before_is_a_loss() {
        let flags = PteFlags::R | PteFlags::W | PteFlags::U;
        let writable = Pte::leaf(Pfn::new(7), flags);
        let readable = writable.without(PteFlags::W);
        assert_eq!(Loss::of(writable, readable), Some(Loss::Write));
        assert_eq!(Loss::of(readable, writable), None);
        assert_eq!(Loss::of(readable, readable.with(PteFlags::D)), None);
        assert_eq!(
            Loss::of(readable, Pte::leaf(Pfn::new(8), flags)),
            Some(Loss::Frame)
        );
        assert_eq!(Loss::of(readable, Pte::NONE), Some(Loss::Entry));
        assert_eq!(Loss::of(Pte::NONE, writable), None);
    }
}
