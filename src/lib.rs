//! Shootdown: a deterministic SMP machine and a toy OS whose memory management reads like Linux,
//! to make races between them fail on demand.
//!
//! This crate is the face for users: [`Run`] says what to run on what, [`Report`] what it gave,
//! [`Explore`] runs many interleavings of it, [`Registry`] says what there is, and [`cli`] is the
//! whole command line.
//!
//! ```
//! use shootdown::Run;
//!
//! # fn main() -> Result<(), shootdown::Error> {
//! // The 2008 direct-I/O bug, and the same program on a kernel with a fix.
//! let broken = Run::of("forkscrew")?.run()?;
//! let fixed = Run::of("forkscrew")?.fix("A41")?.run()?;
//! assert!(fixed.is_clean(), "{fixed}");
//! // One seed, one interleaving, for ever.
//! assert_eq!(Run::of("forkscrew")?.run()?.digest, broken.digest);
//! # Ok(())
//! # }
//! ```
//!
//! What this crate does not do: it models nothing. What the machine and the OS leave out is said
//! in `emu` and `os`; a clean report says that *this* interleaving showed nothing.

mod cli;
mod clock;
mod configuration;
mod diagram;
mod diagram_row;
mod error;
mod explore;
mod json;
mod output;
mod registry;
mod replay;
mod report;
mod run;
mod session;
mod suggest;
pub mod verdicts;

pub use cli::cli;
pub use configuration::{Configuration, SavedBudget, SavedConfiguration, SavedMachine};
pub use diagram::Diagram;
pub use emu::{Stop, Violation};
pub use error::Error;
pub use explore::{
    Deciding, Exploration, Explore, ExploreJson, Explored, FirstFailure, Interval, Progress,
    SCHEDULES, TimeToFailure,
};
pub use json::RunJson;
pub use registry::{
    ChooserChoice, Fix, Item, MachineChoice, Registry, chooser, fix, flush, reproducer, row,
};
pub use replay::Replay;
pub use report::{Outcome, Report};
pub use run::{MACHINE, MAX_STEPS, Run};
pub use session::Session;

/// What items of one's own are made of: the crates below, by the names their documentation has.
pub use {devices, emu, mmu, os, workloads};
