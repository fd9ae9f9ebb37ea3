//! The kernel: its state, and small helpers that every path uses.

use std::cell::{Cell, Ref, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::mem::ManuallyDrop;
use std::rc::Rc;

use devices::{Moved, Timers, Vector};
use emu::{
    Code, Costs, CpuId, Guest, Kept, Kind, LockId, Machine, Object, Size, Stop, ThreadId, Touch,
};
use mmu::Pfn;
use slotmap::SlotMap;

use crate::bio::slot_done;
use crate::dio_range::Retry;
use crate::direct_io::{Cut, Requests};
use crate::event::Events;
use crate::file::{File, FileId};
use crate::flush::{CallSlot, FlushPolicy};
use crate::huge::HugeConfig;
use crate::mm::{Mm, MmId};
use crate::oracle::Oracles;
use crate::page::{Holder, PageFlags, Pages, Zone};
use crate::pagevec::Batches;
use crate::patch::{Hooks, Patch};
use crate::registration::Regions;
use crate::sched::RunQueue;
use crate::setup::Starter;
use crate::swap::Swap;
use crate::task::{Process, ProcessId, Task, TaskId, TaskState};
use crate::{Cx, event, irq, sched};

/// What a kernel is made of.
pub struct Config {
    /// What things cost.
    pub costs: Costs,
    /// How big the machine is.
    pub size: Size,
    /// Patches, the base kernel's first, in order of application.
    pub patches: Vec<&'static dyn Patch>,
    /// How translations are revoked.
    pub flush: &'static dyn FlushPolicy,
}

/// What a CPU has of its own.
#[derive(Default)]
pub(crate) struct PerCpu {
    /// The address space whose root is loaded.
    pub active_mm: Cell<Option<MmId>>,
    /// Whether it is kept only because nobody needed another.
    pub lazy: Cell<bool>,
    pub last_thread: Cell<Option<ThreadId>>,
    /// Who began to spin there last.
    pub spinner: Cell<Option<ThreadId>>,
    pub slice_end: Cell<u64>,
    pub timers: RefCell<Timers>,
}

/// A copy of fields that never change while an address space lives.
#[derive(Clone, Copy)]
pub struct MmHandle {
    /// The root page table.
    pub root: Pfn,
    /// See [`Mm::mmap_sem`].
    pub mmap_sem: LockId,
    /// See [`Mm::ptl`].
    pub ptl: LockId,
}

/// The kernel and its machine.
pub struct Kernel<'w> {
    /// The machine it runs on.
    pub machine: Machine<'w>,
    /// The patches, the one applied last first: it is asked first.
    pub(crate) patches: Vec<&'static dyn Patch>,
    pub(crate) hooks: Hooks,
    pub(crate) flush: &'static dyn FlushPolicy,
    /// Bookkeeping of frames.
    pub pages: RefCell<Pages>,
    pub(crate) zone: Kept<Zone>,
    /// Set where there are huge pages.
    pub(crate) huge: Cell<Option<HugeConfig>>,
    /// The cached page of the file of huge pages, where there is one.
    pub(crate) huge_file: Cell<Option<Pfn>>,
    /// The swap area.
    pub swap: Kept<Swap>,
    pub(crate) has_swap: Cell<bool>,
    pub(crate) batches: Kept<Batches>,
    /// What an allocation that may sleep looks at when memory is out.
    pub(crate) reclaimable: RefCell<Vec<Pfn>>,
    /// Address spaces.
    pub mms: RefCell<SlotMap<MmId, Mm>>,
    /// Tasks.
    pub tasks: RefCell<SlotMap<TaskId, Task>>,
    pub(crate) by_thread: RefCell<Vec<Option<TaskId>>>,
    /// Processes.
    pub processes: RefCell<SlotMap<ProcessId, Process>>,
    pub(crate) next_pid: Cell<u32>,
    /// Files.
    pub files: Kept<SlotMap<FileId, File>>,
    pub(crate) requests: Kept<Requests>,
    pub(crate) regions: Kept<Regions>,
    pub(crate) dio_cut: Cell<Cut>,
    /// Faults that are repeated.
    pub(crate) retries: Kept<Vec<Retry>>,
    pub(crate) events: Kept<Events>,
    pub(crate) rqs: Vec<RefCell<RunQueue>>,
    pub(crate) percpu: Vec<PerCpu>,
    pub(crate) call_slots: Kept<Vec<CallSlot>>,
    pub(crate) futexes: Kept<BTreeMap<(MmId, u64), VecDeque<ThreadId>>>,
    /// A task that must leave at its next return to user mode exists.
    pub(crate) kills_pending: Cell<u32>,
    pub(crate) console: Kept<String>,
    pub(crate) exit_status: Cell<Option<i32>>,
    pub(crate) counters: RefCell<Vec<(&'static str, u64)>>,
    pub(crate) zero_page: Pfn,
    /// What watches the machine.
    pub oracles: Oracles,
    pub(crate) starters: RefCell<ManuallyDrop<Vec<Starter<'w>>>>,
    pub(crate) at_end: RefCell<ManuallyDrop<Vec<Look<'w>>>>,
    pub(crate) remembered: RefCell<Option<Remembered>>,
}

/// A look at what is left when a run is over.
type Look<'w> = Box<dyn Fn(&Kernel<'w>) + 'w>;

/// What a reset returns to.
#[derive(Clone)]
pub(crate) struct Remembered {
    zone: Zone,
    swap: Swap,
    batches: Batches,
    mms: SlotMap<MmId, Mm>,
    processes: SlotMap<ProcessId, Process>,
    files: SlotMap<FileId, File>,
    next_pid: u32,
}

/// The lowest frames: 0 is never used, 1 is the zero page.
const FIRST_FREE_FRAME: u32 = 2;

impl<'w> Kernel<'w> {
    /// A kernel on a machine of its own, with nothing to run.
    pub fn new(config: Config) -> Kernel<'w> {
        let cpus = usize::from(config.size.cpus);
        let frames = config.size.frames;
        let machine = Machine::new(config.costs, config.size);
        let mut patches = config.patches;
        patches.reverse();
        let zero_page = Pfn::new(1);
        let mut pages = Pages::new(frames);
        pages.get_mut(zero_page).flags = PageFlags::RESERVED;
        pages.get_mut(zero_page).count = 1;
        let call_slots = (0..crate::flush::CALL_SLOTS)
            .map(|_| CallSlot::new(&machine))
            .collect();
        Kernel {
            hooks: patches
                .iter()
                .fold(Hooks::empty(), |all, it| all | it.hooks()),
            patches,
            flush: config.flush,
            pages: RefCell::new(pages),
            zone: Kept::new(Zone::new(FIRST_FREE_FRAME, frames)),
            huge: Cell::new(None),
            huge_file: Cell::new(None),
            swap: Kept::default(),
            has_swap: Cell::new(false),
            batches: Kept::default(),
            reclaimable: RefCell::default(),
            mms: RefCell::default(),
            tasks: RefCell::default(),
            by_thread: RefCell::default(),
            processes: RefCell::default(),
            next_pid: Cell::new(1),
            files: Kept::default(),
            requests: Kept::new(Requests::new(machine.costs().disk_queue as usize)),
            regions: Kept::default(),
            dio_cut: Cell::default(),
            retries: Kept::default(),
            events: Kept::default(),
            rqs: (0..cpus).map(|_| RefCell::default()).collect(),
            percpu: (0..cpus).map(|_| PerCpu::default()).collect(),
            call_slots: Kept::new(call_slots),
            futexes: Kept::default(),
            kills_pending: Cell::new(0),
            console: Kept::default(),
            exit_status: Cell::new(None),
            counters: RefCell::default(),
            zero_page,
            oracles: Oracles::new(),
            starters: RefCell::default(),
            at_end: RefCell::default(),
            remembered: RefCell::default(),
            machine,
        }
    }

    pub(crate) fn remember(&self) {
        self.machine.remember();
        self.pages.borrow_mut().remember();
        self.oracles.remember();
        *self.remembered.borrow_mut() = Some(Remembered {
            zone: self.zone.borrow().clone(),
            swap: self.swap.borrow().clone(),
            batches: self.batches.borrow().clone(),
            mms: self.mms.borrow().clone(),
            processes: self.processes.borrow().clone(),
            files: self.files.borrow().clone(),
            next_pid: self.next_pid.get(),
        });
    }

    /// Back to the state after preparing, for a run with this seed.
    fn reset(&self, seed: u64) {
        self.machine.reset(seed);
        self.pages.borrow_mut().reset();
        self.oracles.reset();
        let remembered = self.remembered.borrow();
        let saved = remembered
            .as_ref()
            .expect("a kernel is prepared before it runs");
        self.zone.put_back(|it| it.clone_from(&saved.zone));
        self.swap.put_back(|it| it.clone_from(&saved.swap));
        self.batches.put_back(|it| it.clone_from(&saved.batches));
        self.mms.borrow_mut().clone_from(&saved.mms);
        self.processes.borrow_mut().clone_from(&saved.processes);
        self.files.put_back(|it| it.clone_from(&saved.files));
        self.next_pid.set(saved.next_pid);
        self.tasks.borrow_mut().clear();
        self.by_thread.borrow_mut().clear();
        self.requests.put_back(Requests::clear);
        self.regions.put_back(Regions::clear);
        self.retries.put_back(Vec::clear);
        self.events.put_back(Events::clear);
        for rq in &self.rqs {
            let mut rq = rq.borrow_mut();
            rq.queue.clear();
            rq.idle = false;
        }
        for cpu in &self.percpu {
            cpu.active_mm.set(None);
            cpu.lazy.set(false);
            cpu.last_thread.set(None);
            cpu.spinner.set(None);
            cpu.slice_end.set(0);
            cpu.timers.replace(Timers::default());
        }
        self.call_slots
            .put_back(|slots| slots.iter_mut().for_each(CallSlot::clear));
        self.futexes.put_back(BTreeMap::clear);
        self.kills_pending.set(0);
        self.console.put_back(String::clear);
        self.exit_status.set(None);
        self.counters.borrow_mut().clear();
    }

    /// One run from the prepared state to its end; the oracles have their last look.
    pub fn run(&'w self, seed: u64) -> Stop {
        self.begin(seed);
        let stop = self.machine.run();
        self.finish(&stop);
        stop
    }

    /// Back to the prepared state, with the prepared threads on their CPUs.
    pub fn begin(&'w self, seed: u64) {
        self.reset(seed);
        for starter in self.starters.borrow().iter() {
            starter.start(self);
        }
    }

    /// What is judged only at the end: quiescence, the program's own look at what is left.
    pub fn finish(&self, stop: &Stop) {
        if let Stop::Deadlock(waiting) = stop {
            let lines: Vec<String> = waiting.iter().map(ToString::to_string).collect();
            let known = self
                .machine
                .violations()
                .iter()
                .any(|it| it.oracle == "wait-graph");
            if !known && !self.report_livelock() {
                self.machine
                    .violate("wait-graph", "HANG", lines.join("; "), Vec::new(), 0);
            }
        }
        if *stop == Stop::Finished {
            self.oracles.quiesce(self);
            for look in self.at_end.borrow().iter() {
                look(self);
            }
        }
    }

    /// The guest's standard output.
    pub fn console(&self) -> Ref<'_, String> {
        self.console.borrow()
    }

    /// The status of the main process, once it ended.
    pub fn exit_status(&self) -> Option<i32> {
        self.exit_status.get()
    }

    /// What was counted, by name.
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        let mut counters: BTreeMap<_, _> = self.counters.borrow().iter().copied().collect();
        let warnings = self.machine.warnings().len() as u64;
        if warnings > 0 {
            counters.insert("lock warnings", warnings);
        }
        counters
    }

    pub(crate) fn count(&self, what: &'static str, by: u64) {
        let mut counters = self.counters.borrow_mut();
        match counters.iter_mut().find(|it| it.0 == what) {
            Some(known) => known.1 += by,
            None => counters.push((what, by)),
        }
    }

    /// The program's own check failed.
    pub fn check_failed(&self, message: String) {
        self.machine
            .violate("check", "CHECK", message, Vec::new(), self.machine.steps());
    }

    /// An assertion of the kernel's (`BUG_ON`).
    pub fn bug_on(&self, failed: bool, message: impl FnOnce() -> String) {
        if failed {
            self.machine
                .violate("assertion", "BUG", message(), Vec::new(), 0);
        }
    }

    /// The patches' answer to a question, the last applied asked first.
    #[inline]
    pub(crate) fn ask<A>(&self, question: impl Fn(&'static dyn Patch) -> Option<A>) -> Option<A> {
        self.patches.iter().find_map(|patch| question(*patch))
    }

    /// The fixed fields of an address space.
    #[inline]
    pub fn mm(&self, mm: MmId) -> MmHandle {
        let mms = self.mms.borrow();
        let it = &mms[mm];
        MmHandle {
            root: it.root,
            mmap_sem: it.mmap_sem,
            ptl: it.ptl,
        }
    }

    /// The number of the process whose address space this is; 0 once it is gone.
    pub fn pid_of(&self, mm: MmId) -> u32 {
        self.mms.borrow().get(mm).map_or(0, |mm| mm.pid)
    }

    #[inline]
    pub(crate) fn rq(&self, cpu: CpuId) -> &RefCell<RunQueue> {
        &self.rqs[cpu.0 as usize]
    }

    /// The thread that runs on the CPU that acts.
    #[inline]
    pub fn current_thread(&self) -> ThreadId {
        self.machine
            .context()
            .thread()
            .or_else(|| self.machine.running(self.machine.cpu()))
            .expect("a task runs here")
    }

    /// The task that runs on the CPU that acts.
    #[inline]
    pub fn current(&self) -> TaskId {
        self.task_id(self.current_thread())
            .expect("a thread that runs is a task")
    }

    /// The address space of the current task.
    #[inline]
    pub fn current_mm(&self) -> MmId {
        self.tasks.borrow()[self.current()]
            .mm
            .expect("a user task has an address space")
    }

    pub(crate) fn task_id(&self, thread: ThreadId) -> Option<TaskId> {
        self.by_thread
            .borrow()
            .get(thread.0 as usize)
            .copied()
            .flatten()
    }

    pub(crate) fn task_of<R>(&self, thread: ThreadId, f: impl FnOnce(&Task) -> R) -> Option<R> {
        let id = self.task_id(thread)?;
        self.tasks.borrow().get(id).map(f)
    }

    pub(crate) fn change_task(&self, thread: ThreadId, f: impl FnOnce(&mut Task)) {
        if let Some(id) = self.task_id(thread)
            && let Some(task) = self.tasks.borrow_mut().get_mut(id)
        {
            let object = emu::Object::new(emu::Kind::Task, u64::from(thread.0));
            self.machine.touch(object, emu::Touch::Write);
            f(task);
        }
    }

    pub(crate) fn set_sleeping(&self, thread: ThreadId, what: &'static str) {
        self.change_task(thread, |task| task.state = TaskState::Sleeping(what));
    }

    /// The next number for a process or an address space.
    pub(crate) fn new_pid(&self) -> u32 {
        let numbers = emu::Object::new(emu::Kind::Task, 2 << 48);
        self.machine.touch(numbers, emu::Touch::Write);
        self.next_pid.replace(self.next_pid.get() + 1)
    }

    /// A new task of `process`, not yet on a run queue.
    pub(crate) fn new_task(
        &self,
        name: impl Into<Rc<str>>,
        process: ProcessId,
        mm: impl Into<Option<MmId>>,
        cpu: CpuId,
        code: Code<'w>,
    ) -> ThreadId {
        let thread = self.machine.new_thread(code);
        let task = self.tasks.borrow_mut().insert(Task {
            name: name.into(),
            thread,
            process,
            mm: mm.into(),
            state: TaskState::New,
            cpu,
            killed: false,
        });
        let mut by_thread = self.by_thread.borrow_mut();
        let at = thread.0 as usize;
        if by_thread.len() <= at {
            by_thread.resize(at + 1, None);
        }
        by_thread[at] = Some(task);
        drop(by_thread);
        self.processes.borrow_mut()[process].tasks.push(task);
        thread
    }

    /// A task that ended is no more (`finish_task_switch`).
    pub(crate) fn forget_task(&self, thread: ThreadId) {
        if let Some(task) = self.task_id(thread) {
            let task = self.tasks.borrow_mut().remove(task);
            if task.is_some_and(|task| task.killed) {
                self.kills_pending.set(self.kills_pending.get() - 1);
            }
        }
        self.by_thread.borrow_mut()[thread.0 as usize] = None;
        self.machine.free_thread(thread);
    }

    /// A free frame, in hand with one reference; part of a step on the zone, or of preparing.
    pub(crate) fn take_frame(&self) -> Option<Pfn> {
        let pfn = self.zone.borrow_mut().take()?;
        let mut pages = self.pages.borrow_mut();
        let page = pages.get_mut(pfn);
        assert_eq!(page.count, 0, "a free frame is in use: {pfn}");
        page.count = 1;
        page.mapcount = 0;
        page.flags = PageFlags::empty();
        page.mapping = None;
        page.private = 0;
        page.ext = None;
        page.held = [0; Holder::ALL.len()];
        page.held[Holder::Hand as usize] = 1;
        drop(pages);
        self.oracles.frame_allocated(self, pfn);
        Some(pfn)
    }

    /// Part of a step: `holder` gives its reference back; the last one frees the frame.
    pub(crate) fn drop_reference(&self, pfn: Pfn, holder: Holder) {
        let mut pages = self.pages.borrow_mut();
        let page = pages.get_mut(pfn);
        if page.flags.contains(PageFlags::RESERVED) {
            return;
        }
        let held = &mut page.held[holder as usize];
        if *held <= 0 || page.count <= 0 {
            drop(pages);
            return self.oracles.reference_dropped_badly(self, pfn, holder);
        }
        *held -= 1;
        page.count -= 1;
        if page.count > 0 {
            return;
        }
        let lock = page.lock.take();
        let mapped = page.mapcount != 0;
        drop(pages);
        if mapped {
            self.oracles.freed_while_mapped(self, pfn);
        }
        if let Some(lock) = lock {
            self.machine.destroy_lock(lock);
        }
        self.free_frame(pfn);
    }

    /// The frame is free; whoever still names it is caught by the oracles.
    pub(crate) fn free_frame(&self, pfn: Pfn) {
        let compound = {
            let mut pages = self.pages.borrow_mut();
            let page = pages.get_mut(pfn);
            page.count = 0;
            let compound = page.flags.contains(PageFlags::COMPOUND);
            page.flags -= PageFlags::COMPOUND;
            compound
        };
        self.oracles.frame_freed(self, pfn);
        let pool = Object::new(Kind::Zone, u64::from(compound));
        self.machine.touch(pool, Touch::Write);
        if compound {
            self.zone.borrow_mut().give_huge(pfn);
        } else {
            self.zone.borrow_mut().give(pfn);
        }
    }
}

impl<'w> Guest<'w> for Kernel<'w> {
    fn interrupt(&'w self, cpu: CpuId, vector: Vector) -> Code<'w> {
        irq::handler(self, cpu, vector)
    }

    fn declares_all(&self, vector: Vector) -> bool {
        irq::declares_all(self, vector)
    }

    fn happened(&self, event: u32) -> bool {
        event::happened(self, event)
    }

    fn schedule(&'w self, cpu: CpuId) -> Code<'w> {
        let cx: Cx<'w> = self;
        Box::pin(sched::schedule(cx, cpu))
    }

    fn sector_moved(&self, slot: usize, moved: &Moved) {
        self.touch_bytes(moved.addr.pfn());
        self.oracles.sector_moved(self, slot, moved);
    }

    fn transfer_done(&self, slot: usize) {
        slot_done(self, slot);
    }

    fn thread_name(&self, thread: ThreadId) -> String {
        self.task_of(thread, |task| task.name.to_string())
            .unwrap_or_else(|| format!("task {}", thread.0))
    }

    fn sleeping(&self, thread: ThreadId) -> Option<String> {
        let state = self.task_of(thread, |task| task.state)?;
        match state {
            TaskState::Sleeping(sched::PAUSE) => None,
            TaskState::Sleeping(what) => Some(format!("somebody to wake it in {what}")),
            TaskState::New | TaskState::Runnable => None,
        }
    }
}
