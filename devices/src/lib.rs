//! The devices of the Shootdown machine: interrupt controllers, timers, interrupt wires, a disk
//! and a DMA engine.
//!
//! Each is a state machine that is *told* the time, in cycles of the machine's clock. None of
//! them knows of an engine, a CPU or a chooser: the machine asks what is due, decides what
//! happens next, and tells the device. So the same devices serve a run in simulated time (pass
//! `Some(now)`) and an exploration that ignores deadlines (pass `None`).
//!
//! ```
//! use devices::{InterruptController, Vector};
//!
//! const TICK: Vector = Vector(0x31);
//! const CALL: Vector = Vector(0xfb);
//!
//! let mut lapic = InterruptController::new();
//! lapic.raise(TICK, 100);
//! lapic.raise(CALL, 250);
//! assert_eq!(lapic.deliverable(Some(99)), None); // both are still on the wire
//! assert_eq!(lapic.deliverable(Some(100)), Some(TICK));
//! lapic.accept(TICK);
//! // A higher priority class nests in the handler of a lower one.
//! assert_eq!(lapic.deliverable(Some(300)), Some(CALL));
//! lapic.accept(CALL);
//! lapic.eoi();
//! assert_eq!(lapic.in_service(), Some(TICK));
//! ```
//!
//! Not modelled: level-triggered interrupts, the task-priority register, spurious and
//! non-maskable interrupts; seek distance, rotation, read-ahead and write caches of a disk, its
//! errors; an IOMMU, and transfers torn inside a sector.

mod disk;
mod dma;
mod interrupt;
mod timer;
mod wire;

pub use disk::{Disk, DiskTiming, QueueFull, Schedule};
pub use dma::{Direction, DmaEngine, DmaError, Moved, Segment, Transfer};
pub use interrupt::{InterruptController, Vector};
pub use timer::{TimerId, Timers};
pub use wire::Wires;
