//! Tasks and processes.

use std::rc::Rc;

use emu::{CpuId, ThreadId};

use crate::file::FileId;
use crate::mm::MmId;

slotmap::new_key_type! {
    /// A task: what a scheduler runs.
    pub struct TaskId;
    /// A process: tasks that share memory and files.
    pub struct ProcessId;
}

/// A process's number.
pub type Pid = u32;

/// Where a task stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TaskState {
    /// Made, and on no run queue yet.
    New,
    /// On a run queue, or running.
    Runnable,
    /// Asleep, in the function named.
    Sleeping(&'static str),
}

/// A task.
#[derive(Clone)]
pub struct Task {
    /// Its name in reports.
    pub name: Rc<str>,
    /// The machine's side of it.
    pub thread: ThreadId,
    /// Its process.
    pub process: ProcessId,
    /// Its address space, until it exits.
    pub mm: Option<MmId>,
    // the run-queue step of its CPU:
    /// Running or asleep.
    pub state: TaskState,
    /// The CPU it ran on last.
    pub cpu: CpuId,
    /// It must leave at its next return to user mode.
    pub killed: bool,
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitStatus {
    /// By `exit`, with this status.
    Exited(i32),
    /// By a signal.
    Signaled(Signal),
}

/// Signals that end a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// `abort`.
    Abrt,
    /// Memory ran out.
    Kill,
    /// An access outside of all mappings, or against their permissions.
    Segv,
}

impl Signal {
    /// Its number.
    pub const fn number(self) -> i32 {
        match self {
            Signal::Abrt => 6,
            Signal::Kill => 9,
            Signal::Segv => 11,
        }
    }
}

impl ExitStatus {
    /// As a shell reports it: the status, or 128 and the signal.
    pub const fn code(self) -> i32 {
        match self {
            ExitStatus::Exited(status) => status,
            ExitStatus::Signaled(signal) => 128 + signal.number(),
        }
    }
}

/// A process.
pub struct Process {
    /// Its number.
    pub pid: Pid,
    /// Its name.
    pub name: String,
    /// Who waits for it.
    pub parent: Option<ProcessId>,
    /// Its tasks that have not ended.
    pub tasks: Vec<TaskId>,
    /// Open files.
    pub files: Vec<Option<FileId>>,
    /// Set when it begins to end.
    pub exit: Option<ExitStatus>,
    /// Ended, and not yet waited for.
    pub zombie: bool,
    /// Tasks of it that wait for a child to end.
    pub waiters: Vec<ThreadId>,
    /// It was made by `vfork`: its parent sleeps until it lets go of the address space they share.
    pub vforked: bool,
    /// Reported as the run's own: its exit status is the run's.
    pub main: bool,
}

/// By hand for `clone_from`, which resets a machine and must reuse the memory.
impl Clone for Process {
    fn clone(&self) -> Self {
        Process {
            name: self.name.clone(),
            tasks: self.tasks.clone(),
            files: self.files.clone(),
            waiters: self.waiters.clone(),
            ..*self
        }
    }

    fn clone_from(&mut self, from: &Self) {
        let Process {
            pid,
            name,
            parent,
            tasks,
            files,
            exit,
            zombie,
            waiters,
            vforked,
            main,
        } = self;
        *pid = from.pid;
        name.clone_from(&from.name);
        *parent = from.parent;
        tasks.clone_from(&from.tasks);
        files.clone_from(&from.files);
        *exit = from.exit;
        *zombie = from.zombie;
        waiters.clone_from(&from.waiters);
        *vforked = from.vforked;
        *main = from.main;
    }
}
