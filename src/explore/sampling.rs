//! Sampling: one schedule a seed, on as many threads as there are. Each worker has a machine of its
//! own and takes the next seeds; the parts are put together in the order of the seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use emu::Stop;
use serde::{Deserialize, Serialize};

use super::checkpoint::Checkpoint;
use super::{Budget, Progress, SCHEDULES};
use crate::clock::Stopwatch;
use crate::report::{Outcome, outcome};
use crate::{Configuration, Error, Session};

/// How often whoever watches is told.
const TICK: Duration = Duration::from_millis(100);
/// How often the checkpoint is written.
const SAVE: Duration = Duration::from_secs(1);
/// A worker takes as many seeds at a time as keep it busy for so long.
const PART: Duration = Duration::from_millis(5);
const MOST_SEEDS: u64 = 4096;
/// And so many, however long they take, where a part may turn out to be the last.
const UNTIL_SEEDS: u64 = 64;

/// What schedules gave, counted.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tally {
    pub schedules: u64,
    /// Not clean.
    pub failing: u64,
    /// An oracle fired.
    pub violated: u64,
    /// The number of the first that failed, from 0.
    pub first: Option<u64>,
    pub words: BTreeSet<String>,
    pub steps: u64,
    /// Simulated cycles until the first violation of each, or until its end.
    pub exposure: u64,
    /// Why a chooser gave up.
    #[serde(skip)]
    refused: Option<String>,
}

impl Tally {
    fn add(&mut self, part: Tally) {
        self.schedules += part.schedules;
        self.failing += part.failing;
        self.violated += part.violated;
        self.first = self.first.or(part.first);
        self.words.extend(part.words);
        self.steps += part.steps;
        self.exposure = self.exposure.saturating_add(part.exposure);
        self.refused = self.refused.take().or(part.refused);
    }

    /// Makes schedule `number`, and counts what it gave.
    fn run(&mut self, session: &mut Session<'_>, seed: u64, number: u64) {
        let stop = session.run_only(seed.wrapping_add(number));
        let machine = &session.kernel().machine;
        let violations = machine.violations();
        self.schedules += 1;
        self.steps += machine.steps();
        let end = violations.first().map_or(machine.now(), |it| it.cycle);
        self.exposure = self.exposure.saturating_add(end);
        self.violated += u64::from(!violations.is_empty());
        if outcome(&violations, &stop) != Outcome::Clean {
            self.failing += 1;
            self.first = self.first.or(Some(number));
            for it in violations.iter() {
                if !self.words.contains(it.word) {
                    self.words.insert(it.word.to_string());
                }
            }
        }
        drop(violations);
        if let Stop::Diverged(why) = stop {
            self.refused = Some(why);
        }
    }
}

/// What workers share.
struct Shared<'a> {
    configuration: &'a Arc<Configuration>,
    seed: u64,
    /// The number of the next schedule that nobody has taken.
    next: AtomicU64,
    /// How many there are.
    end: u64,
    /// Whether the end depends on what is seen.
    until: bool,
    over: AtomicBool,
}

impl Shared<'_> {
    fn work(&self, parts: &Sender<(u64, Tally)>) {
        Arc::clone(self.configuration).boot(|session| {
            let mut seeds = if self.until { UNTIL_SEEDS } else { 1 };
            while !self.over.load(Ordering::Relaxed) {
                let from = self.next.fetch_add(seeds, Ordering::Relaxed);
                if from >= self.end {
                    break;
                }
                let watch = Stopwatch::start();
                let mut part = Tally::default();
                for number in from..self.end.min(from.saturating_add(seeds)) {
                    part.run(session, self.seed, number);
                    if part.refused.is_some() {
                        break;
                    }
                }
                if parts.send((from, part)).is_err() {
                    break;
                }
                seeds = match watch.elapsed() {
                    _ if self.until => UNTIL_SEEDS,
                    short if short < PART => MOST_SEEDS.min(2 * seeds),
                    long if long > 2 * PART => (seeds / 2).max(1),
                    _ => seeds,
                };
            }
        });
    }
}

/// Samples seeds from `seed` on, and counts what they give.
pub(super) fn sample(
    configuration: &Arc<Configuration>,
    seed: u64,
    until: &[&str],
    budget: &Budget,
    checkpoint: Option<&Path>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Tally, Error> {
    let watch = Stopwatch::start();
    let limit = match (budget.schedules, budget.time) {
        (None, None) => Some(SCHEDULES),
        (limit, _) => limit,
    };
    let end = limit.unwrap_or(u64::MAX);
    let mut tally = Tally::default();
    let mut file = None;
    if let Some(path) = checkpoint {
        let (checkpoint, before) = Checkpoint::open(path, configuration, seed, end)?;
        tally = before;
        file = Some(checkpoint);
    }
    let shared = Shared {
        configuration,
        seed,
        next: AtomicU64::new(tally.schedules),
        end,
        until: !until.is_empty(),
        over: AtomicBool::new(false),
    };
    let jobs = (budget.jobs as u64).min(end - tally.schedules);
    let kept = std::thread::scope(|scope| {
        let (send, parts) = mpsc::channel();
        for _ in 0..jobs {
            let send = send.clone();
            let shared = &shared;
            scope.spawn(move || shared.work(&send));
        }
        drop(send);
        let mut waiting: BTreeMap<u64, Tally> = BTreeMap::new();
        let (mut told, mut saved) = (Duration::ZERO, Duration::ZERO);
        loop {
            match parts.recv_timeout(TICK) {
                Ok((from, part)) => {
                    waiting.insert(from, part);
                    while let Some(part) = waiting.remove(&tally.schedules) {
                        if !super::searching::seen_all(until, &tally.words) {
                            tally.add(part);
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = watch.elapsed();
            let enough = super::searching::seen_all(until, &tally.words);
            let late = budget.time.is_some_and(|time| now >= time);
            if tally.refused.is_some() || late || enough {
                shared.over.store(true, Ordering::Relaxed);
            }
            if now >= told + TICK {
                told = now;
                progress(Progress {
                    schedules: tally.schedules,
                    of: limit,
                    failing: tally.failing,
                });
            }
            if let Some(file) = file.as_ref().filter(|_| now >= saved + SAVE) {
                saved = now;
                let kept = file.keep(&tally);
                if kept.is_err() {
                    shared.over.store(true, Ordering::Relaxed);
                    return kept;
                }
            }
        }
        Ok(())
    });
    kept?;
    if let Some(why) = tally.refused {
        return Err(Error::Chooser(why));
    }
    if let Some(file) = &file {
        file.keep(&tally)?;
    }
    Ok(tally)
}
