//! Searching: every interleaving, or each with few preemptions (`emu::explore`), on this crate's
//! machines; and cutting down what fails.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use emu::explore::{self, Outcome, Program, Reduction, Runner, Search, Shrunk};
use emu::{Chooser, Stop, Violation};
use serde::{Deserialize, Serialize};

use super::checkpoint::{self, Origin};
use super::{Budget, Exploration, Explored, FirstFailure, Progress};
use crate::clock::Stopwatch;
use crate::{Configuration, Error, Session};

/// How often whoever watches is told.
const TICK: Duration = Duration::from_millis(100);
/// How often the checkpoint is written; less often where that would take more than a tenth of the
/// time.
const SAVE: Duration = Duration::from_secs(1);
const SAVE_SHARE: u32 = 10;
/// A schedule that takes more steps is given up, and the search is not complete.
pub(super) const MOST_STEPS: u64 = 50_000;
/// Runs that cutting a failure down may take, and that looking for its contrast may; fewer where
/// runs are long.
pub(super) const SHRINK_RUNS: u64 = 2_000;
const SHRINK_STEPS: u64 = 2_000_000;

/// A configuration, as a program to be searched.
pub(super) struct Searched<'a>(pub &'a Arc<Configuration>);

impl Program for Searched<'_> {
    fn cpus(&self) -> u16 {
        self.0.cpus
    }

    fn on_worker(&self, work: &mut dyn FnMut(&mut dyn Runner)) {
        Arc::clone(self.0).boot(|session| {
            let most = self.0.max_steps.min(MOST_STEPS);
            session.kernel().machine.limit_steps(most);
            work(&mut Searcher(session));
        });
    }
}

struct Searcher<'s, 'w>(&'s mut Session<'w>);

impl Runner for Searcher<'_, '_> {
    fn run(&mut self, chooser: Box<dyn Chooser>) -> Outcome {
        let session = &mut *self.0;
        session.begin_with(Some(chooser), 0);
        let machine = &session.kernel().machine;
        let stop = machine.run();
        session.judge(&stop);
        let violations = machine.violations();
        let first = violations.first();
        Outcome {
            violation: first.cloned(),
            words: violations.iter().map(|it| it.word).collect(),
            steps: machine.steps(),
            whole: matches!(stop, Stop::Finished | Stop::Deadlock(_)),
            digest: machine.digest(),
            state: 0,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved<S, O> {
    origin: O,
    search: S,
}

/// Every interleaving, or each with few preemptions.
pub(super) fn search(
    configuration: &Arc<Configuration>,
    reduction: Reduction,
    until: &[&str],
    budget: &Budget,
    checkpoint: Option<&Path>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Exploration, Error> {
    let most = configuration.chooser.argument.map(|it| it as u32);
    let mut search = Search::new(configuration.cpus, most, reduction).map_err(Error::Chooser)?;
    let origin = checkpoint.map(|_| Origin::of(configuration, 0));
    if let (Some(path), Some(origin)) = (checkpoint, &origin)
        && let Some(before) = checkpoint::read::<Saved<Search, Origin>>(path)?
    {
        origin.check(path, &before.origin)?;
        if before.search.reduction() != reduction {
            return Err(Error::File {
                path: path.to_path_buf(),
                what: "no usable checkpoint: it is of another reduction".to_string(),
            });
        }
        search = before.search;
    }
    let keep = |search: &Search| match (checkpoint, &origin) {
        (Some(path), Some(origin)) => checkpoint::write(path, &Saved { origin, search }),
        _ => Ok(()),
    };
    keep(&search)?;
    let watch = Stopwatch::start();
    let (mut told, mut save) = (Duration::ZERO, SAVE);
    let mut kept = Ok(());
    let budget_left = budget
        .schedules
        .map_or(u64::MAX, |most| most.saturating_sub(search.found().runs()));
    search
        .run(
            &Searched(configuration),
            budget.jobs,
            budget_left,
            false,
            &mut |search, at| {
                let now = watch.elapsed();
                if now >= told + TICK {
                    told = now;
                    let all = at.found.runs() as f64 / at.seen.max(1e-9);
                    progress(Progress {
                        schedules: at.found.runs(),
                        of: (at.seen > 0.0).then_some(all.min(1e18) as u64),
                        failing: at.found.failing,
                    });
                }
                if now >= save {
                    kept = keep(search);
                    let done = watch.elapsed();
                    save = done + SAVE.max((done - now) * (SAVE_SHARE - 1));
                }
                let enough = seen_all(until, &at.found.words);
                kept.is_ok() && !enough && budget.time.is_none_or(|time| now < time)
            },
        )
        .map_err(Error::Chooser)?;
    kept?;
    keep(&search)?;
    exploration(configuration, &search, budget.cut_down)
}

fn exploration(
    configuration: &Arc<Configuration>,
    search: &Search,
    cut_down: bool,
) -> Result<Exploration, Error> {
    let found = search.found();
    let explored = match found.bound {
        _ if found.complete && found.exhaustive => Explored::Exhaustive,
        Some(bound) => Explored::Bounded(bound),
        None => Explored::Sampled(found.schedules),
    };
    let first_failure = found.first.as_ref().map(|(number, _, schedule)| {
        FirstFailure::of_schedule(configuration, *number, 0, schedule, cut_down)
    });
    Ok(Exploration {
        configuration: Arc::clone(configuration),
        seed: 0,
        schedules: found.schedules,
        failing: found.failing,
        complete: found.complete,
        bound: found.bound,
        explored,
        words: found.words.clone(),
        first_failure: first_failure.transpose()?,
        time_to_failure: None,
        steps: found.steps,
        seconds: 0.0,
    })
}

/// Whether all words that somebody waits for have been seen.
pub(super) fn seen_all(until: &[&str], words: &std::collections::BTreeSet<String>) -> bool {
    !until.is_empty() && until.iter().all(|it| words.contains(*it))
}

/// A failing schedule cut down, and the passing one nearest to it.
pub(super) fn cut_down(
    configuration: &Arc<Configuration>,
    schedule: &explore::Schedule,
) -> (Option<Shrunk>, Option<explore::Contrast>) {
    let mut result = (None, None);
    let cpus = configuration.cpus;
    Searched(configuration).on_worker(&mut |runner| {
        let Some((like, steps)) = failure_of(runner, cpus, schedule) else {
            return;
        };
        let runs = SHRINK_RUNS.min(SHRINK_STEPS / steps.max(1));
        let shrunk = explore::shrink(runner, cpus, schedule, &like, runs);
        let failing = shrunk.as_ref().map_or(schedule, |it| &it.schedule);
        let contrast = explore::contrast(runner, cpus, failing, runs);
        result = (shrunk, contrast);
    });
    result
}

fn failure_of(
    runner: &mut dyn Runner,
    cpus: u16,
    schedule: &explore::Schedule,
) -> Option<(Violation, u64)> {
    let follow = explore::Follow::new(schedule.turns(), cpus, std::rc::Rc::default());
    let outcome = runner.run(Box::new(follow));
    outcome.violation.map(|it| (it, outcome.steps))
}
