//! Reduced searches against the unreduced one, on generated programs with locks, interrupts and
//! transfers: the same final states, the same violations, at every bound.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use devices::{Direction, Moved, Segment, Transfer, Vector};
use emu::explore::{Found, Outcome, Program, Reduction, Runner, Search};
use emu::{
    Access, ActorId, CHOOSERS, Choice, Chooser, Code, Costs, CpuId, Guest, Kind, LockClass, LockId,
    Machine, Make, Object, Request, Size, Stop, ThreadId, Touch, Want,
};
use mmu::PhysAddr;
use proptest::prelude::*;

static SPIN: LockClass = LockClass {
    name: "spin",
    sleeps: false,
};

const VARS: usize = 2;
const LOCKS: usize = 2;
const VECTOR: Vector = Vector(40);
const QUIET: Vector = Vector(42);
const DISK: Vector = Vector(41);
/// The sector of memory that transfers go to.
const SECTOR: PhysAddr = PhysAddr::new(4096);

#[derive(Clone, Copy, Debug)]
enum Op {
    Load(usize),
    /// The same, once somebody has stored there.
    Poll(usize),
    Store(usize),
    /// Into the CPU's store buffer.
    StoreLater(usize),
    Barrier,
    Add(usize),
    /// Fires an oracle if the variable is what this CPU stored there last.
    Check(usize),
    LockedAdd(usize, usize),
    Nested(usize, usize),
    TryLock(usize, usize),
    IrqsOff(usize, usize),
    Ipi(u16),
    /// An interrupt whose handler declares what it touches.
    Quiet(u16),
    /// What that handler touches of its CPU's.
    Local,
    Dma,
    LoadSector,
}

struct World<'w> {
    machine: Machine<'w>,
    program: &'w [Vec<Op>],
    vars: Vec<Cell<u64>>,
    seen: Vec<Cell<u64>>,
    /// One a CPU.
    locals: Vec<Cell<u64>>,
    locks: Vec<LockId>,
}

/// What a CPU has of its own.
fn tlb(cpu: CpuId) -> Object {
    Object::new(Kind::Tlb, u64::from(cpu.0))
}

fn mix(one: u64, other: u64) -> u64 {
    (one.rotate_left(17) ^ other.wrapping_add(0x9e37_79b9_7f4a_7c15))
        .wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

impl<'w> World<'w> {
    fn new(program: &'w [Vec<Op>]) -> World<'w> {
        let cpus = program.len() as u16;
        let later = |op: &Op| matches!(op, Op::StoreLater(_));
        let machine = Machine::new(
            Costs::preset("skylake-2s").expect("a preset"),
            Size {
                cpus,
                frames: 16,
                store_buffers: program.iter().flatten().any(later),
            },
        );
        let locks = (0..LOCKS).map(|_| machine.new_lock(&SPIN)).collect();
        World {
            machine,
            program,
            vars: (0..VARS).map(|_| Cell::new(0)).collect(),
            seen: (0..2 * program.len()).map(|_| Cell::new(0)).collect(),
            locals: program.iter().map(|_| Cell::new(0)).collect(),
            locks,
        }
    }

    fn see(&self, lane: usize, value: u64) {
        self.seen[lane].set(mix(self.seen[lane].get(), value));
    }

    async fn touch<R: emu::Word>(
        &'w self,
        var: usize,
        access: Access,
        act: impl FnOnce(&Cell<u64>) -> R,
    ) -> R {
        let request = Request::touch(Object::new(Kind::Zone, var as u64), access, 1);
        self.machine.step(request, |_| act(&self.vars[var])).await
    }

    async fn add(&'w self, var: usize, lane: usize) {
        let old = self
            .touch(var, Access::Update, |it| it.replace(it.get() + 1))
            .await;
        self.see(lane, old);
    }

    async fn local(&'w self, cpu: CpuId, lane: usize) {
        let request = Request::touch(tlb(cpu), Access::Update, 1);
        let local = &self.locals[usize::from(cpu.0)];
        let old = self
            .machine
            .step(request, |_| local.replace(local.get() + 1))
            .await;
        self.see(lane, old);
    }

    async fn op(&'w self, cpu: CpuId, number: usize, op: Op) {
        let lane = 2 * usize::from(cpu.0);
        let mine = 100 * (u64::from(cpu.0) + 1) + number as u64;
        match op {
            Op::Load(var) => {
                let value = self.touch(var, Access::Read, Cell::get).await;
                self.see(lane, value);
            }
            Op::Poll(var) => {
                let look = Request::touch(Object::new(Kind::Zone, var as u64), Access::Read, 1);
                let look = look.when(Want::Event(var as u32));
                let value = self.machine.step(look, |_| self.vars[var].get()).await;
                self.see(lane, value);
            }
            Op::Store(var) => self.touch(var, Access::Write, |it| it.set(mine)).await,
            Op::StoreLater(var) => {
                let object = Object::new(Kind::Zone, var as u64);
                let request = Request::touch(object, Access::Write, 1);
                self.machine
                    .write_later(request, move |_| self.vars[var].set(mine))
                    .await;
            }
            Op::Barrier => self.machine.barrier().await,
            Op::Add(var) => self.add(var, lane).await,
            Op::Check(var) => {
                let value = self.touch(var, Access::Read, Cell::get).await;
                if value / 100 == u64::from(cpu.0) + 1 {
                    self.machine.violate(
                        "check",
                        "CHECK",
                        format!("{cpu} {number}"),
                        Vec::new(),
                        0,
                    );
                }
            }
            Op::LockedAdd(lock, var) => {
                let guard = self.machine.spin_lock(self.locks[lock]).await;
                let old = self.touch(var, Access::Read, Cell::get).await;
                self.touch(var, Access::Write, |it| it.set(old + 1)).await;
                guard.unlock().await;
            }
            Op::Nested(first, var) => {
                let outer = self.machine.spin_lock(self.locks[first]).await;
                let inner = self.machine.spin_lock(self.locks[1 - first]).await;
                self.add(var, lane).await;
                inner.unlock().await;
                outer.unlock().await;
            }
            Op::TryLock(lock, var) => {
                let id = self.locks[lock];
                let request = Request::touch(emu::lock_object(id), Access::Lock, 1);
                let free = self
                    .machine
                    .step(request, |_| self.machine.is_free(id))
                    .await;
                self.see(lane, u64::from(free));
                if free {
                    self.add(var, lane).await;
                }
            }
            Op::IrqsOff(one, other) => {
                self.machine.set_irqs(false);
                self.add(one, lane).await;
                self.add(other, lane).await;
                self.machine.set_irqs(true);
            }
            Op::Ipi(target) => {
                let target = CpuId(target % self.program.len() as u16);
                let request = Request::touch(Object::new(Kind::Call, 0), Access::Update, 1);
                self.machine
                    .step(request, |acting| acting.send(target, VECTOR))
                    .await;
            }
            Op::Quiet(target) => {
                let target = CpuId(target % self.program.len() as u16);
                let request = Request::touch(Object::new(Kind::Call, 1), Access::Update, 1);
                self.machine
                    .step(request, |acting| acting.send(target, QUIET))
                    .await;
            }
            Op::Local => self.local(cpu, lane).await,
            Op::Dma => {
                let segment = Segment {
                    addr: SECTOR,
                    len: 512,
                };
                let transfer = Transfer::new(0, Direction::ToMemory, 0, vec![segment])
                    .expect("a whole sector");
                let request = Request::touch(Object::new(Kind::Request, 0), Access::Update, 1);
                self.machine
                    .step(request, |_| {
                        self.machine.submit(transfer).expect("the queue has room");
                    })
                    .await;
            }
            Op::LoadSector => {
                let request = Request::touch(Object::sector(SECTOR), Access::Read, 1);
                let value = self
                    .machine
                    .step(request, |acting| acting.memory().bytes(SECTOR, 1)[0])
                    .await;
                self.see(lane, u64::from(value));
            }
        }
    }

    fn state(&self) -> u64 {
        let vars = self.vars.iter().chain(&self.seen);
        let state = vars.fold(1, |hash, it| mix(hash, it.get()));
        mix(state, u64::from(self.machine.memory().bytes(SECTOR, 1)[0]))
    }
}

impl<'w> Guest<'w> for World<'w> {
    fn declares_all(&self, vector: Vector) -> bool {
        vector == QUIET
    }

    fn happened(&self, event: u32) -> bool {
        self.vars[event as usize].get() != 0
    }

    fn interrupt(&'w self, cpu: CpuId, vector: Vector) -> Code<'w> {
        if vector == QUIET {
            self.machine.touch(tlb(cpu), Touch::Write);
            self.machine.touch(Object::new(Kind::Zone, 0), Touch::Write);
        }
        Box::pin(async move {
            let lane = 2 * usize::from(cpu.0) + 1;
            if vector == QUIET {
                self.add(0, lane).await;
                return self.local(cpu, lane).await;
            }
            if vector == DISK {
                let request = Request::touch(Object::new(Kind::Request, 0), Access::Update, 1);
                self.machine
                    .step(request, |_| {
                        let done = self.machine.dma().in_flight().next().map(|it| it.0);
                        if let Some(slot) = done {
                            self.machine.retire(slot);
                        }
                    })
                    .await;
            }
            self.add(0, lane).await;
            self.add(VARS - 1, lane).await;
        })
    }

    fn schedule(&'w self, cpu: CpuId) -> Code<'w> {
        Box::pin(async move {
            for (number, op) in self.program[usize::from(cpu.0)].iter().enumerate() {
                self.op(cpu, number, *op).await;
            }
            loop {
                self.machine.halt().await;
            }
        })
    }

    fn sector_moved(&self, _slot: usize, _moved: &Moved) {}

    fn transfer_done(&self, _slot: usize) {
        self.machine.raise_at(CpuId(0), DISK, 0);
    }

    fn thread_name(&self, _thread: ThreadId) -> String {
        String::new()
    }

    fn sleeping(&self, _thread: ThreadId) -> Option<String> {
        None
    }
}

struct Small(Vec<Vec<Op>>);

struct Machinist<'w>(&'w World<'w>);

impl Program for Small {
    fn cpus(&self) -> u16 {
        self.0.len() as u16
    }

    fn on_worker(&self, work: &mut dyn FnMut(&mut dyn Runner)) {
        let world = World::new(&self.0);
        boot(&world, work);
    }
}

fn boot<'w>(world: &'w World<'w>, work: &mut dyn FnMut(&mut dyn Runner)) {
    world.machine.boot(world);
    {
        let mut disk = world.machine.disk();
        let lba = disk.alloc(1);
        disk.fill(lba, 1, 7);
    }
    world.machine.prepare_memory().bytes_mut(SECTOR, 1)[0] = 1;
    world.machine.remember();
    work(&mut Machinist(world));
    world.machine.tear_down();
}

impl Runner for Machinist<'_> {
    fn run(&mut self, chooser: Box<dyn Chooser>) -> Outcome {
        let world = self.0;
        let machine = &world.machine;
        machine.set_chooser(Some(chooser));
        machine.reset(0);
        world.locals.iter().for_each(|it| it.set(0));
        world
            .vars
            .iter()
            .chain(&world.seen)
            .for_each(|it| it.set(0));
        let stop = machine.run();
        if matches!(stop, Stop::Deadlock(_)) {
            machine.violate("wait-graph", "HANG", String::new(), Vec::new(), 0);
        }
        let violation = machine.violations().first().cloned();
        let state = match &violation {
            Some(it) => it.message.bytes().fold(99, |hash, it| mix(hash, it.into())),
            None => world.state(),
        };
        Outcome {
            words: violation.iter().map(|it| it.word).collect(),
            violation,
            steps: machine.steps(),
            whole: matches!(stop, Stop::Finished | Stop::Deadlock(_)),
            digest: machine.digest(),
            state,
        }
    }
}

fn search(program: &Small, bound: Option<u32>, reduction: Reduction) -> Found {
    let search = Search::new(program.cpus(), bound, reduction).expect("few CPUs");
    complete(search, program, 1)
}

/// As [`search`], and split as soon as it can be.
fn search_split(program: &Small, bound: Option<u32>, reduction: Reduction, jobs: usize) -> Found {
    complete(begun(program, bound, reduction), program, jobs)
}

/// A search that has made one schedule: with what is left of it in several items.
fn begun(program: &Small, bound: Option<u32>, reduction: Reduction) -> Search {
    let mut search = Search::new(program.cpus(), bound, reduction).expect("few CPUs");
    search
        .run(program, 1, 1, true, &mut |_, _| true)
        .expect("few transfers");
    search
}

fn complete(mut search: Search, program: &Small, jobs: usize) -> Found {
    search
        .run(program, jobs, u64::MAX, true, &mut |_, _| true)
        .expect("few transfers");
    assert!(search.found().complete);
    search.found().clone()
}

/// In pieces so small that items are split and ask each other for choices all the time.
fn search_in_pieces(program: &Small, bound: Option<u32>, reduction: Reduction) -> Found {
    let mut search = Search::new(program.cpus(), bound, reduction).expect("few CPUs");
    while !search.found().complete {
        search
            .run(program, 1, 5, true, &mut |_, _| true)
            .expect("few transfers");
    }
    search.found().clone()
}

fn op() -> impl Strategy<Value = Op> {
    let var = 0..VARS;
    prop_oneof![
        3 => var.clone().prop_map(Op::Load),
        3 => var.clone().prop_map(Op::Store),
        1 => var.clone().prop_map(Op::Poll),
        1 => var.clone().prop_map(Op::Add),
        1 => var.clone().prop_map(Op::Check),
        1 => (0..LOCKS, var.clone()).prop_map(|(lock, var)| Op::LockedAdd(lock, var)),
        1 => (0..LOCKS, var.clone()).prop_map(|(lock, var)| Op::Nested(lock, var)),
        1 => (0..LOCKS, var.clone()).prop_map(|(lock, var)| Op::TryLock(lock, var)),
        1 => (var.clone(), var.clone()).prop_map(|(one, other)| Op::IrqsOff(one, other)),
        1 => (0u16..3).prop_map(Op::Ipi),
        1 => (0u16..3).prop_map(Op::Quiet),
        2 => Just(Op::Local),
        1 => Just(Op::Dma),
        1 => Just(Op::LoadSector),
    ]
}

fn program() -> impl Strategy<Value = Small> {
    let cpu = |most| prop::collection::vec(op(), 1..=most);
    prop_oneof![
        prop::collection::vec(cpu(3), 2),
        prop::collection::vec(cpu(2), 3),
    ]
    .prop_map(Small)
    .prop_filter("one transfer and two interrupts at most", |it| {
        let count = |f: fn(&Op) -> bool| it.0.iter().flatten().filter(|op| f(op)).count();
        count(|op| matches!(op, Op::Dma)) <= 1
            && count(|op| matches!(op, Op::Ipi(_))) <= 1
            && count(|op| matches!(op, Op::Dma | Op::Ipi(_) | Op::Quiet(_))) <= 1
    })
}

fn program_with_store_buffers() -> impl Strategy<Value = Small> {
    let var = 0..VARS;
    let op = prop_oneof![
        3 => var.clone().prop_map(Op::Load),
        1 => var.clone().prop_map(Op::Store),
        3 => var.clone().prop_map(Op::StoreLater),
        1 => Just(Op::Barrier),
        1 => var.clone().prop_map(Op::Add),
        1 => (0..LOCKS, var.clone()).prop_map(|(lock, var)| Op::LockedAdd(lock, var)),
        1 => var.prop_map(|var| Op::IrqsOff(var, 1 - var)),
        1 => (0u16..2).prop_map(Op::Ipi),
    ];
    let program = prop::collection::vec(prop::collection::vec(op, 1..=3), 2);
    program
        .prop_map(Small)
        .prop_filter("three stores later, one interrupt", |it| {
            let count = |f: fn(&Op) -> bool| it.0.iter().flatten().filter(|op| f(op)).count();
            (1..=3).contains(&count(|op| matches!(op, Op::StoreLater(_))))
                && count(|op| matches!(op, Op::Ipi(_))) <= 1
        })
}

impl std::fmt::Debug for Small {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reduction_and_merging_lose_no_state_and_no_violation(program in program()) {
        let all = search(&program, None, Reduction::None);
        for reduction in [Reduction::Dpor, Reduction::Merge] {
            let some = search(&program, None, reduction);
            prop_assert_eq!(&some.states, &all.states, "{:?}", reduction);
            prop_assert_eq!(&some.words, &all.words, "{:?}", reduction);
            prop_assert!(some.schedules <= all.schedules);
            let pieces = search_in_pieces(&program, None, reduction);
            prop_assert_eq!(&pieces.states, &all.states, "{:?} in pieces", reduction);
            prop_assert_eq!(&pieces.words, &all.words, "{:?} in pieces", reduction);
        }
    }

    #[test]
    fn neither_do_they_within_a_bound(program in program(), bound in 0u32..=3) {
        let all = search(&program, Some(bound), Reduction::None);
        for reduction in [Reduction::Dpor, Reduction::Merge] {
            let some = search(&program, Some(bound), reduction);
            prop_assert_eq!(&some.states, &all.states, "{:?}", reduction);
            prop_assert_eq!(&some.words, &all.words, "{:?}", reduction);
            let pieces = search_in_pieces(&program, Some(bound), reduction);
            prop_assert_eq!(&pieces.states, &all.states, "{:?} in pieces", reduction);
            if some.exhaustive {
                let everything = search(&program, None, Reduction::None);
                prop_assert_eq!(&some.states, &everything.states, "{:?} claims it", reduction);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn nor_do_they_where_reads_pass_writes(
        program in program_with_store_buffers(),
        bound in prop_oneof![Just(None), (0u32..=2).prop_map(Some)],
    ) {
        let all = search(&program, bound, Reduction::None);
        for reduction in [Reduction::Dpor, Reduction::Merge] {
            let some = search(&program, bound, reduction);
            prop_assert_eq!(&some.states, &all.states, "{:?} {:?}", reduction, bound);
        }
    }
}

/// The least program that tells store buffers from none: each CPU stores, then reads what the other
/// stores.
/// Writes down whom another chooser picks.
struct Noting(Box<dyn Chooser>, Rc<RefCell<Vec<ActorId>>>);

impl Chooser for Noting {
    fn choose(&mut self, choice: &Choice<'_>) -> Result<ActorId, String> {
        let actor = self.0.choose(choice)?;
        self.1.borrow_mut().push(actor);
        Ok(actor)
    }

    fn reseed(&mut self, _: u64) {}
}

/// Takes this way, of which it tells the first steps ahead.
struct Leading {
    way: Vec<ActorId>,
    told: usize,
    asked: usize,
}

impl Chooser for Leading {
    fn choose(&mut self, _: &Choice<'_>) -> Result<ActorId, String> {
        self.asked += 1;
        Ok(self.way[self.told + self.asked - 1])
    }

    fn reseed(&mut self, _: u64) {}

    fn lead(&self, all: &mut Vec<ActorId>) {
        all.extend(&self.way[..self.told]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn steps_told_ahead_are_taken_as_if_they_were_chosen(
        program in program_with_store_buffers(),
        seed in 0u64..1000,
        part in 0usize..=4,
    ) {
        program.on_worker(&mut |runner| {
            let random = CHOOSERS.iter().find(|it| it.name == "random");
            let Some(Make::Chooser(random)) = random.map(|it| it.make) else {
                panic!("random is a chooser");
            };
            let log = Rc::default();
            let chosen = runner.run(Box::new(Noting(random(seed, None), Rc::clone(&log))));
            let way = log.take();
            let told = way.len() * part / 4;
            let led = runner.run(Box::new(Leading { way, told, asked: 0 }));
            assert_eq!((chosen.digest, chosen.state), (led.digest, led.state));
            assert!(led.whole);
        });
    }
}

#[test]
fn a_run_in_which_somebody_told_ahead_cannot_go_on_is_not_whole() {
    let program = Small(vec![vec![Op::Load(0)]]);
    program.on_worker(&mut |runner| {
        for actor in [ActorId::irq(CpuId(0)), ActorId::device(100)] {
            let way = vec![actor];
            let led = runner.run(Box::new(Leading {
                way,
                told: 1,
                asked: 0,
            }));
            assert!(!led.whole && led.steps == 0);
        }
    });
}

#[test]
fn a_read_passes_a_write_unless_a_barrier_is_between() {
    let program = |store: fn(usize) -> Op, between: Option<Op>| {
        let cpu = |mine: usize| [Some(store(mine)), between, Some(Op::Load(1 - mine))];
        Small(
            [0, 1]
                .map(|it| cpu(it).into_iter().flatten().collect())
                .into(),
        )
    };
    let states = |program: &Small| {
        let all = search(program, None, Reduction::None).states;
        for reduction in [Reduction::Dpor, Reduction::Merge] {
            assert_eq!(search(program, None, reduction).states, all, "{program:?}");
        }
        all
    };
    let in_order = states(&program(Op::Store, None));
    let fenced = states(&program(Op::StoreLater, Some(Op::Barrier)));
    let later = states(&program(Op::StoreLater, None));
    assert_eq!(in_order, fenced);
    assert_eq!(
        later.len(),
        in_order.len() + 1,
        "neither sees the other's store"
    );
    assert!(in_order.is_subset(&later));
    let own = Small(vec![
        vec![Op::StoreLater(0), Op::Load(0)],
        vec![Op::Load(1)],
    ]);
    assert_eq!(states(&own).len(), 1, "a CPU sees its own stores");
}

/// Programs on which earlier editions of the bounded search lost a state.
#[test]
fn what_was_once_lost_within_a_bound_is_found() {
    let programs = [
        // Whoever waits for a lock gives its CPU up for nothing.
        vec![
            vec![Op::LockedAdd(0, 0), Op::IrqsOff(0, 1)],
            vec![Op::TryLock(1, 0), Op::Nested(0, 0)],
        ],
        // An interrupt cannot come where they are off, so it comes before.
        vec![
            vec![Op::Add(1), Op::Ipi(1)],
            vec![Op::LockedAdd(0, 1), Op::IrqsOff(0, 1)],
        ],
        // What comes after a violation tells of what could have come before it.
        vec![
            vec![Op::Store(0), Op::Check(0), Op::Load(0)],
            vec![Op::LockedAdd(0, 0)],
        ],
        // The step that turns interrupts off decides what can come after it.
        vec![
            vec![Op::Quiet(1)],
            vec![Op::LockedAdd(0, 0), Op::IrqsOff(0, 0)],
        ],
        vec![
            vec![Op::Quiet(2)],
            vec![Op::Load(0)],
            vec![Op::Check(1), Op::IrqsOff(0, 0)],
        ],
        // Whether an interrupt waits is not known while its CPU holds it back.
        vec![vec![Op::Load(0), Op::IrqsOff(0, 0)], vec![Op::Dma]],
        vec![
            vec![Op::Load(1), Op::IrqsOff(0, 0)],
            vec![Op::TryLock(0, 0), Op::Dma],
        ],
        // Leaving a CPU has a price even while it waits for its store buffer.
        vec![
            vec![Op::StoreLater(1), Op::Add(1)],
            vec![Op::Ipi(0), Op::LockedAdd(0, 1)],
        ],
        vec![
            vec![Op::Load(0), Op::Load(0)],
            vec![Op::Ipi(0), Op::StoreLater(0), Op::Load(0)],
        ],
        // Who could begin a reversal is not known where states merge.
        vec![
            vec![Op::TryLock(1, 0), Op::Dma],
            vec![Op::Load(0)],
            vec![Op::LockedAdd(1, 0)],
        ],
        // Who waited for one store could have come before the next.
        vec![vec![Op::Store(1), Op::Store(1)], vec![Op::Poll(1)]],
        // Leaving a CPU is free while it waits, though it goes on later in its turn.
        vec![vec![Op::Ipi(2), Op::Poll(0)], vec![Op::IrqsOff(0, 0)]],
        // It ends its turn, too, if somebody goes then who has nothing to do with it.
        vec![
            vec![Op::LoadSector],
            vec![Op::Ipi(1), Op::Poll(0)],
            vec![Op::IrqsOff(0, 0)],
        ],
    ];
    for program in programs.map(Small) {
        for bound in [Some(0), Some(1), Some(2), None] {
            let all = search(&program, bound, Reduction::None);
            for reduction in [Reduction::Dpor, Reduction::Merge] {
                let some = search(&program, bound, reduction);
                assert_eq!(
                    some.states, all.states,
                    "{program:?} {bound:?} {reduction:?}"
                );
            }
        }
    }
}

/// Items are split from the second round on.
#[test]
fn a_search_gives_the_same_whatever_the_number_of_workers() {
    let program = Small(vec![
        vec![
            Op::Load(0),
            Op::Store(0),
            Op::Load(1),
            Op::Store(1),
            Op::Load(0),
        ],
        vec![
            Op::Load(0),
            Op::Store(0),
            Op::Load(1),
            Op::Store(1),
            Op::Load(0),
        ],
        vec![Op::Store(0), Op::Check(0), Op::Load(1)],
    ]);
    for (bound, reduction) in [
        (None, Reduction::Dpor),
        (Some(2), Reduction::Dpor),
        (None, Reduction::Merge),
        (Some(3), Reduction::Merge),
    ] {
        let one = search_split(&program, bound, reduction, 1);
        let four = search_split(&program, bound, reduction, 4);
        assert!(one.runs() > 256, "{}", one.runs());
        assert!(one.failing > 0);
        assert_eq!(one, four);
    }
}

/// Rounds are cut off one by one; the rest starts from the text of the search.
#[test]
fn a_search_that_is_stopped_and_read_back_ends_as_one_that_was_not() {
    let program = Small(vec![
        vec![Op::Load(0), Op::Store(0), Op::Load(1), Op::Store(1)],
        vec![Op::Load(0), Op::Store(0), Op::Load(1), Op::Store(1)],
        vec![Op::Store(0), Op::Check(0)],
    ]);
    for reduction in [Reduction::Dpor, Reduction::Merge] {
        let whole = search_split(&program, Some(3), reduction, 2);
        let mut part = begun(&program, Some(3), reduction);
        let mut stops = 0;
        while !part.found().complete {
            part.run(&program, 2, u64::MAX, true, &mut |_, _| false)
                .expect("few transfers");
            stops += 1;
            let text = serde_json::to_string(&part).expect("it has no map keys but strings");
            part = serde_json::from_str(&text).expect("it was just written");
        }
        assert!(stops > 3);
        assert_eq!(part.found(), &whole);
    }
}
