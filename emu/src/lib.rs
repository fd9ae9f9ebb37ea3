//! The machine of Shootdown: a seeded event queue, CPUs with interrupt contexts, locks, a cost
//! model, traces, choosers and replay.
//!
//! Everything that runs beside something else is an *actor*; its code is an ordinary `async fn`
//! and its only suspension points are *steps*. Between two `.await`s nothing else happens; at an
//! `.await`, anything may.
//!
//! What this crate does not model: pages, tasks and files (the guest kernel's), caches beyond the
//! last writer of a line, store buffers, instruction fetch.

#![allow(clippy::type_complexity)]

pub mod choose;
pub mod cost;
mod dma;
mod executor;
pub mod explore;
mod id;
mod kept;
mod lock;
mod machine;
mod object;
pub mod replay_file;
mod report;
mod reset;
pub mod rng;
mod step;
mod store_buffer;
mod trace;
mod tree;

pub use choose::{Argument, CHOOSERS, Choice, Chooser, ChooserKind, End, Make, Timed};
pub use cost::{CostError, Costs};
pub use executor::{Leaving, RunThread};
pub use id::{ActorId, ContextId, CpuId, LockId, Role, ThreadId};
pub use kept::Kept;
pub use lock::{LOCK_NUMBERS, LockClass, Mode, SpinGuard, lock_object};
pub use machine::{Code, Guest, Leave, Machine, Size, Span, cpu_object, readiness_object};
pub use object::{Access, Kind, Object, Touch, Word};
pub use report::{Stop, Violation, Waiting};
pub use step::{Acting, Request, Step, Want};
pub use store_buffer::Part;
pub use trace::{Digest, Record, SpanStack, Window};
