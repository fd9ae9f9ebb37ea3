//! The toy OS of Shootdown: tasks, address spaces, faults, fork, pins, direct I/O, with Linux's
//! names for Linux's functions, on an [`emu::Machine`].
//!
//! What this crate does not model: page migration, transparent huge pages, file mappings,
//! the page cache, signals other than those that end a process.

pub mod access_vm;
mod barrier;
mod bio;
mod clear_refs;
pub mod context;
mod cow_direction;
mod cpuset;
mod dio_range;
pub mod direct_io;
mod dump;
mod errno;
mod event;
mod exclusive;
pub mod exit;
mod extension;
pub mod fault;
pub mod file;
pub mod fixes;
pub mod flush;
pub mod fork;
mod fork_copy;
mod fork_lock;
mod futex;
pub mod gup;
pub mod huge;
mod huge_file;
mod irq;
mod kernel;
pub mod ksm;
pub mod lock;
pub mod mm;
pub mod oracle;
pub mod page;
mod page_guard;
pub mod pagevec;
pub mod patch;
mod pin;
mod pinned_mapping;
mod registration;
pub mod rmap;
pub mod sched;
mod setup;
pub mod swap;
mod task;
mod uaccess;
mod user;
pub mod vmscan;

pub use cpuset::CpuSet;
pub use dump::Dump;
pub use errno::Errno;
pub use extension::{Extension, Extensions};
pub use kernel::{Config, Kernel, MmHandle};
pub use mm::{Mm, MmId, VmFlags, Vma};
pub use page::{Holder, Page, PageFlags};
pub use patch::Patch;
pub use registration::RegionId;
pub use setup::Setup;
pub use task::{ExitStatus, Pid, Process, ProcessId, Signal, Task, TaskId, TaskState};
pub use user::{Advice, AioId, Tid, User};

/// The kernel, as every path names it. Which task acts is known from the CPU that acts.
pub type Cx<'w> = &'w Kernel<'w>;
