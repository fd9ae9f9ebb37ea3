//! Oracles: what watches the machine. Each finds a class of failure where it happens, and says
//! why in one sentence that names both sides.
//!
//! An oracle only observes. Paths of the kernel tell it what they do, after they did it and within
//! the same step; it answers with [`emu::Machine::violate`]. One file holds one oracle:
//!
//! | oracle | file | word |
//! |---|---|---|
//! | `shadow-memory` | `shadow.rs`, `load.rs` | CORRUPT |
//! | `dma-target` | `dma_target.rs` | CORRUPT |
//! | `file-image` | `file_image.rs` | CORRUPT |
//! | `snapshot` | `snapshot.rs` | TORN |
//! | `tlb-coherence` | `tlb_coherence.rs` | STALETLB |
//! | `reference-balance` | `reference_balance.rs` | LEAK, BUG |
//! | `lifetime` | `lifetime.rs` | UAF |
//!
//! `lock-order`, `wait-graph` and `context` live in the machine's locks; `assertion` and `check`
//! are [`Kernel::bug_on`](crate::Kernel::bug_on) and
//! [`Kernel::check_failed`](crate::Kernel::check_failed).
//!
//! What they do not judge: bytes that a write pin covered while fork ran (no flush stops a
//! device), bytes of a range between the call that drops it and the flush that completes the
//! drop, and whether a process that reads a buffer in flight sees its sectors in order.

mod dma_target;
mod file_image;
mod in_flight;
mod lifetime;
mod limbo;
mod load;
mod reference_balance;
mod shadow;
mod side_table;
mod snapshot;
mod tlb_coherence;

use std::cell::{Cell, RefCell};
use std::fmt;

use emu::ActorId;
use mmu::{Pfn, PhysAddr};

use crate::Kernel;
use in_flight::InFlight;
use reference_balance::{Ledger, Tally};
use shadow::Shadow;
use side_table::SideTable;
use tlb_coherence::TlbCoherence;
pub use tlb_coherence::Promise;

/// The state of all oracles of a kernel.
#[derive(Default)]
pub struct Oracles {
    shadow: RefCell<Shadow>,
    in_flight: RefCell<InFlight>,
    writers: RefCell<SideTable<[Writer; SECTORS]>>,
    ledger: RefCell<SideTable<Ledger>>,
    tally: RefCell<Tally>,
    tlb: RefCell<TlbCoherence>,
    /// Counts weakened entries and freed frames: what TLB entries are stamped with when filled.
    weakenings: Cell<u64>,
    /// Counts promises kept and frames freed: an entry verified since the last of them is right.
    promises: Cell<u64>,
}

/// Sectors of a page.
const SECTORS: usize = mmu::PAGE_SIZE / mmu::SECTOR_SIZE;

/// Who wrote a sector of memory last.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Writer {
    step: u64,
    who: Who,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
enum Who {
    #[default]
    Nobody,
    Process(u32),
    Request(u32),
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.who {
            Who::Nobody => f.write_str("nobody wrote there since the frame was allocated"),
            Who::Process(pid) => {
                write!(f, "it was last written by process {pid} at step {}", self.step)
            }
            Who::Request(io) => {
                write!(f, "it was last written by request {io} at step {}", self.step)
            }
        }
    }
}

/// Who did something, and where in the kernel.
#[derive(Clone, Copy, Debug)]
struct Doing {
    step: u64,
    actor: ActorId,
    function: &'static str,
}

impl Default for Doing {
    fn default() -> Self {
        Doing {
            step: 0,
            actor: ActorId::from_raw(0),
            function: "",
        }
    }
}

impl Doing {
    fn now(cx: &Kernel<'_>) -> Doing {
        let spans = cx.machine.spans(cx.machine.context());
        Doing {
            step: cx.machine.steps(),
            actor: cx.machine.actor(),
            function: spans.innermost().unwrap_or(""),
        }
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at step {}", self.actor, self.step)?;
        match self.function {
            "" => Ok(()),
            function => write!(f, " in {function}"),
        }
    }
}

impl Oracles {
    /// Oracles that have seen nothing.
    pub fn new() -> Self {
        Oracles::default()
    }

    /// The present state is the one that [`Oracles::reset`] returns to.
    pub fn remember(&self) {
        self.shadow.borrow_mut().remember();
        self.forget_run();
    }

    /// Back to the remembered state, in time proportional to what the run changed.
    pub fn reset(&self) {
        self.shadow.borrow_mut().reset();
        self.forget_run();
    }

    fn forget_run(&self) {
        self.in_flight.borrow_mut().reset();
        self.writers.borrow_mut().reset();
        self.ledger.borrow_mut().reset();
        self.tlb.borrow_mut().reset();
        self.weakenings.set(0);
        self.promises.set(0);
    }

    /// A frame was taken from the zone.
    pub fn frame_allocated(&self, _: &Kernel<'_>, pfn: Pfn) {
        *self.writers.borrow_mut().get_mut(pfn) = Default::default();
    }

    /// The kernel copied a sector: its bytes are still whose they were.
    pub fn sector_copied(&self, to: PhysAddr, from: PhysAddr) {
        let mut writers = self.writers.borrow_mut();
        let writer = writer_of(&writers, from);
        writers.get_mut(to.pfn())[sector_in_page(to)] = writer;
    }

    #[inline]
    fn wrote(&self, at: PhysAddr, writer: Writer) {
        self.writers.borrow_mut().get_mut(at.pfn())[sector_in_page(at)] = writer;
    }

    fn writer(&self, at: PhysAddr) -> Writer {
        writer_of(&self.writers.borrow(), at)
    }

    /// Everything is over: the books are closed.
    pub fn quiesce(&self, cx: &Kernel<'_>) {
        self.balance(cx);
    }
}

fn writer_of(writers: &SideTable<[Writer; SECTORS]>, at: PhysAddr) -> Writer {
    writers.get(at.pfn()).map_or_else(Writer::default, |all| all[sector_in_page(at)])
}

#[inline]
fn sector_in_page(at: PhysAddr) -> usize {
    at.offset() / mmu::SECTOR_SIZE
}
