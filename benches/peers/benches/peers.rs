//! Shootdown beside the crates shuttle and loom: the same programs of two threads, sampled and
//! exhausted, in one process on one thread. `cargo bench -p shootdown-peers` prints the table.
//!
//! What each counts. A *schedule* is one whole run. shuttle and loom run a closure whose threads
//! are coroutines and whose atomics are theirs; Shootdown runs a machine: each load and store goes
//! through a TLB, page tables and the oracles, and a run has the steps in which the scheduler starts
//! the threads too; they spin at their end. In shuttle and loom threads start and end. So schedules
//! are not the same amount of work, and the table gives *decisions* as well: the calls of the
//! chooser (shuttle: `Scheduler::next_task`), whether there was a choice or not. They are counted in
//! a pass of their own, which is not timed. loom does not tell its decisions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use shootdown::emu::choose::{PctChooser, RandomChooser};
use shootdown::emu::{ActorId, Argument, Choice, Chooser, ChooserKind, Make};
use shootdown::os::{Setup, User};
use shootdown::workloads::{Params, Reproducer};
use shootdown::{Error, Explore, Registry, Run, chooser, reproducer};
use shuttle::scheduler::{
    DfsScheduler, PctScheduler, RandomScheduler, Schedule, Scheduler, Task, TaskId,
};

const SAMPLES: u64 = 200_000;
const COUNTED: u64 = 2_000;
const DEPTH: usize = 3;
const PAIRS: u32 = 5;
/// Each timing is the best of so many, taken in turns.
const ROUNDS: usize = 3;

/// Calls of choosers.
static DECISIONS: AtomicU64 = AtomicU64::new(0);

fn decisions_of(work: impl FnOnce() -> u64) -> f64 {
    DECISIONS.store(0, Ordering::Relaxed);
    let schedules = work();
    DECISIONS.load(Ordering::Relaxed) as f64 / schedules as f64
}

// Shootdown: `lost-update` is in the catalogue.

/// Each of two threads stores to a variable of its own and loads the other's.
struct StoreBuffering;

impl Reproducer for StoreBuffering {
    fn name(&self) -> &'static str {
        "peers-store-buffering"
    }
    fn about(&self) -> &'static str {
        "two threads store to one variable each, and load the other"
    }
    fn story(&self) -> &'static str {
        "Without store buffers one of them sees the other's store."
    }
    fn cpus(&self, _: &Params) -> u16 {
        2
    }
    fn memory_mib(&self, _: &Params) -> u64 {
        1
    }
    fn prepare<'w>(&self, setup: &mut Setup<'w>, _: &Params) {
        let process = setup.empty_process("peers-store-buffering");
        let at = setup.map(process, 4096);
        setup.keep_memory(process);
        for cpu in 0..2 {
            let (mine, other) = (at + 64 * u64::from(cpu), at + 64 * u64::from(1 - cpu));
            setup.thread(process, "writer", cpu, move |user: User<'w>| async move {
                user.store_u32(mine, 1).await;
                user.load_u32(other).await;
                user.spin().await;
            });
        }
    }
}

/// Counts the calls of another chooser.
struct Counted<C>(C);

impl<C: Chooser> Chooser for Counted<C> {
    fn choose(&mut self, choice: &Choice<'_>) -> Result<ActorId, String> {
        DECISIONS.fetch_add(1, Ordering::Relaxed);
        self.0.choose(choice)
    }
    fn reseed(&mut self, seed: u64) {
        self.0.reseed(seed);
    }
    fn wants_length(&self) -> bool {
        self.0.wants_length()
    }
    fn expect(&mut self, steps: u64) {
        self.0.expect(steps);
    }
}

fn registry() -> Registry {
    let depth = Argument {
        name: "DEPTH",
        least: 1,
        most: 64,
        needed: true,
    };
    Registry::standard()
        .with(reproducer(&StoreBuffering))
        .with(chooser(ChooserKind {
            name: "counted-random",
            about: "random, and counts",
            argument: None,
            make: Make::Chooser(|seed, _| Box::new(Counted(RandomChooser::new(seed)))),
        }))
        .with(chooser(ChooserKind {
            name: "counted-pct",
            about: "pct, and counts",
            argument: Some(depth),
            make: Make::Chooser(|seed, depth| {
                Box::new(Counted(PctChooser::new(seed, depth.unwrap_or(1))))
            }),
        }))
}

fn shootdown(name: &str, chooser: &str, schedules: Option<u64>) -> Result<u64, Error> {
    let run = Run::of_in(&registry(), name)?.chooser(chooser)?;
    let mut explore = Explore::new(run).jobs(1);
    if let Some(schedules) = schedules {
        explore = explore.schedules(schedules);
    }
    Ok(explore.run()?.schedules)
}

// shuttle

fn shuttle_lost_update() {
    use shuttle::sync::atomic::{AtomicU32, Ordering::SeqCst};
    let counter = Arc::new(AtomicU32::new(0));
    let other = Arc::clone(&counter);
    let add = |counter: &AtomicU32| {
        for _ in 0..PAIRS {
            let value = counter.load(SeqCst);
            counter.store(value + 1, SeqCst);
        }
    };
    let thread = shuttle::thread::spawn(move || add(&other));
    add(&counter);
    thread.join().expect("it does not panic");
}

fn shuttle_store_buffering() {
    use shuttle::sync::atomic::{AtomicU32, Ordering::SeqCst};
    let both = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
    let other = Arc::clone(&both);
    let thread = shuttle::thread::spawn(move || {
        other[1].store(1, SeqCst);
        other[0].load(SeqCst)
    });
    both[0].store(1, SeqCst);
    both[1].load(SeqCst);
    thread.join().expect("it does not panic");
}

struct CountedScheduler<S>(S);

impl<S: Scheduler> Scheduler for CountedScheduler<S> {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.0.new_execution()
    }
    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        yielding: bool,
    ) -> Option<TaskId> {
        DECISIONS.fetch_add(1, Ordering::Relaxed);
        self.0.next_task(runnable, current, yielding)
    }
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}

fn in_shuttle(scheduler: impl Scheduler + 'static, program: fn()) -> u64 {
    let mut config = shuttle::Config::new();
    config.failure_persistence = shuttle::FailurePersistence::None;
    config.silence_warnings = true;
    shuttle::Runner::new(scheduler, config).run(program) as u64
}

// loom

fn loom_lost_update() {
    use loom::sync::atomic::{AtomicU32, Ordering::SeqCst};
    let counter = loom::sync::Arc::new(AtomicU32::new(0));
    let other = counter.clone();
    let add = |counter: &AtomicU32| {
        for _ in 0..PAIRS {
            let value = counter.load(SeqCst);
            counter.store(value + 1, SeqCst);
        }
    };
    let thread = loom::thread::spawn(move || add(&other));
    add(&counter);
    thread.join().expect("it does not panic");
}

fn loom_store_buffering() {
    use loom::sync::atomic::{AtomicU32, Ordering::SeqCst};
    let both = loom::sync::Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
    let other = both.clone();
    let thread = loom::thread::spawn(move || {
        other[1].store(1, SeqCst);
        other[0].load(SeqCst)
    });
    both[0].store(1, SeqCst);
    both[1].load(SeqCst);
    thread.join().expect("it does not panic");
}

fn in_loom(program: fn()) -> u64 {
    static EXECUTIONS: AtomicU64 = AtomicU64::new(0);
    EXECUTIONS.store(0, Ordering::Relaxed);
    loom::model::Builder::new().check(move || {
        EXECUTIONS.fetch_add(1, Ordering::Relaxed);
        program();
    });
    EXECUTIONS.load(Ordering::Relaxed)
}

// The table

struct Entry {
    who: &'static str,
    schedules: u64,
    seconds: f64,
    /// Of a schedule.
    decisions: Option<f64>,
}

/// What this process has used of the processor: the clock on the wall tells more of its neighbours.
/// Where there is no `/proc`, that clock.
fn processor_seconds() -> f64 {
    /// Ticks of `/proc/PID/stat` a second, on every Linux.
    const TICKS: f64 = 100.0;
    let ticks = || -> Option<f64> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // After the name, which may have anything in it: user and system time are 12th and 13th.
        let fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(2);
        fields.map(|it| it.parse::<f64>().ok()).sum()
    };
    match ticks() {
        Some(ticks) => ticks / TICKS,
        None => wall_seconds(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the host's clock"
)]
fn wall_seconds() -> f64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

type Work<'a> = Box<dyn Fn() -> u64 + 'a>;

/// Times each of these in turns, so many times over, and keeps the best of each.
fn timed(
    rounds: usize,
    repeats: u32,
    all: Vec<(&'static str, Option<f64>, Work<'_>)>,
) -> Vec<Entry> {
    let mut entries: Vec<Entry> = all
        .iter()
        .map(|(who, decisions, _)| Entry {
            who,
            schedules: 0,
            seconds: f64::INFINITY,
            decisions: *decisions,
        })
        .collect();
    for _ in 0..rounds {
        for (entry, (_, _, work)) in entries.iter_mut().zip(&all) {
            let start = processor_seconds();
            for _ in 0..repeats {
                entry.schedules = work();
            }
            let seconds = (processor_seconds() - start) / f64::from(repeats);
            entry.seconds = entry.seconds.min(seconds);
        }
    }
    entries
}

fn print(program: &str, how: &str, sampled: bool, entries: &[Entry]) {
    println!("\n{program}, {how}");
    println!(
        "  {:<10} {:>10} {:>9} {:>12} {:>13} {:>14}  ours to it",
        "", "schedules", "seconds", "schedules/s", "decisions", "decisions/s"
    );
    let ours = entries.first().filter(|it| it.who == "shootdown");
    for it in entries {
        let rate = it.schedules as f64 / it.seconds;
        let [each, all] = match it.decisions {
            Some(each) => [format!("{each:.1}"), format!("{:.0}", each * rate)],
            None => ["-".to_string(), "-".to_string()],
        };
        let ratio = match ours {
            None => "-".to_string(),
            Some(ours) if sampled => {
                let our_rate = ours.schedules as f64 / ours.seconds;
                let decisions = ours.decisions.zip(it.decisions);
                let at_equal = decisions.map_or(1.0, |(ours, theirs)| ours / theirs);
                format!(
                    "{:.2} schedules/s, {:.2} at equal decisions",
                    our_rate / rate,
                    our_rate / rate * at_equal
                )
            }
            Some(ours) => format!("{:.3} of the time", ours.seconds / it.seconds),
        };
        println!(
            "  {:<10} {:>10} {:>9.5} {:>12.0} {:>13} {:>14}  {ratio}",
            it.who, it.schedules, it.seconds, rate, each, all
        );
    }
}

/// `repeats`: how often to search, so that it takes long enough to be measured.
fn compare(
    program: &str,
    name: &'static str,
    shuttle: fn(),
    loom: fn(),
    repeats: u32,
) -> Result<(), Error> {
    let samples = SAMPLES as usize;
    let (random, pct) = ("counted-random".to_string(), format!("counted-pct:{DEPTH}"));
    shootdown(name, "random", Some(1))?;
    let ours = |chooser: &str| {
        decisions_of(|| shootdown(name, chooser, Some(COUNTED)).expect("it has just run"))
    };
    let theirs = |scheduler: Box<dyn Scheduler + Send>| {
        decisions_of(|| in_shuttle(CountedScheduler(scheduler), shuttle))
    };
    let sampled = |chooser: String| -> Work<'static> {
        Box::new(move || shootdown(name, &chooser, Some(SAMPLES)).expect("it has just run"))
    };
    let entries = timed(
        ROUNDS,
        1,
        vec![
            (
                "shootdown",
                Some(ours(&random)),
                sampled("random".to_string()),
            ),
            (
                "shuttle",
                Some(theirs(Box::new(RandomScheduler::new_from_seed(
                    1,
                    COUNTED as usize,
                )))),
                Box::new(move || in_shuttle(RandomScheduler::new_from_seed(1, samples), shuttle)),
            ),
        ],
    );
    print(program, "random", true, &entries);
    let entries = timed(
        ROUNDS,
        1,
        vec![
            (
                "shootdown",
                Some(ours(&pct)),
                sampled(format!("pct:{DEPTH}")),
            ),
            (
                "shuttle",
                Some(theirs(Box::new(PctScheduler::new_from_seed(
                    1,
                    DEPTH,
                    COUNTED as usize,
                )))),
                Box::new(move || {
                    in_shuttle(PctScheduler::new_from_seed(1, DEPTH, samples), shuttle)
                }),
            ),
        ],
    );
    print(program, &format!("pct of depth {DEPTH}"), true, &entries);

    let searched = shootdown(name, "exhaustive", None);
    let mut searches: Vec<(&'static str, Option<f64>, Work<'_>)> = Vec::new();
    if searched.is_ok() {
        let ours = move || shootdown(name, "exhaustive", None).expect("it has just run");
        searches.push(("shootdown", None, Box::new(ours)));
    } else if let Err(error) = searched {
        println!("\nshootdown's search is not in the next table: {error}");
    }
    searches.push((
        "shuttle",
        None,
        Box::new(move || in_shuttle(DfsScheduler::new(None, false), shuttle)),
    ));
    let mut entries = timed(ROUNDS, repeats, searches);
    // loom takes long enough to be measured once.
    entries.extend(timed(
        1,
        repeats,
        vec![("loom", None, Box::new(move || in_loom(loom)))],
    ));
    print(program, "exhausted", false, &entries);
    Ok(())
}

fn main() -> Result<(), Error> {
    let depth_first = "the best of three, in turns; loom once";
    println!(
        "one thread each, {SAMPLES} schedules where they are sampled; seconds of the processor, {depth_first}"
    );
    compare(
        "lost-update: 2 threads, 5 load-store pairs each",
        "lost-update",
        shuttle_lost_update,
        loom_lost_update,
        1,
    )?;
    compare(
        "store-buffering: 2 threads, a store and a load each",
        "peers-store-buffering",
        shuttle_store_buffering,
        loom_store_buffering,
        500,
    )
}
