//! The verdict matrix: every row of the catalogue, run, beside what it must give.
//!
//! A row that must fail is first looked for among sampled schedules, which find most failures at
//! once; what is not found there is searched for. A row that must be clean is searched to its
//! bound. What a result rests on is what was done, whatever the catalogue asks for.
//!
//! A clean row proves little if nothing can hurt it: its guards are mutations of the kernel, each of
//! which must turn it red ([`Verdicts::guards`]).

mod table;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;
use workloads::{Evidence, Guard, Reproducer, Verdict};

use crate::suggest::hint;
use crate::{Error, Exploration, Explore, Explored, FirstFailure, Registry, Run};

pub use table::{markdown, table};

/// By what a failure is looked for before it is searched for: few changes of priority find most,
/// and windows of several accesses want more.
const WITNESS_CHOOSERS: [&str; 4] = ["pct:3", "pct:4", "pct:6", "pct:10"];
/// Schedules of each: only the rarest windows need so many.
const WITNESSES: u64 = 100_000;
/// By what a clean row is sampled before it is searched, and how often.
const CLEAN_CHOOSER: &str = "pct:5";
const SAMPLE: u64 = 20_000;
const QUICK_SAMPLE: u64 = 2_000;
/// Runs of a search for one row, when nobody says: beyond them a row rests on less than it
/// asks for, and says so.
const MOST_SCHEDULES: u64 = 1_000_000;
/// The same for a quick look, at a row that must be clean; one that must fail gets more.
const QUICK_SCHEDULES: u64 = 1_000;
const QUICK_FOR_FAILURE: u64 = 20_000;
/// The same in steps, where runs are long.
const MOST_STEPS: u64 = 130_000_000;
/// A run that takes more steps is given up, and no clean row may have one.
const LONGEST_RUN: u64 = 10_000_000;
/// Seeds of a sampled row in a quick look.
const QUICK_SEEDS: u64 = 20;
/// Preemptions up to which a row that asks for every interleaving is searched, where those are too
/// many.
const SOME_PREEMPTIONS: u32 = 3;

/// Rows to be run.
pub struct Verdicts {
    registry: Registry,
    rows: Vec<Row>,
    quick: bool,
    schedules: Option<u64>,
    seconds: Option<f64>,
    jobs: Option<u64>,
    save: Option<PathBuf>,
}

#[derive(Clone, Copy)]
struct Row {
    reproducer: &'static dyn Reproducer,
    verdict: Verdict,
    /// The patch on top of it, and what it must show then.
    guard: Option<Guard>,
}

/// What a row gave, as JSON and in the table.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// The row, or a sub-row (`B40.lockless`).
    pub row: &'static str,
    /// The race it belongs to.
    pub race: &'static str,
    /// What was run.
    pub reproducer: &'static str,
    /// The base kernel.
    pub kernel: String,
    /// Patches and rows, as the catalogue names them.
    pub fixes: Vec<&'static str>,
    /// Parameters of the program.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<&'static str, u64>,
    /// The patch on top of them that must turn it red, when guards are judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<&'static str>,
    /// Words it must show; none means clean.
    pub expected: Vec<&'static str>,
    /// Words it showed.
    pub got: BTreeSet<String>,
    /// What that rests on.
    pub evidence: String,
    /// Schedules made.
    pub schedules: u64,
    /// Whether it gave what it must.
    pub ok: bool,
    /// What a reader should know.
    pub note: &'static str,
    /// The first schedule that failed: cut down if it is saved, else as it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witness: Option<Witness>,
}

/// A failing schedule.
#[derive(Clone, Debug, Serialize)]
pub struct Witness {
    /// Its steps up to the violation.
    pub steps: u64,
    /// Its preemptions.
    pub preemptions: u32,
    /// What the oracle said.
    pub message: String,
    /// Where it was saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<PathBuf>,
}

/// A row judged, or the panic that came in between.
type Attempt = std::thread::Result<Result<Judged, Error>>;

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a word")
}

impl Verdicts {
    /// The rows that `names` select: rows and their sub-rows (`B40`), groups (`A`), races
    /// (`FWD`); all of them if there are none.
    ///
    /// # Errors
    ///
    /// A name that selects nothing.
    pub fn select(registry: &Registry, names: &[String]) -> Result<Verdicts, Error> {
        let all: Vec<Row> = registry
            .reproducers
            .iter()
            .flat_map(|it| {
                it.verdicts().iter().map(|verdict| Row {
                    reproducer: *it,
                    verdict: *verdict,
                    guard: None,
                })
            })
            .collect();
        for name in names {
            if !all.iter().any(|it| it.is(name)) {
                let known = all.iter().flat_map(|it| [it.verdict.row, it.verdict.race]);
                let known: BTreeSet<&str> = known.collect();
                return Err(Error::Unknown {
                    kind: "row, group or race",
                    name: name.clone(),
                    hint: hint(name, known),
                });
            }
        }
        let mut rows: Vec<Row> = all
            .into_iter()
            .filter(|it| match names {
                [] => !it.verdict.race.is_empty(),
                names => names.iter().any(|name| it.is(name)),
            })
            .collect();
        rows.sort_by_key(|it| (it.verdict.row, it.reproducer.name()));
        Ok(Verdicts {
            registry: registry.clone(),
            rows,
            quick: false,
            schedules: None,
            seconds: None,
            jobs: None,
            save: None,
        })
    }

    /// Not these rows, but each of them with each of its guards, which must turn it red.
    pub fn guards(mut self) -> Verdicts {
        let guarded = |row: &Row| {
            let row = *row;
            let guards = row.verdict.guards.iter();
            guards.map(move |guard| Row {
                guard: Some(*guard),
                ..row
            })
        };
        self.rows = self.rows.iter().flat_map(guarded).collect();
        self
    }

    /// With smaller bounds: all rows in under two minutes.
    pub fn quick(mut self, quick: bool) -> Verdicts {
        self.quick = quick;
        self
    }

    /// At most so many schedules a row.
    pub fn schedules(mut self, schedules: Option<u64>) -> Verdicts {
        self.schedules = schedules;
        self
    }

    /// For about so many seconds a row; the result then depends on the host.
    pub fn seconds(mut self, seconds: Option<f64>) -> Verdicts {
        self.seconds = seconds;
        self
    }

    /// So many rows at a time, which changes no result.
    pub fn jobs(mut self, jobs: Option<u64>) -> Verdicts {
        self.jobs = jobs;
        self
    }

    /// Saves the failing schedules in this directory: a folder a reproducer, a file a row.
    pub fn save(mut self, directory: Option<PathBuf>) -> Verdicts {
        self.save = directory;
        self
    }

    /// Runs them. `progress` is told how many are done, of how many, some ten times a second.
    ///
    /// # Panics
    ///
    /// When a row does, with its name.
    pub fn run(&self, progress: &mut dyn FnMut(usize, usize)) -> Result<Vec<Judged>, Error> {
        // What can be wrong with the request is found before any row runs.
        if let Some(directory) = &self.save {
            make_directory(directory)?;
        }
        let first = Run::of_in(&self.registry, "lost-update")?.chooser("random")?;
        self.budgeted(Explore::new(first), Some(1)).run()?;
        let jobs = match self.jobs {
            None => std::thread::available_parallelism().map_or(1, usize::from),
            Some(jobs) => jobs as usize,
        };
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<(usize, Attempt)>> = Mutex::default();
        let count = || done.lock().expect("no worker panics with it").len();
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(row) = self.rows.get(at) else { break };
                let judged = catch_unwind(AssertUnwindSafe(|| self.judge(row)));
                if judged.is_err() {
                    // No more rows for anybody.
                    next.store(self.rows.len(), Ordering::Relaxed);
                }
                let mut done = done.lock().expect("no worker panics with it");
                done.push((at, judged));
            }
        };
        std::thread::scope(|scope| {
            let jobs = jobs.min(self.rows.len());
            let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
            while !workers.iter().all(|it| it.is_finished()) {
                progress(count(), self.rows.len());
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let mut done = done.into_inner().expect("no worker panicked with it");
        done.sort_by_key(|it| it.0);
        let judged = done.into_iter().map(|(at, judged)| match judged {
            Ok(judged) => judged,
            Err(panic) => panic!("{} panicked: {}", self.rows[at].name(), text_of(&*panic)),
        });
        judged.collect()
    }

    fn budgeted(&self, explore: Explore, schedules: Option<u64>) -> Explore {
        let mut explore = explore.jobs(1);
        if self.save.is_none() {
            // Cutting down can take longer than finding.
            explore = explore.as_found();
        }
        if let Some(schedules) = self.schedules.or(schedules) {
            explore = explore.schedules(schedules);
        }
        if let Some(seconds) = self.seconds {
            explore = explore.seconds(seconds);
        }
        explore
    }

    fn judge(&self, row: &Row) -> Result<Judged, Error> {
        let verdict = &row.verdict;
        let run = row.run(&self.registry)?;
        let mut explored = self.explore(row, &run)?;
        let witness = match &mut explored.first_failure {
            Some(first) => {
                if let Some(directory) = &self.save {
                    let path = row.file(directory);
                    make_directory(path.parent().unwrap_or(directory))?;
                    first.save(&path)?;
                }
                first.violation().map(|it| Witness {
                    steps: it.step,
                    preemptions: first.preemptions,
                    message: it.message.clone(),
                    replay: first.replay.clone(),
                })
            }
            None => None,
        };
        Ok(Judged {
            row: verdict.row,
            race: verdict.race,
            reproducer: row.reproducer.name(),
            kernel: explored.configuration.kernel.name.to_string(),
            fixes: verdict.fixes.to_vec(),
            set: verdict.set.iter().copied().collect(),
            guard: row.guard.map(|it| it.0),
            expected: row.words().to_vec(),
            ok: agree(row.words(), &explored.words)
                && (!row.words().is_empty() || explored.is_clean()),
            got: explored.words,
            evidence: explored.explored.to_string(),
            schedules: explored.schedules,
            note: verdict.note,
            witness,
        })
    }

    /// A row that must show words: first as simulated time decides, if its evidence says so, then
    /// sampled, each chooser until the words are seen, then searched. Words of all of them count.
    fn explore(&self, row: &Row, run: &Run) -> Result<Exploration, Error> {
        let evidence = row.verdict.evidence;
        if row.words().is_empty() {
            return self.clean(evidence, run);
        }
        let mut found = Found::default();
        if let Evidence::Sampled(seeds) = evidence {
            let timed = self.by(run, "timed", &[], self.seeds(seeds))?;
            if found.add(timed, row) || row.guard.is_none() {
                return Ok(found.all());
            }
        }
        let wanted = without_check(row.words());
        for chooser in WITNESS_CHOOSERS {
            if found.add(self.by(run, chooser, row.words(), WITNESSES)?, row) {
                return Ok(found.all());
            }
        }
        let chooser = match evidence {
            Evidence::Bounded(most) => format!("exhaustive:{most}"),
            _ => format!("exhaustive:{SOME_PREEMPTIONS}"),
        };
        let runs = self.quickly(QUICK_FOR_FAILURE, MOST_SCHEDULES);
        let runs = runs.min(most_runs(run)?);
        found.add(self.by(run, &chooser, &wanted, runs)?, row);
        Ok(found.all())
    }

    /// So many schedules by this chooser, or until all these words have been seen.
    fn by(
        &self,
        run: &Run,
        chooser: &str,
        until: &[&'static str],
        schedules: u64,
    ) -> Result<Exploration, Error> {
        let explore = Explore::new(run.clone().chooser(chooser)?).until(until);
        self.budgeted(explore, Some(schedules)).run()
    }

    fn seeds(&self, asked: u32) -> u64 {
        let asked = u64::from(asked);
        self.quickly(asked.min(QUICK_SEEDS), asked)
    }

    fn quickly(&self, quick: u64, whole: u64) -> u64 {
        if self.quick { quick } else { whole }
    }

    /// A row that must be clean: a sample, and as much of its search as the budget allows. Where
    /// every interleaving is too much, those with few preemptions.
    fn clean(&self, evidence: Evidence, run: &Run) -> Result<Exploration, Error> {
        let search = match evidence {
            Evidence::Sampled(seeds) => return self.by(run, "timed", &[], self.seeds(seeds)),
            Evidence::Bounded(most) => format!("exhaustive:{most}"),
            Evidence::Exhaustive => "exhaustive".to_string(),
        };
        let most = most_runs(run)?;
        let runs = self.quickly(QUICK_SCHEDULES, MOST_SCHEDULES).min(most);
        let samples = self.quickly(QUICK_SAMPLE, SAMPLE).min(most);
        let sample = self.by(run, CLEAN_CHOOSER, &[], samples)?;
        if !sample.is_clean() {
            return Ok(sample);
        }
        let mut searched = self.by(run, &search, &[], runs)?;
        if evidence == Evidence::Exhaustive && !searched.complete && searched.is_clean() {
            searched = self.by(run, &format!("exhaustive:{SOME_PREEMPTIONS}"), &[], runs)?;
        }
        searched.schedules += sample.schedules;
        if let Explored::Sampled(schedules) = &mut searched.explored {
            *schedules += sample.schedules;
        }
        Ok(searched)
    }
}

/// How many runs a search may make, as long as its first.
fn most_runs(run: &Run) -> Result<u64, Error> {
    let first = Explore::new(run.clone().chooser("exhaustive:0")?);
    let length = first.jobs(1).schedules(1).as_found().run()?.steps;
    Ok((MOST_STEPS / length.max(1)).max(1))
}

/// What several ways to look for the words of one row gave.
#[derive(Default)]
struct Found {
    last: Option<Exploration>,
    words: BTreeSet<String>,
    schedules: u64,
    first: Option<FirstFailure>,
}

impl Found {
    /// Whether all the words have now been seen, and no other.
    fn add(&mut self, mut explored: Exploration, row: &Row) -> bool {
        self.words.append(&mut explored.words);
        self.schedules += explored.schedules;
        self.first = self.first.take().or(explored.first_failure.take());
        self.last = Some(explored);
        agree(row.words(), &self.words)
    }

    fn all(self) -> Exploration {
        let mut explored = self.last.expect("every row is looked at in some way");
        explored.words = self.words;
        explored.schedules = self.schedules;
        if let Explored::Sampled(schedules) = &mut explored.explored {
            *schedules = self.schedules;
        }
        explored.first_failure = self.first;
        explored
    }
}

impl Row {
    /// Whether a name on the command line selects it.
    fn is(&self, name: &str) -> bool {
        let row = self.verdict.row;
        let sub = row
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let group: String = row.chars().take_while(char::is_ascii_uppercase).collect();
        let in_group = group == name && row.len() > group.len();
        sub || (in_group && !self.verdict.race.is_empty()) || self.verdict.race == name
    }

    fn name(&self) -> String {
        format!("row {} of {}", self.verdict.row, self.reproducer.name())
    }

    /// The words that it must show.
    fn words(&self) -> &'static [&'static str] {
        self.guard.map_or(self.verdict.words, |it| it.1)
    }

    fn run(&self, registry: &Registry) -> Result<Run, Error> {
        let verdict = &self.verdict;
        let mut run = Run::of_in(registry, self.reproducer.name())?;
        if let Some(kernel) = verdict.kernel {
            run = run.kernel(kernel)?;
        }
        for fix in verdict
            .fixes
            .iter()
            .chain(self.guard.iter().map(|it| &it.0))
        {
            run = run.fix(fix)?;
        }
        for (key, value) in verdict.set {
            run = run.set(key, &value.to_string())?;
        }
        Ok(run.budgets(verdict.budgets).max_steps(LONGEST_RUN))
    }

    /// `dio-fork/A40.replay`
    fn file(&self, directory: &Path) -> PathBuf {
        let guard = self.guard.map_or(String::new(), |it| format!("-{}", it.0));
        let name = format!("{}{guard}.replay", self.verdict.row);
        directory.join(self.reproducer.name()).join(name)
    }
}

fn make_directory(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(Error::file(path))
}

/// A failure of the program's own check.
const CHECK: &str = "CHECK";

/// Words without CHECK, unless there is no other.
fn without_check(words: &[&'static str]) -> Vec<&'static str> {
    match words {
        [_] => words.to_vec(),
        words => words.iter().copied().filter(|it| *it != CHECK).collect(),
    }
}

/// Whether words are those that a row must show. Where the program's own check notices the same
/// failure, CHECK counts as the same.
fn agree(expected: &[&str], got: &BTreeSet<String>) -> bool {
    let without = |words: &mut dyn Iterator<Item = &str>| -> BTreeSet<String> {
        words
            .filter(|it| *it != CHECK)
            .map(ToString::to_string)
            .collect()
    };
    let must = without(&mut expected.iter().copied());
    let found = without(&mut got.iter().map(String::as_str));
    if must.is_empty() {
        let checks = got.iter().any(|it| it == CHECK);
        return found.is_empty() && expected.contains(&CHECK) == checks;
    }
    must == found
}

#[cfg(test)]
mod tests {
    use os::Setup;
    use workloads::Params;

    use super::*;

    /// A program that the machine's maker would have to hear of.
    struct Panics;

    impl Reproducer for Panics {
        fn name(&self) -> &'static str {
            "panics"
        }

        fn about(&self) -> &'static str {
            "panics"
        }

        fn story(&self) -> &'static str {
            ""
        }

        fn verdicts(&self) -> &'static [Verdict] {
            const { &[Verdict::of("X01", "PANIC"), Verdict::of("X02", "PANIC")] }
        }

        fn prepare<'w>(&self, _: &mut Setup<'w>, _: &Params) {
            panic!("as expected");
        }
    }

    #[test]
    #[should_panic(expected = "row X01 of panics panicked")]
    fn a_panic_ends_the_matrix_and_names_the_row() {
        let registry = Registry::standard().with(crate::reproducer(&Panics));
        let rows = Verdicts::select(&registry, &["PANIC".to_string()]).expect("known");
        let _ = rows.jobs(Some(1)).run(&mut |_, _| {});
    }

    #[track_caller]
    fn judged(expected: &[&str], got: &[&str]) -> bool {
        agree(expected, &got.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_row_shows_exactly_its_words_and_check_beside_another_does_not_matter() {
        assert!(judged(&[], &[]));
        assert!(judged(&["CORRUPT"], &["CORRUPT"]));
        assert!(judged(&["CORRUPT"], &["CHECK", "CORRUPT"]));
        assert!(judged(&["CHECK", "CORRUPT"], &["CORRUPT"]));
        assert!(judged(&["CHECK"], &["CHECK"]));
        assert!(!judged(&[], &["CORRUPT"]));
        assert!(!judged(&["CORRUPT"], &[]));
        assert!(!judged(&["CORRUPT"], &["CORRUPT", "TORN"]));
        assert!(!judged(&["CORRUPT", "TORN"], &["CORRUPT"]));
        assert!(!judged(&["CHECK", "CORRUPT"], &["CHECK"]));
        assert!(!judged(&[], &["CHECK"]));
        assert!(!judged(&["CHECK"], &[]));
    }

    #[test]
    fn a_name_selects_a_row_with_its_sub_rows_a_group_or_a_race() {
        let rows = |name: &str| {
            let registry = Registry::standard();
            let rows = Verdicts::select(&registry, &[name.to_string()]).expect("known");
            rows.rows.iter().map(|it| it.verdict).collect::<Vec<_>>()
        };
        assert!(rows("B40").iter().any(|it| it.row == "B40.slow"));
        assert!(rows("B40").iter().all(|it| it.row.starts_with("B40")));
        assert_eq!(rows("B40.slow").len(), 1);
        assert!(rows("A").iter().all(|it| it.row.starts_with('A')));
        assert!(rows("A").len() > rows("A01").len());
        assert!(rows("HUGE").iter().all(|it| it.race == "HUGE"));
        let unknown = Verdicts::select(&Registry::standard(), &["A4".to_string()]);
        let message = unknown.err().expect("no row A4").to_string();
        assert!(message.contains("`A4`"), "{message}");
    }

    /// A replay file a row needs a name a row.
    #[test]
    fn no_two_rows_of_a_reproducer_have_one_name() {
        for reproducer in workloads::CATALOGUE {
            let mut seen = BTreeSet::new();
            for verdict in reproducer.verdicts() {
                assert!(
                    seen.insert(verdict.row),
                    "{} has two rows {}",
                    reproducer.name(),
                    verdict.row
                );
            }
        }
    }
}
