//! Many interleavings of one program: sampled over seeds by a chooser, or searched.
//!
//! Sampling counts schedules `seed`, `seed + 1`, ... in order, whatever the number of workers: the
//! first failure is that of the lowest seed. What was explored is always said ([`Explored`]); only a
//! search that came to its end says that nothing is left.

mod checkpoint;
mod failure;
#[cfg(test)]
mod independence;
mod json;
mod report;
mod sampling;
mod searching;
#[cfg(test)]
mod story;
mod time_to_failure;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use emu::explore::Reduction;

use crate::clock::Stopwatch;
use crate::{Configuration, Error, Run};

pub use failure::{Deciding, FirstFailure};
pub use json::ExploreJson;
pub use time_to_failure::{Interval, TimeToFailure};

/// Schedules that are sampled when nobody says how many.
pub const SCHEDULES: u64 = 10_000;
/// More workers than this help nobody.
const MOST_JOBS: u64 = 1024;

/// An exploration to be made: many schedules of a run.
///
/// ```
/// use shootdown::{Explore, Run};
///
/// # fn main() -> Result<(), shootdown::Error> {
/// let lost = Explore::new(Run::of("lost-update")?.chooser("pct:3")?).schedules(500).run()?;
/// let first = lost.first_failure.as_ref().expect("an update is lost");
/// assert_eq!(lost.words.iter().collect::<Vec<_>>(), ["CHECK"]);
/// assert!(first.report.violations[0].message.contains("after 10 increments"), "{lost}");
///
/// let fixed = Explore::new(Run::of("forkscrew")?.fix("B02")?).schedules(20).run()?;
/// assert!(fixed.is_clean(), "{fixed}");
/// assert_eq!(fixed.explored.to_string(), "sampled(20)");
/// # Ok(())
/// # }
/// ```
///
/// A search ends when nothing is left, and what fails is cut down:
///
/// ```
/// use shootdown::{Explore, Run};
///
/// # fn main() -> Result<(), shootdown::Error> {
/// let read_and_exit = Run::of("dio-exit")?.chooser("exhaustive")?;
/// let all = Explore::new(read_and_exit.clone()).run()?;
/// assert!(all.is_clean() && all.complete, "{all}");
/// assert_eq!(all.explored.to_string(), "exhaustive");
///
/// let broken = Explore::new(read_and_exit.fix("A30")?).run()?;
/// let first = broken.first_failure.as_ref().expect("it sleeps in the interrupt");
/// assert_eq!(first.preemptions, 0);
/// assert!(first.contrast.is_some(), "{broken}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Explore {
    run: Run,
    schedules: Option<u64>,
    seconds: Option<f64>,
    jobs: Option<u64>,
    checkpoint: Option<PathBuf>,
    save: Option<PathBuf>,
    reduction: Option<Reduction>,
    until: Vec<&'static str>,
    cut_down: bool,
}

/// How far an exploration may go, checked.
struct Budget {
    schedules: Option<u64>,
    time: Option<Duration>,
    jobs: usize,
    /// Whether the first failure is to be cut down.
    cut_down: bool,
}

/// How far an exploration is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Schedules made.
    pub schedules: u64,
    /// How many there will be: the budget, or what a search estimates.
    pub of: Option<u64>,
    /// Those that failed.
    pub failing: u64,
}

/// What was explored, and so what a clean exploration rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Explored {
    /// Every interleaving.
    Exhaustive,
    /// Every interleaving with at most so many preemptions.
    Bounded(u32),
    /// So many schedules.
    Sampled(u64),
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Explored::Exhaustive => f.write_str("exhaustive"),
            Explored::Bounded(preemptions) => write!(f, "bounded({preemptions})"),
            Explored::Sampled(schedules) => write!(f, "sampled({schedules})"),
        }
    }
}

/// What an exploration gave. Its `Display` is what the command line prints.
#[derive(Clone)]
pub struct Exploration {
    /// What was run.
    pub configuration: Arc<Configuration>,
    /// The first seed.
    pub seed: u64,
    /// Schedules made.
    pub schedules: u64,
    /// Those that were not clean.
    pub failing: u64,
    /// Whether a search came to its end; sampling never does.
    pub complete: bool,
    /// The number of preemptions up to which everything was searched, if that was the question.
    pub bound: Option<u32>,
    /// What was explored.
    pub explored: Explored,
    /// The verdict words of all failures.
    pub words: BTreeSet<String>,
    /// The first failure: of the lowest seed, or of a search the one with the fewest preemptions.
    pub first_failure: Option<FirstFailure>,
    /// How long it takes to fail, when simulated time decided.
    pub time_to_failure: Option<TimeToFailure>,
    /// Steps of all schedules.
    pub steps: u64,
    /// Host time that it took, of this part if it went on from a checkpoint.
    pub seconds: f64,
}

impl Exploration {
    /// Whether no schedule failed.
    pub fn is_clean(&self) -> bool {
        self.failing == 0
    }
}

impl Explore {
    /// Explores this run: by its chooser, or `random` if it has none; sampling begins with its seed.
    pub fn new(run: Run) -> Explore {
        Explore {
            run,
            schedules: None,
            seconds: None,
            jobs: None,
            checkpoint: None,
            save: None,
            reduction: None,
            until: Vec::new(),
            cut_down: true,
        }
    }

    /// At most so many schedules. Without any budget, sampling makes [`SCHEDULES`], and a search
    /// goes on to its end.
    pub fn schedules(mut self, schedules: u64) -> Explore {
        self.schedules = Some(schedules);
        self
    }

    /// For about so many seconds of the host, checked between runs. The result then depends on
    /// the host.
    pub fn seconds(mut self, seconds: f64) -> Explore {
        self.seconds = Some(seconds);
        self
    }

    /// On so many threads; as many as the host has cores when nobody says. The result does not
    /// depend on it.
    pub fn jobs(mut self, jobs: u64) -> Explore {
        self.jobs = Some(jobs);
        self
    }

    /// Goes on from this file if it exists, and keeps it up to date.
    pub fn checkpoint(mut self, path: impl Into<PathBuf>) -> Explore {
        self.checkpoint = Some(path.into());
        self
    }

    /// No further than to the round in which all of these words have been seen.
    pub fn until(mut self, words: &[&'static str]) -> Explore {
        self.until = words.to_vec();
        self
    }

    /// Leaves the first failure as it was found: cutting it down can take longer than finding it.
    pub fn as_found(mut self) -> Explore {
        self.cut_down = false;
        self
    }

    /// How a search leaves out schedules that show nothing new; what it finds is the same. When
    /// nobody says, a bounded search merges states, and one without a bound reduces.
    pub fn reduction(mut self, reduction: Reduction) -> Explore {
        self.reduction = Some(reduction);
        self
    }

    /// Writes the first failure as a replay file, if there is one.
    pub fn save(mut self, path: impl Into<PathBuf>) -> Explore {
        self.save = Some(path.into());
        self
    }

    /// Explores.
    pub fn run(&self) -> Result<Exploration, Error> {
        self.run_watched(&mut |_| {})
    }

    /// The same; `progress` is told how far it is, some ten times a second.
    pub fn run_watched(&self, progress: &mut dyn FnMut(Progress)) -> Result<Exploration, Error> {
        let budget = self.budget()?;
        let watch = Stopwatch::start();
        let configuration = Arc::new(self.run.configuration_by("random")?);
        let mut explored = if configuration.chooser.searches() {
            searching::search(
                &configuration,
                self.reduction
                    .unwrap_or(match configuration.chooser.argument {
                        Some(_) => Reduction::Merge,
                        None => Reduction::Dpor,
                    }),
                &self.until,
                &budget,
                self.checkpoint.as_deref(),
                progress,
            )?
        } else {
            self.sample(configuration, &budget, progress)?
        };
        if let (Some(path), Some(first)) = (&self.save, &mut explored.first_failure) {
            first.save(path)?;
        }
        explored.seconds = watch.seconds();
        Ok(explored)
    }

    fn budget(&self) -> Result<Budget, Error> {
        let refuse = |what, given: String, right| Error::Budget { what, given, right };
        if self.schedules == Some(0) {
            return Err(refuse("schedules", "0".to_string(), "1 or more"));
        }
        let time = match self.seconds {
            None => None,
            Some(seconds) => match Duration::try_from_secs_f64(seconds) {
                Ok(time) if !time.is_zero() => Some(time),
                _ => return Err(refuse("seconds", seconds.to_string(), "more than 0")),
            },
        };
        let jobs = match self.jobs {
            None => std::thread::available_parallelism().map_or(1, usize::from),
            Some(jobs @ 1..=MOST_JOBS) => jobs as usize,
            Some(jobs) => return Err(refuse("jobs", jobs.to_string(), "1 to 1024")),
        };
        Ok(Budget {
            schedules: self.schedules,
            time,
            jobs,
            cut_down: self.cut_down,
        })
    }

    fn sample(
        &self,
        configuration: Arc<Configuration>,
        budget: &Budget,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Exploration, Error> {
        let seed = self.run.get_seed();
        let tally = sampling::sample(
            &configuration,
            seed,
            &self.until,
            budget,
            self.checkpoint.as_deref(),
            progress,
        )?;
        let first_failure = tally.first.map(|at| {
            FirstFailure::of_seed(&configuration, at, seed.wrapping_add(at), self.cut_down)
        });
        let hz = configuration.machine.costs.hz;
        Ok(Exploration {
            seed,
            schedules: tally.schedules,
            failing: tally.failing,
            complete: false,
            bound: None,
            explored: Explored::Sampled(tally.schedules),
            words: tally.words,
            first_failure: first_failure.transpose()?,
            time_to_failure: configuration
                .chooser
                .keeps_time()
                .then(|| TimeToFailure::of(tally.schedules, tally.violated, tally.exposure, hz)),
            steps: tally.steps,
            seconds: 0.0,
            configuration,
        })
    }
}
