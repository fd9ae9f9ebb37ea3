//! Oracles: each finds one class of failure where it happens, and says in one sentence who did
//! what to whom. They observe; none changes the machine.
//!
//! | id | fires when | word |
//! |---|---|---|
//! | `shadow-memory` | a load returns what neither program order nor a completed request explains | CORRUPT |
//! | `snapshot` | a child's page mixes two instants of the parent's | TORN |
//! | `dma-target` | a sector lands in a frame that the requester's address no longer maps | CORRUPT |
//! | `file-image` | a byte reaches the disk that the process did not hold there since it submitted | CORRUPT |
//! | `tlb-coherence` | a CPU uses a translation that a completed flush promised gone, or one to a freed frame | STALETLB |
//! | `reference-balance` | references or mappings differ from their holders | LEAK, BUG |
//! | `lifetime` | a freed frame is used or mapped | UAF |
//! | `entry-ownership` | a swap entry is malformed, or its slot not in use or miscounted | SWAPENT |
//!
//! What they see of a run: stores and loads of user mode, changes of page-table entries, flushes,
//! forks, transfers and their sectors, references. What they do not see: stores by the kernel into
//! user memory other than copies of pages (there are none).

use std::cell::{Cell, RefCell};
use std::fmt;

use emu::CpuId;

use crate::{Kernel, MmId};

mod dma_target;
mod entry_ownership;
mod file_image;
mod footprint;
mod frame_notes;
mod lifetime;
mod reference_balance;
mod shadow;
mod snapshot;
mod spaces;
#[cfg(test)]
mod tests;
mod tlb_coherence;
mod transfers;

use frame_notes::FrameNotes;
use snapshot::Windows;
use spaces::Spaces;
use tlb_coherence::TlbCoherence;
use transfers::Transfers;

pub use tlb_coherence::Promise;

/// Everything that watches a machine.
#[derive(Default)]
pub struct Oracles {
    spaces: RefCell<Spaces>,
    frames: RefCell<FrameNotes>,
    transfers: RefCell<Transfers>,
    windows: RefCell<Windows>,
    tlb: TlbCoherence,
    /// Forks under way and requests in flight. While it is zero, which is nearly always, a store
    /// needs no history.
    watching: Cell<usize>,
    /// An entry has changed since the prepared state, which was in balance.
    entries_changed: Cell<bool>,
}

impl Oracles {
    /// Oracles of a machine that has done nothing yet.
    pub fn new() -> Oracles {
        Oracles::default()
    }

    /// What is known now is what [`Oracles::reset`] returns to.
    pub fn remember(&self) {
        self.spaces.borrow_mut().remember();
        self.tlb.remember();
    }

    /// Back to what was remembered; the cost is in proportion to what has changed since.
    pub fn reset(&self) {
        self.spaces.borrow_mut().reset();
        self.frames.borrow_mut().next_run();
        self.transfers.borrow_mut().clear();
        self.windows.borrow_mut().clear();
        self.tlb.reset();
        self.watching.set(0);
        self.entries_changed.set(false);
    }

    fn count_watched(&self) {
        let count = self.transfers.borrow().in_flight() + self.windows.borrow().open();
        self.watching.set(count);
    }

    /// Whether the address space is being taken down, or is gone: nobody runs in it.
    fn is_gone(&self, mm: MmId) -> bool {
        self.spaces.borrow().get(mm).is_some_and(|space| space.gone)
    }
}

/// Who changed something, and when: one side of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    step: u64,
    cpu: CpuId,
    /// The function of the guest kernel.
    by: &'static str,
}

impl Change {
    /// What is going on at this moment.
    fn now(cx: &Kernel<'_>) -> Change {
        let spans = cx.machine.spans(cx.machine.context());
        Change {
            step: cx.machine.steps(),
            cpu: cx.machine.cpu(),
            by: spans.innermost().unwrap_or("user mode"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} at step {}", self.cpu, self.by, self.step)
    }
}

/// `count` things, in words.
fn counted(count: usize, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}
