//! The machine: memory, CPUs, locks, devices and the engine that schedules them.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::future::Future;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::Pin;

use devices::{Disk, DmaEngine, InterruptController, Moved, Vector};
use mmu::{Pfn, PhysMemory, Tlb, WalkCache};
use rand_chacha::ChaCha8Rng;
use rand_core::RngCore;

use crate::id::FIRST_BUFFER;
use crate::lock::LockTable;
use crate::replay_file::Recorder;
use crate::store_buffer::StoreBuffer;
use crate::trace::{Digest, Record, SpanStack, Window};
use crate::{
    Access, ActorId, Chooser, ContextId, Costs, CpuId, Kept, Kind, Object, Role, Stop, ThreadId,
    Timed, Touch, Violation, rng,
};

/// Code of an actor or a thread.
pub type Code<'w> = Pin<Box<dyn Future<Output = ()> + 'w>>;

/// A place for code. `ManuallyDrop`, since code borrows the machine that holds it: the executor
/// takes it out before it drops it.
pub(crate) type CodeSlot<'w> = Cell<Option<ManuallyDrop<Code<'w>>>>;

/// What the machine asks of the kernel that runs on it.
pub trait Guest<'w> {
    /// The code that serves `vector` on `cpu`, the end-of-interrupt excluded.
    fn interrupt(&'w self, cpu: CpuId, vector: Vector) -> Code<'w>;
    /// Whether the handler of `vector` touches nothing that its CPU's own steps touch but what
    /// those and [`Guest::interrupt`] declare ([`Machine::touch`]). Otherwise exploration takes
    /// every step of the handler to depend on every step of the CPU.
    fn declares_all(&self, _vector: Vector) -> bool {
        false
    }
    /// Whether an event has happened that CPUs spin on. When it comes to be so, the guest says
    /// [`Machine::event_happened`].
    fn happened(&self, _event: u32) -> bool {
        false
    }
    /// The scheduler of `cpu`, which never ends.
    fn schedule(&'w self, cpu: CpuId) -> Code<'w>;
    /// One sector of a transfer has moved.
    fn sector_moved(&self, slot: usize, moved: &Moved);
    /// A transfer is over; an interrupt for it is on its way.
    fn transfer_done(&self, slot: usize);
    /// A thread's name.
    fn thread_name(&self, thread: ThreadId) -> String;
    /// What a thread that sleeps outside of any lock waits for; `None` if it does not matter.
    fn sleeping(&self, thread: ThreadId) -> Option<String>;
}

/// How big the machine is.
#[derive(Clone, Debug)]
pub struct Size {
    /// CPUs, 1 to 512.
    pub cpus: u16,
    /// 4 KiB frames of memory.
    pub frames: u32,
    /// Whether a CPU may go on before others can see what it has written
    /// ([`Machine::write_later`]).
    pub store_buffers: bool,
}

/// Bookkeeping of a context: where it stands, what it holds.
#[derive(Default)]
pub(crate) struct ContextState {
    pub spans: RefCell<SpanStack>,
    pub held: RefCell<Vec<crate::LockId>>,
    pub waits_for: Cell<Option<crate::LockId>>,
    /// Pages mapped through a slot of the CPU's, which it may not leave meanwhile.
    pub atomic_mappings: Cell<u32>,
}

impl ContextState {
    /// As it began.
    pub fn clear(&self) {
        self.spans.borrow_mut().clear();
        self.held.borrow_mut().clear();
        self.atomic_mappings.set(0);
        self.waits_for.set(None);
    }
}

/// One CPU. Futures and flags here belong to the executor; the guest sees it through [`Machine`].
pub(crate) struct Cpu<'w> {
    pub scheduler: CodeSlot<'w>,
    pub handlers: RefCell<Vec<(Vector, ManuallyDrop<Code<'w>>)>>,
    pub handler_depth: Cell<u8>,
    /// The handler that runs has said what it touches of this CPU's.
    pub declared: Cell<bool>,
    pub running: Cell<Option<ThreadId>>,
    pub leave: Cell<Option<Leave>>,
    pub irqs_enabled: Cell<bool>,
    pub need_resched: Cell<bool>,
    pub woken: Cell<bool>,
    pub interrupts: Kept<InterruptController>,
    pub tlb: RefCell<Tlb>,
    pub walk_cache: RefCell<WalkCache>,
    pub root: Cell<Option<Pfn>>,
    pub asid: Cell<u16>,
    pub idle_context: ContextState,
    pub handler_contexts: [ContextState; MAX_NESTING],
}

/// Handlers can nest this deep; further interrupts stay pending.
pub(crate) const MAX_NESTING: usize = 4;

/// Why a thread stopped being a CPU's current one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leave {
    /// It sleeps.
    Block,
    /// Its time slice is over.
    Preempt,
    /// Its code ended.
    End,
}

#[derive(Default)]
pub(crate) struct Thread<'w> {
    pub code: CodeSlot<'w>,
    pub next_code: CodeSlot<'w>,
    pub alive: Cell<bool>,
    pub context: ContextState,
}

/// What an announcement leaves behind.
#[derive(Clone, Copy)]
pub(crate) struct Announced {
    pub request: crate::Request,
    pub context: ContextId,
    /// When it would be ready if nothing held it back.
    pub ready: u64,
}

/// What is known of 64 slots.
#[derive(Clone, Default)]
pub(crate) struct Marks {
    /// They may be enabled: a superset.
    pub marked: Cell<u64>,
    /// Those of them that are: their step wants nothing but its turn, and no handler runs on top.
    /// Of one that acts it says what it was when it was chosen; it announces again before anybody
    /// looks.
    pub ready: Cell<u64>,
    /// Those of them that must be asked at each choice.
    pub ask: Cell<u64>,
}

/// Who can go on.
pub(crate) struct Candidates {
    /// In words of 64.
    pub slots: Vec<u64>,
    /// The actors of these slots, in their order.
    pub actors: Vec<ActorId>,
}

/// The engine's own state.
pub(crate) struct Engine {
    pub timed: Timed,
    pub time_decides: Cell<bool>,
    pub keeps_time: Cell<bool>,
    pub chooser: RefCell<Option<Box<dyn Chooser>>>,
    pub chosen: Cell<Option<ActorId>>,
    pub last: Cell<Option<ActorId>>,
    pub granted: Cell<bool>,
    /// Who acts; and the CPU of that, as [`Machine::cpu`] tells it.
    pub current: Cell<ActorId>,
    pub cpu: Cell<CpuId>,
    pub context: Cell<ContextId>,
    pub clock: Cell<u64>,
    pub steps: Cell<u64>,
    pub limit: Cell<u64>,
    pub pause_at: Cell<u64>,
    pub stop: RefCell<Option<Stop>>,
    pub stopping: Cell<bool>,
    pub digest: Cell<Digest>,
    pub recording: Cell<bool>,
    pub watching: Cell<bool>,
    /// Whether the chooser asked for footprints.
    pub tracks: Cell<bool>,
    /// Whether they are noted now: not as long as the run is one that the chooser told ahead.
    pub tracking: Cell<bool>,
    /// Who goes in the first steps, as the chooser told ahead ([`Chooser::lead`]); how many of
    /// them there are in this run, and how many went.
    pub lead: RefCell<Vec<ActorId>>,
    pub lead_len: Cell<usize>,
    pub led: Cell<usize>,
    /// What was touched since the last choice.
    pub footprint: RefCell<Vec<(Object, Touch)>>,
    /// What the step that acts touches instead of what it announced.
    pub narrowed: Cell<Option<(Object, Touch)>>,
    pub window: Cell<Window>,
    pub records: RefCell<Vec<Record>>,
    pub recorder: RefCell<Option<Recorder>>,
    pub times: Vec<Cell<u64>>,
    pub announced: Vec<Cell<Option<Announced>>>,
    /// By slots in words of 64.
    pub marks: Vec<Marks>,
    pub candidates: RefCell<Candidates>,
    /// Whether candidates must be looked for before the next choice.
    pub stale: Cell<bool>,
    /// Of this run.
    pub seed: Cell<u64>,
    /// See [`crate::Choice::interrupted`].
    pub interrupted: RefCell<Vec<ActorId>>,
    /// See [`crate::Choice::masked`].
    pub masked: RefCell<Vec<ActorId>>,
    pub spinner_rng: RefCell<ChaCha8Rng>,
    /// Seeded when a run first uses the disk.
    pub disk_rng: RefCell<ChaCha8Rng>,
    pub idle_rng: RefCell<ChaCha8Rng>,
    /// Last writer of a line: a direct-mapped table of (object, run, CPU + 1).
    pub lines: Vec<Cell<(u64, u32, u16)>>,
    /// Runs so far: what an earlier run left in `lines` does not count.
    pub run: Cell<u32>,
}

/// A deterministic SMP machine. Everything is behind shared references: the code of the guest
/// holds `&'w Machine<'w>`, and between two `.await`s nothing else happens.
pub struct Machine<'w> {
    pub(crate) costs: Costs,
    pub(crate) size: Size,
    pub(crate) engine: Engine,
    pub(crate) memory: RefCell<PhysMemory>,
    pub(crate) cpus: Vec<Cpu<'w>>,
    /// Those of this run, and behind them what earlier runs left.
    pub(crate) threads: RefCell<Vec<Thread<'w>>>,
    pub(crate) threads_made: Cell<usize>,
    pub(crate) free_threads: RefCell<Vec<ThreadId>>,
    pub(crate) locks: Kept<LockTable>,
    pub(crate) counters: RefCell<Vec<i64>>,
    pub(crate) disk: RefCell<Disk>,
    pub(crate) dma: RefCell<DmaEngine>,
    /// Where the head will be when the transfer it works on ends; `None` when it has none.
    pub(crate) head: Cell<Option<u64>>,
    /// Whether this run has used the disk.
    pub(crate) disk_used: Cell<bool>,
    /// Transfers that wait for the head: their first sector, and their slot.
    pub(crate) disk_queue: RefCell<Vec<(u64, usize)>>,
    pub(crate) transfers: Vec<CodeSlot<'w>>,
    pub(crate) transfer_contexts: Vec<ContextState>,
    /// One a CPU, where there are any; each has a slot after those of transfers.
    pub(crate) buffers: Vec<RefCell<StoreBuffer<'w>>>,
    pub(crate) guest: Cell<Option<&'w dyn Guest<'w>>>,
    pub(crate) violations: RefCell<Vec<Violation>>,
    pub(crate) warnings: RefCell<Vec<String>>,
    pub(crate) dying: Cell<bool>,
}

const LINES: usize = 1024;

impl<'w> Machine<'w> {
    /// A machine of this size and cost.
    pub fn new(costs: Costs, size: Size) -> Machine<'w> {
        let cpus = usize::from(size.cpus);
        let depth = costs.disk_queue as usize;
        let buffers = if size.store_buffers { cpus } else { 0 };
        let devices = match buffers {
            0 => depth,
            more => FIRST_BUFFER + more,
        };
        let slots = 2 * cpus + devices;
        let tlb = Tlb::new(&costs.tlb_geometry());
        let mut all = Vec::with_capacity(cpus);
        all.resize_with(cpus, || Cpu::new(tlb.clone()));
        Machine {
            engine: Engine::new(slots, costs.jitter_percent),
            memory: RefCell::new(PhysMemory::new(size.frames)),
            cpus: all,
            threads: RefCell::default(),
            threads_made: Cell::new(0),
            free_threads: RefCell::default(),
            locks: Kept::default(),
            counters: RefCell::default(),
            disk: RefCell::new(Disk::new(costs.disk_timing())),
            dma: RefCell::new(DmaEngine::new(depth)),
            head: Cell::new(None),
            disk_used: Cell::new(false),
            disk_queue: RefCell::default(),
            transfers: (0..devices).map(|_| Cell::default()).collect(),
            transfer_contexts: (0..devices).map(|_| ContextState::default()).collect(),
            buffers: (0..buffers).map(|_| RefCell::default()).collect(),
            guest: Cell::new(None),
            violations: RefCell::default(),
            warnings: RefCell::default(),
            dying: Cell::new(false),
            costs,
            size,
        }
    }

    /// Puts the kernel on the machine.
    pub fn boot(&self, guest: &'w dyn Guest<'w>) {
        self.guest.set(Some(guest));
    }

    pub(crate) fn guest(&self) -> &'w dyn Guest<'w> {
        self.guest.get().expect("a kernel was booted")
    }

    /// What things cost.
    #[inline]
    pub fn costs(&self) -> &Costs {
        &self.costs
    }

    /// How big it is.
    pub fn size(&self) -> &Size {
        &self.size
    }

    /// The clock, in cycles.
    #[inline]
    pub fn now(&self) -> u64 {
        self.engine.clock.get()
    }

    /// Steps taken so far; while a step acts, its own number.
    #[inline]
    pub fn steps(&self) -> u64 {
        self.engine.steps.get()
    }

    /// The digest of the steps so far.
    pub fn digest(&self) -> Digest {
        self.engine.digest.get()
    }

    /// Who acts.
    #[inline]
    pub fn actor(&self) -> ActorId {
        self.engine.current.get()
    }

    /// On whose behalf.
    #[inline]
    pub fn context(&self) -> ContextId {
        self.engine.context.get()
    }

    /// The CPU that acts; devices count as CPU 0.
    #[inline]
    pub fn cpu(&self) -> CpuId {
        self.engine.cpu.get()
    }

    #[inline]
    pub(crate) fn set_current(&self, actor: ActorId) {
        self.engine.current.set(actor);
        self.engine.cpu.set(actor.on_cpu().unwrap_or_default());
    }

    /// Whether simulated time decides (time slices exist then).
    pub fn timed(&self) -> bool {
        self.engine.keeps_time.get()
    }

    /// Memory, for reading by oracles and dumps: a look that is not a step.
    #[inline]
    pub fn memory(&self) -> Ref<'_, PhysMemory> {
        self.memory.borrow()
    }

    #[inline]
    pub(crate) fn memory_mut(&self) -> RefMut<'_, PhysMemory> {
        self.memory.borrow_mut()
    }

    /// Memory, for preparing a machine before it runs and for the frames a step owns alone.
    #[inline]
    pub fn prepare_memory(&self) -> RefMut<'_, PhysMemory> {
        self.memory.borrow_mut()
    }

    /// The TLB of `cpu`.
    #[inline]
    pub fn tlb(&self, cpu: CpuId) -> RefMut<'_, Tlb> {
        self.cpus[cpu.0 as usize].tlb.borrow_mut()
    }

    /// The paging-structure cache of `cpu`.
    #[inline]
    pub fn walk_cache(&self, cpu: CpuId) -> RefMut<'_, WalkCache> {
        self.cpus[cpu.0 as usize].walk_cache.borrow_mut()
    }

    /// The root table and address-space number that `cpu` translates with.
    #[inline]
    pub fn root(&self, cpu: CpuId) -> (Option<Pfn>, u16) {
        let cpu = &self.cpus[cpu.0 as usize];
        (cpu.root.get(), cpu.asid.get())
    }

    /// Loads a root table; flushing is the caller's business.
    pub fn set_root(&self, cpu: CpuId, root: Option<Pfn>, asid: u16) {
        let cpu = &self.cpus[cpu.0 as usize];
        cpu.root.set(root);
        cpu.asid.set(asid);
    }

    /// The disk, outside of transfers: contents, extents.
    pub fn disk(&self) -> RefMut<'_, Disk> {
        self.disk.borrow_mut()
    }

    /// The DMA engine, for oracles and dumps.
    pub fn dma(&self) -> Ref<'_, DmaEngine> {
        self.dma.borrow()
    }

    /// A new counter that CPUs can spin on until it is zero.
    pub fn counter(&self) -> u32 {
        let mut counters = self.counters.borrow_mut();
        counters.push(0);
        counters.len() as u32 - 1
    }

    pub(crate) fn add_counter(&self, counter: u32, change: i64) {
        let now = {
            let mut counters = self.counters.borrow_mut();
            let value = &mut counters[counter as usize];
            *value += change;
            assert!(*value >= 0, "counter {counter} fell below zero");
            *value
        };
        self.touch(
            Object::new(Kind::Counter, u64::from(counter)),
            Touch::Adjust,
        );
        if now == 0 {
            self.wake_spinners(crate::Want::Zero(counter));
        }
    }

    /// Those who spin on the event can go on.
    pub fn event_happened(&self, event: u32) {
        self.wake_spinners(crate::Want::Event(event));
    }

    /// Appends what an oracle found; the run goes on as the real machine would.
    pub fn violate(
        &self,
        oracle: &'static str,
        word: &'static str,
        message: String,
        focus: Vec<Object>,
        since: u64,
    ) {
        let mut all = self.violations.borrow_mut();
        let known = all
            .iter()
            .rev()
            .filter(|it| it.oracle == oracle)
            .take(MAX_VIOLATIONS);
        if known.count() < MAX_VIOLATIONS {
            all.push(Violation {
                oracle,
                word,
                message,
                step: self.steps(),
                cycle: self.now(),
                focus,
                since,
            });
        }
    }

    /// What the oracles found so far.
    pub fn violations(&self) -> Ref<'_, Vec<Violation>> {
        self.violations.borrow()
    }

    /// Something to know that is no violation.
    pub fn warn(&self, message: String) {
        let mut all = self.warnings.borrow_mut();
        if !all.contains(&message) {
            all.push(message);
        }
    }

    /// The warnings so far.
    pub fn warnings(&self) -> Ref<'_, Vec<String>> {
        self.warnings.borrow()
    }

    /// Enters a function of the guest kernel, for traces and messages; left when dropped.
    #[inline]
    pub fn span(&'w self, name: &'static str) -> Span<'w> {
        let context = self.context();
        self.with_context(context, |state| state.spans.borrow_mut().push(name));
        Span {
            machine: self,
            context,
        }
    }

    /// The functions that `context` stands in.
    pub fn spans(&self, context: ContextId) -> SpanStack {
        self.with_context(context, |state| *state.spans.borrow())
    }

    #[inline]
    pub(crate) fn with_context<R>(
        &self,
        context: ContextId,
        f: impl FnOnce(&ContextState) -> R,
    ) -> R {
        match context {
            ContextId::Idle(cpu) => f(&self.cpus[cpu.0 as usize].idle_context),
            ContextId::Handler(cpu, depth) => {
                f(&self.cpus[cpu.0 as usize].handler_contexts[depth as usize])
            }
            ContextId::Device(slot) => f(&self.transfer_contexts[slot as usize]),
            ContextId::Thread(thread) => f(&self.threads.borrow()[thread.0 as usize].context),
        }
    }

    /// The name of a context, as messages use it.
    pub fn name_of(&self, context: ContextId) -> String {
        match context {
            ContextId::Thread(thread) => self.guest().thread_name(thread),
            other => other.to_string(),
        }
    }

    /// The step that acts touches more than the object it announced, or an oracle that looks at
    /// it does: exploration takes two steps for independent unless one of them says so.
    #[inline]
    pub fn touch(&self, object: Object, touch: impl Into<Touch>) {
        if self.engine.tracking.get() {
            let touched = (object, touch.into());
            self.engine.footprint.borrow_mut().push(touched);
        }
    }

    /// What every step of a CPU shares with its interrupt handlers.
    #[inline]
    fn touch_cpu(&self, actor: ActorId, access: Access) {
        match actor.role() {
            Role::Cpu(cpu) => self.touch(cpu_object(cpu), Touch::Read),
            // A handler that waits for what its own CPU holds keeps that from going on.
            Role::Irq(cpu)
                if access == Access::Lock || !self.cpus[cpu.0 as usize].declared.get() =>
            {
                self.touch(cpu_object(cpu), Touch::Write);
            }
            Role::Irq(_) | Role::Device(_) => {}
        }
    }

    /// Whether somebody wants to know what steps touch ([`Machine::touch`]).
    #[inline]
    pub fn tracking(&self) -> bool {
        self.engine.tracking.get()
    }

    /// Bounds the run to this many steps.
    pub fn limit_steps(&self, limit: u64) {
        self.engine.limit.set(limit);
    }

    /// Stops the run once this many steps have been taken; [`Machine::run`] goes on from there.
    pub fn pause_at(&self, step: u64) {
        self.engine.pause_at.set(step);
    }

    /// Records the steps of this window.
    pub fn record(&self, window: Window) {
        self.engine.window.set(window);
        self.engine.recording.set(true);
        self.set_watching();
    }

    /// The records so far.
    pub fn records(&self) -> Ref<'_, Vec<Record>> {
        self.engine.records.borrow()
    }

    /// Records the choices, for a replay file.
    pub fn record_choices(&self) {
        *self.engine.recorder.borrow_mut() = Some(Recorder::default());
        self.set_watching();
    }

    /// The choices recorded.
    pub fn choices(&self) -> Option<Vec<crate::replay_file::Segment>> {
        self.engine
            .recorder
            .borrow_mut()
            .take()
            .map(Recorder::finish)
    }

    /// Access times of the disk vary as every cost does; a stream of their own.
    fn disk_jitter(&self) -> i64 {
        let width = self.costs.cycles_from_us(self.costs.disk_access_us)
            * u64::from(self.costs.jitter_percent)
            / 100;
        let draw = u64::from(self.engine.disk_rng.borrow_mut().next_u32());
        ((draw * (2 * width + 1)) >> 32) as i64 - width as i64
    }

    /// How long this CPU takes to leave its idle state: it depends on how deep it happened to be.
    pub(crate) fn idle_exit(&self) -> u64 {
        let draw = u64::from(self.engine.idle_rng.borrow_mut().next_u32());
        (draw * (u64::from(self.costs.idle_exit) + 1)) >> 32
    }

    /// Queues a transfer on the disk; `Err` gives it back when the queue is full. The device
    /// becomes an actor that moves a sector a step.
    ///
    /// The disk has one head and takes what is queued in one direction (C-LOOK): the next request
    /// at or after the head, and from the lowest again after the last. When time does not matter
    /// every request can go on at once.
    pub fn submit(&'w self, transfer: devices::Transfer) -> Result<usize, devices::Transfer> {
        if self.dma.borrow().in_flight().count() >= self.costs.disk_queue as usize {
            return Err(transfer);
        }
        self.touch(crate::dma::QUEUE, Touch::Write);
        let lba = transfer.lba;
        let slot = self.dma.borrow_mut().start(transfer);
        if self.timed() && self.head.get().is_some() {
            self.disk_queue.borrow_mut().push((lba, slot));
        } else {
            self.begin_transfer(slot);
        }
        Ok(slot)
    }

    /// The head turns to this transfer.
    fn begin_transfer(&'w self, slot: usize) {
        let (lba, sectors) = {
            let dma = self.dma.borrow();
            let transfer = dma.transfer(slot).expect("a transfer was started");
            (transfer.lba, transfer.sectors())
        };
        self.head.set(Some(lba + u64::from(sectors)));
        if !self.disk_used.replace(true) {
            let seed = self.engine.seed.get();
            self.engine
                .disk_rng
                .replace(rng::stream(seed, rng::Purpose::Disk));
        }
        let jitter = self.disk_jitter();
        let schedule = self
            .disk
            .borrow_mut()
            .submit(self.now(), lba, sectors, jitter);
        let schedule = schedule.expect("the DMA engine has no more places than the disk's queue");
        let first = crate::dma::sector_request(self, slot, &schedule, 0);
        self.transfers[slot].set(Some(ManuallyDrop::new(Box::pin(crate::dma::transfer(
            self, slot, schedule,
        )))));
        self.start_device(slot, &first);
    }

    /// The head is free, and turns to the next request in its direction.
    pub(crate) fn next_transfer(&'w self) {
        let Some(head) = self.head.take() else { return };
        let next = {
            let mut queue = self.disk_queue.borrow_mut();
            let next = (0..queue.len()).min_by_key(|at| (queue[*at].0 < head, queue[*at]));
            next.map(|at| queue.swap_remove(at))
        };
        if let Some((_, slot)) = next {
            self.begin_transfer(slot);
        }
    }

    /// Gives the place of a finished transfer back.
    pub fn retire(&self, slot: usize) -> devices::Transfer {
        self.touch(crate::dma::QUEUE, Touch::Write);
        self.disk.borrow_mut().complete();
        self.dma.borrow_mut().finish(slot)
    }

    /// Sends `vector` to `target` over the wire.
    pub(crate) fn send(&self, target: CpuId, vector: Vector) {
        let delay = self.distance(
            self.cpu(),
            target,
            self.costs.wire_near,
            self.costs.wire_far,
        );
        self.raise_at(target, vector, self.now() + delay);
    }

    /// Raises `vector` on `target` at `time`: timers and devices.
    pub fn raise_at(&self, target: CpuId, vector: Vector, time: u64) {
        self.cpus[target.0 as usize]
            .interrupts
            .borrow_mut()
            .raise(vector, time);
        self.touch(Object::new(Kind::Irq, u64::from(target.0)), Touch::Write);
        self.rekey_irq(target);
    }

    /// Whether two CPUs share a socket decides the price.
    pub(crate) fn distance(&self, from: CpuId, to: CpuId, near: u32, far: u32) -> u64 {
        let per_socket = self.costs.cpus_per_socket as u16;
        u64::from(if from.0 / per_socket == to.0 / per_socket {
            near
        } else {
            far
        })
    }

    /// The current actor works for so many cycles before its next step, on nothing shared.
    #[inline]
    pub fn spend(&self, cycles: u64) {
        let time = &self.engine.times[self.slot(self.actor())];
        time.set(time.get().max(self.now()) + cycles);
    }

    /// Whether the CPU takes interrupts.
    #[inline]
    pub fn irqs_enabled(&self, cpu: CpuId) -> bool {
        self.cpus[cpu.0 as usize].irqs_enabled.get()
    }

    /// Turns interrupts on this CPU on or off. Not a step: only this CPU can tell.
    pub fn set_irqs(&self, enabled: bool) {
        let cpu = self.cpu();
        self.cpus[cpu.0 as usize].irqs_enabled.set(enabled);
        self.touch(readiness_object(cpu), Touch::Write);
        self.rekey_irq(cpu);
    }

    /// Asks `cpu` to look for another task at its next chance.
    pub fn set_need_resched(&self, cpu: CpuId, need: bool) {
        let known = self.cpus[cpu.0 as usize].need_resched.replace(need);
        if known != need {
            self.touch(readiness_object(cpu), Touch::Write);
            if need {
                // Whatever the CPU does next, it may leave its task first.
                self.touch(cpu_object(cpu), Touch::Write);
            }
        }
    }

    /// Whether it was asked.
    #[inline]
    pub fn need_resched(&self, cpu: CpuId) -> bool {
        self.cpus[cpu.0 as usize].need_resched.get()
    }

    /// Ends the halt of a CPU.
    pub fn wake_cpu(&self, cpu: CpuId) {
        self.cpus[cpu.0 as usize].woken.set(true);
        self.mark_cpu(cpu);
        self.touch(Object::new(Kind::RunQueue, u64::from(cpu.0)), Touch::Write);
        self.rekey_cpu(cpu);
    }

    /// The thread that is current on `cpu`.
    #[inline]
    pub fn running(&self, cpu: CpuId) -> Option<ThreadId> {
        self.cpus[cpu.0 as usize].running.get()
    }

    /// A new thread; it takes its first step once a scheduler runs it.
    pub fn new_thread(&self, code: Code<'w>) -> ThreadId {
        self.touch(THREAD_NUMBERS, Touch::Write);
        let id = self.free_threads.borrow_mut().pop().unwrap_or_else(|| {
            let made = self.threads_made.get();
            self.threads_made.set(made + 1);
            ThreadId(made as u32)
        });
        let mut threads = self.threads.borrow_mut();
        if threads.len() == id.0 as usize {
            threads.push(Thread::default());
        }
        let thread = &threads[id.0 as usize];
        thread.code.set(Some(ManuallyDrop::new(code)));
        thread.next_code.set(None);
        thread.alive.set(true);
        thread.context.clear();
        id
    }

    /// An ended thread's number may be used again.
    pub fn free_thread(&self, thread: ThreadId) {
        assert!(!self.alive(thread), "a thread that lives is freed");
        self.touch(THREAD_NUMBERS, Touch::Write);
        self.free_threads.borrow_mut().push(thread);
    }

    /// Replaces what a thread does, once its present step is over: how a killed task comes to
    /// leave through the kernel.
    pub fn replace_code(&self, thread: ThreadId, code: Code<'w>) {
        let old = self.threads.borrow()[thread.0 as usize]
            .next_code
            .replace(Some(ManuallyDrop::new(code)));
        assert!(old.is_none(), "a thread's code was replaced twice");
    }

    pub(crate) fn alive(&self, thread: ThreadId) -> bool {
        self.threads.borrow()[thread.0 as usize].alive.get()
    }

    /// Called by the step that was just taken.
    #[inline]
    pub(crate) fn taken(
        &self,
        object: Object,
        access: Access,
        value: u64,
        extra: u64,
        at: &'static Location<'static>,
    ) {
        let engine = &self.engine;
        let actor = engine.current.get();
        let context = engine.context.get();
        let mut digest = engine.digest.get();
        digest.fold(
            object.raw() ^ u64::from(context.raw()).rotate_left(20),
            value ^ u64::from(actor.raw()).rotate_left(40) ^ (access as u64).rotate_left(60),
        );
        engine.digest.set(digest);
        let told = engine.keeps_time.get() | engine.tracking.get() | engine.watching.get();
        if extra != 0 || told {
            self.account(object, access, value, extra, at);
        }
    }

    /// What else a step leaves behind.
    #[inline(never)]
    fn account(
        &self,
        object: Object,
        access: Access,
        value: u64,
        extra: u64,
        at: &'static Location<'static>,
    ) {
        let engine = &self.engine;
        let actor = engine.current.get();
        if extra != 0 {
            let slot = self.slot(actor);
            engine.times[slot].set(engine.times[slot].get() + extra);
        }
        if access.writes() && engine.keeps_time.get() {
            self.own_line(object, actor);
        }
        if engine.tracking.get() {
            self.touch_cpu(actor, access);
            match engine.narrowed.take() {
                Some((object, touch)) => self.touch(object, touch),
                None => self.touch(object, access),
            }
        }
        if engine.watching.get() {
            self.watch(object, access, value, at);
        }
    }

    #[cold]
    #[inline(never)]
    fn watch(&self, object: Object, access: Access, value: u64, at: &'static Location<'static>) {
        let engine = &self.engine;
        let (actor, digest) = (engine.current.get(), engine.digest.get());
        if let Some(recorder) = engine.recorder.borrow_mut().as_mut() {
            recorder.push(actor, object, access, digest);
        }
        if let Some(chooser) = engine.chooser.borrow_mut().as_mut()
            && let Err(why) = chooser.taken(engine.steps.get(), actor, digest)
        {
            self.stop(Stop::Diverged(why));
        }
        let window = engine.window.get();
        let step = engine.steps.get();
        if engine.recording.get() && (window.from..=window.to).contains(&step) {
            engine.records.borrow_mut().push(Record {
                step,
                cycle: engine.clock.get(),
                actor,
                context: engine.context.get(),
                object,
                access,
                value,
                spans: self.spans(engine.context.get()),
                at,
            });
        }
    }

    /// Ends the run after the present poll.
    pub(crate) fn stop(&self, why: Stop) {
        let mut stop = self.engine.stop.borrow_mut();
        // A bound may be reached by the very step that turns out to be another: that outweighs it.
        if stop.is_none() || matches!(why, Stop::Diverged(_)) {
            *stop = Some(why);
        }
        self.engine.stopping.set(true);
    }

    #[inline]
    fn line(&self, object: Object) -> &Cell<(u64, u32, u16)> {
        let hash = object.raw().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        &self.engine.lines[hash as usize % LINES]
    }

    #[inline]
    fn own_line(&self, object: Object, actor: ActorId) {
        if let Some(cpu) = actor.on_cpu() {
            let run = self.engine.run.get();
            self.line(object).set((object.raw(), run, cpu.0 + 1));
        }
    }

    /// What fetching the object's line costs, if another CPU wrote it last.
    #[inline]
    pub(crate) fn line_cost(&self, object: Object, cpu: CpuId) -> u64 {
        let (owned, run, owner) = self.line(object).get();
        let stale = run != self.engine.run.get() || owned != object.raw() || owner == 0;
        if stale || owner == cpu.0 + 1 || object.kind() == Kind::Private {
            return 0;
        }
        self.distance(
            CpuId(owner - 1),
            cpu,
            self.costs.line_near,
            self.costs.line_far,
        )
    }

    #[inline]
    pub(crate) fn slot(&self, actor: ActorId) -> usize {
        match actor.role() {
            Role::Device(slot) => 2 * self.cpus.len() + slot,
            _ => actor.raw() as usize,
        }
    }

    #[inline]
    pub(crate) fn actor_of_slot(&self, slot: usize) -> ActorId {
        let cpus = 2 * self.cpus.len();
        if slot < cpus {
            ActorId::from_raw(slot as u16)
        } else {
            ActorId::device(slot - cpus)
        }
    }
}

/// A CPU, as its own steps and its interrupt handlers share it.
pub fn cpu_object(cpu: CpuId) -> Object {
    Object::new(Kind::Cpu, u64::from(cpu.0))
}

/// Which numbers threads have: who comes first gets the lower one.
const THREAD_NUMBERS: Object = Object::new(Kind::Task, 1 << 48);

/// What a CPU decides about interrupts to come: whether it takes them, whether they end in a
/// switch of tasks, and whose.
pub fn readiness_object(cpu: CpuId) -> Object {
    Object::new(Kind::Cpu, 1 << 16 | u64::from(cpu.0))
}

/// So many violations of one oracle tell enough; a run can have one at every step.
const MAX_VIOLATIONS: usize = 100;

impl Cpu<'_> {
    fn new(tlb: Tlb) -> Self {
        Cpu {
            scheduler: Cell::default(),
            handlers: RefCell::default(),
            handler_depth: Cell::new(0),
            declared: Cell::new(false),
            running: Cell::new(None),
            leave: Cell::new(None),
            irqs_enabled: Cell::new(true),
            need_resched: Cell::new(false),
            woken: Cell::new(false),
            interrupts: Kept::default(),
            tlb: RefCell::new(tlb),
            walk_cache: RefCell::default(),
            root: Cell::new(None),
            asid: Cell::new(0),
            idle_context: ContextState::default(),
            handler_contexts: Default::default(),
        }
    }
}

impl Engine {
    fn new(slots: usize, jitter_percent: u32) -> Engine {
        Engine {
            timed: Timed::new(slots, jitter_percent, 0),
            time_decides: Cell::new(true),
            keeps_time: Cell::new(true),
            chooser: RefCell::default(),
            chosen: Cell::new(None),
            last: Cell::new(None),
            granted: Cell::new(false),
            current: Cell::new(ActorId::cpu(CpuId(0))),
            cpu: Cell::new(CpuId(0)),
            context: Cell::new(ContextId::Idle(CpuId(0))),
            clock: Cell::new(0),
            steps: Cell::new(0),
            limit: Cell::new(u64::MAX),
            pause_at: Cell::new(u64::MAX),
            stop: RefCell::default(),
            stopping: Cell::new(false),
            digest: Cell::default(),
            recording: Cell::new(false),
            watching: Cell::new(false),
            tracks: Cell::new(false),
            tracking: Cell::new(false),
            lead: RefCell::default(),
            lead_len: Cell::new(0),
            led: Cell::new(0),
            footprint: RefCell::default(),
            narrowed: Cell::new(None),
            window: Cell::new(Window { from: 0, to: 0 }),
            records: RefCell::default(),
            recorder: RefCell::default(),
            times: (0..slots).map(|_| Cell::new(0)).collect(),
            announced: (0..slots).map(|_| Cell::new(None)).collect(),
            marks: vec![Marks::default(); slots.div_ceil(64)],
            candidates: RefCell::new(Candidates {
                slots: vec![0; slots.div_ceil(64)],
                actors: Vec::new(),
            }),
            stale: Cell::new(true),
            seed: Cell::new(0),
            interrupted: RefCell::default(),
            masked: RefCell::default(),
            spinner_rng: RefCell::new(rng::stream(0, rng::Purpose::Spinner)),
            disk_rng: RefCell::new(rng::stream(0, rng::Purpose::Disk)),
            idle_rng: RefCell::new(rng::stream(0, rng::Purpose::Idle)),
            lines: vec![Cell::new((0, 0, 0)); LINES],
            run: Cell::new(0),
        }
    }
}

/// A function of the guest kernel that a context stands in.
#[must_use = "the function is left when this is dropped"]
pub struct Span<'w> {
    machine: &'w Machine<'w>,
    context: ContextId,
}

impl Drop for Span<'_> {
    fn drop(&mut self) {
        if self.machine.dying.get() {
            return;
        }
        self.machine
            .with_context(self.context, |state| state.spans.borrow_mut().pop());
    }
}
