//! Taking translations back: the `flush_tlb_*` family, and the policies behind it. One policy a
//! file, listed in [`ALL`].

mod broadcast;
mod linux_2_6_18;
mod never;

use devices::Vector;
use emu::{Access, Code, CpuId, Kind, LockId, Machine, Object, Request};
use mmu::{Pfn, VirtAddr};

use crate::Cx;
use crate::cpuset::CpuSet;
use crate::lock::TLBSTATE_LOCK;
use crate::mm::MmId;
use crate::page::{Holder, put_page};
use crate::swap::free_swap_cache;

/// The policies there are.
pub const ALL: &[&dyn FlushPolicy] = &[
    &linux_2_6_18::Linux2618,
    &broadcast::Broadcast,
    &never::Never,
];

/// How stale translations are taken back from the TLBs of other CPUs.
pub trait FlushPolicy: Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// One line on it.
    fn about(&self) -> &'static str;
    /// Flushes `range` of `mm` from every TLB that may hold it; done when it completes.
    fn flush<'w>(&self, cx: Cx<'w>, mm: MmId, range: FlushRange) -> Code<'w>;
    /// Whether its interrupt declares all it touches ([`emu::Guest::declares_all`]).
    fn declares_all(&self) -> bool {
        false
    }
    /// Serves an interrupt that the policy sent.
    fn interrupt<'w>(&self, cx: Cx<'w>, cpu: CpuId, vector: Vector) -> Code<'w>;
}

/// What to flush.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlushRange {
    /// The whole address space.
    All,
    /// The pages that touch these addresses.
    Range {
        /// First byte.
        start: VirtAddr,
        /// First byte after it.
        end: VirtAddr,
    },
}

impl FlushRange {
    /// One page.
    pub fn page(va: VirtAddr) -> FlushRange {
        FlushRange::Range {
            start: va.page_down(),
            end: va.page_down() + mmu::PAGE_SIZE as u64,
        }
    }

    /// The page, if it is one page only.
    pub fn one_page(self) -> Option<VirtAddr> {
        match self {
            FlushRange::Range { start, end } if end - start <= mmu::PAGE_SIZE as u64 => Some(start),
            _ => None,
        }
    }
}

/// A slot in which one CPU asks others to flush, and waits until all have.
#[derive(Clone)]
pub struct CallSlot {
    /// Guards the slot.
    pub lock: LockId,
    /// How many have not acknowledged.
    pub pending: u32,
    // the slot's own line:
    /// Who is asked and has not acknowledged.
    pub mask: CpuSet,
    /// What to flush.
    pub what: Option<(MmId, FlushRange)>,
}

/// Slots, and vectors to go with them.
pub const CALL_SLOTS: usize = 8;

impl CallSlot {
    pub(crate) fn new(machine: &Machine<'_>) -> CallSlot {
        CallSlot {
            lock: machine.new_lock(&TLBSTATE_LOCK),
            pending: machine.counter(),
            mask: CpuSet::EMPTY,
            what: None,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.mask = CpuSet::EMPTY;
        self.what = None;
    }
}

/// The object that stands for a call slot in traces.
pub fn slot_object(slot: usize) -> Object {
    Object::new(Kind::Call, slot as u64)
}

/// Flushes an address space (`flush_tlb_mm`), and promises it.
pub async fn flush_tlb_mm(cx: Cx<'_>, mm: MmId, range: FlushRange) {
    let _span = cx.machine.span("flush_tlb_mm");
    promise(cx, mm, range).await;
}

/// Flushes a page (`flush_tlb_page`), and promises it.
pub async fn flush_tlb_page(cx: Cx<'_>, mm: MmId, range: FlushRange) {
    let _span = cx.machine.span("flush_tlb_page");
    promise(cx, mm, range).await;
}

async fn promise(cx: Cx<'_>, mm: MmId, range: FlushRange) {
    let promise = cx.oracles.flush_begin(cx, mm, range);
    cx.flush.flush(cx, mm, range).await;
    cx.oracles.flush_end(cx, promise);
    cx.count("flushes", 1);
}

/// Flushes this CPU's own TLB: a step.
pub async fn flush_local(cx: Cx<'_>, range: FlushRange) {
    let cpu = cx.machine.cpu();
    let costs = cx.machine.costs();
    let cost = match range.one_page() {
        Some(_) => costs.invlpg,
        None => costs.cr3_flush,
    };
    let object = Object::new(Kind::Tlb, u64::from(cpu.0));
    cx.machine
        .step(Request::touch(object, Access::Write, cost), |acting| {
            flush_now(cx, acting.cpu(), range);
        })
        .await;
}

/// Part of a step: flushes the TLB of `cpu`.
fn flush_now(cx: Cx<'_>, cpu: CpuId, range: FlushRange) {
    let (_, asid) = cx.machine.root(cpu);
    let mut tlb = cx.machine.tlb(cpu);
    match range.one_page() {
        Some(page) => tlb.flush_page(asid, page.page()),
        None => tlb.flush_all(),
    }
    // INVLPG drops every cached upper-level entry too.
    cx.machine.walk_cache(cpu).flush();
}

/// Frames whose translations may still be cached. They are freed through here, after the flush,
/// and by nothing else.
#[must_use = "the frames leak unless they are freed"]
pub struct Revoked {
    mm: MmId,
    range: FlushRange,
    frames: Vec<Pfn>,
}

impl Revoked {
    /// Nothing revoked yet in `range` of `mm`.
    pub fn new(mm: MmId, range: FlushRange) -> Revoked {
        Revoked {
            mm,
            range,
            frames: Vec::new(),
        }
    }

    /// An entry that named `pfn` was cleared; its reference is now held here.
    pub fn push(&mut self, pfn: Pfn) {
        self.frames.push(pfn);
    }

    /// Flushes, then gives the references back (`tlb_finish_mmu`).
    pub async fn finish(self, cx: Cx<'_>) {
        let _span = cx.machine.span("tlb_finish_mmu");
        promise(cx, self.mm, self.range).await;
        for pfn in self.frames {
            free_swap_cache(cx, pfn).await;
            put_page(cx, pfn, Holder::Mapping).await;
        }
    }
}
