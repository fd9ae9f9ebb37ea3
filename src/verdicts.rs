//! The verdict matrix: every row of the catalogue, run, beside what it must give.
//!
//! A row that must fail is first looked for among sampled schedules, which find most failures at
//! once; what is not found there is searched for. A row that must be clean is searched to its
//! bound. What a result rests on is what was done, whatever the catalogue asks for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;
use workloads::{Evidence, Reproducer, Verdict};

use crate::suggest::hint;
use crate::{Error, Exploration, Explore, Registry, Run};

/// Sampled schedules among which a failure is looked for before it is searched for.
const WITNESSES: u64 = 20_000;
/// The same for a quick look.
const QUICK_WITNESSES: u64 = 3_000;
/// Runs of a search for one row, when nobody says: beyond them a row rests on less than it
/// asks for, and says so.
const MOST_SCHEDULES: u64 = 60_000;
/// The same for a quick look.
const QUICK_SCHEDULES: u64 = 1_000;
/// Seeds of a sampled row in a quick look.
const QUICK_SEEDS: u64 = 20;

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
    /// Steps and preemptions of the failing schedule, cut down.
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

    /// Saves the failing schedules in this directory, a file a row.
    pub fn save(mut self, directory: Option<PathBuf>) -> Verdicts {
        self.save = directory;
        self
    }

    /// Runs them. `progress` is told how many are done, of how many, some ten times a second.
    pub fn run(&self, progress: &mut dyn FnMut(usize, usize)) -> Result<Vec<Judged>, Error> {
        // The budgets are checked before any row runs.
        let first = Run::of_in(&self.registry, "lost-update")?.chooser("random")?;
        self.budgeted(Explore::new(first), Some(1)).run()?;
        let jobs = match self.jobs {
            None => std::thread::available_parallelism().map_or(1, usize::from),
            Some(jobs) => jobs as usize,
        };
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<(usize, Result<Judged, Error>)>> = Mutex::default();
        let count = || done.lock().expect("no worker panics with it").len();
        std::thread::scope(|scope| {
            for _ in 0..jobs.min(self.rows.len()) {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(row) = self.rows.get(at) else { break };
                        let judged = self.judge(row);
                        done.lock()
                            .expect("no worker panics with it")
                            .push((at, judged));
                    }
                });
            }
            while count() < self.rows.len() {
                progress(count(), self.rows.len());
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let mut done = done.into_inner().expect("no worker panicked");
        done.sort_by_key(|it| it.0);
        done.into_iter().map(|it| it.1).collect()
    }

    fn budgeted(&self, explore: Explore, schedules: Option<u64>) -> Explore {
        let mut explore = explore.jobs(1);
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
        let mut run = Run::of_in(&self.registry, row.reproducer.name())?;
        if let Some(kernel) = verdict.kernel {
            run = run.kernel(kernel)?;
        }
        for fix in verdict.fixes {
            run = run.fix(fix)?;
        }
        for (key, value) in verdict.set {
            run = run.set(key, &value.to_string())?;
        }
        run = run.budgets(verdict.budgets);
        let mut explored = self.explore(row, &run)?;
        let witness = match &mut explored.first_failure {
            Some(first) => {
                if let Some(directory) = &self.save {
                    first.save(&row.file(directory))?;
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
            expected: verdict.words.to_vec(),
            ok: agree(verdict.words, &explored.words),
            got: explored.words,
            evidence: explored.explored.to_string(),
            schedules: explored.schedules,
            note: verdict.note,
            witness,
        })
    }

    fn explore(&self, row: &Row, run: &Run) -> Result<Exploration, Error> {
        let verdict = &row.verdict;
        let most = match verdict.evidence {
            Evidence::Sampled(seeds) => {
                let seeds = u64::from(seeds);
                let seeds = if self.quick {
                    seeds.min(QUICK_SEEDS)
                } else {
                    seeds
                };
                let timed = Explore::new(run.clone().chooser("timed")?);
                return self.budgeted(timed, Some(seeds)).run();
            }
            Evidence::Bounded(most) => Some(most),
            Evidence::Exhaustive => None,
        };
        if !verdict.words.is_empty() {
            let sampled = Explore::new(run.clone().chooser("pct:4")?).until(verdict.words);
            let witnesses = if self.quick {
                QUICK_WITNESSES
            } else {
                WITNESSES
            };
            let sampled = self.budgeted(sampled, Some(witnesses)).run()?;
            if agree(verdict.words, &sampled.words) {
                return Ok(sampled);
            }
        }
        let chooser = match most {
            None => "exhaustive".to_string(),
            Some(most) => format!("exhaustive:{most}"),
        };
        let all = if self.quick {
            QUICK_SCHEDULES
        } else {
            MOST_SCHEDULES
        };
        let search = Explore::new(run.clone().chooser(&chooser)?).until(verdict.words);
        self.budgeted(search, Some(all)).run()
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

    fn file(&self, directory: &Path) -> PathBuf {
        let name = format!("{}-{}.replay", self.verdict.row, self.reproducer.name());
        directory.join(name)
    }
}

/// Whether words are those that a row must show. Where the program's own check notices the same
/// failure, CHECK counts as the same.
fn agree(expected: &[&str], got: &BTreeSet<String>) -> bool {
    const CHECK: &str = "CHECK";
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

/// The matrix as a table of text, or of Markdown.
pub fn table(rows: &[Judged], markdown: bool) -> String {
    let cells = |it: &Judged| {
        let or_clean = |words: Vec<&str>| {
            if words.is_empty() {
                "CLEAN".to_string()
            } else {
                words.join(" ")
            }
        };
        let fixes = if it.fixes.is_empty() {
            "-".to_string()
        } else {
            it.fixes.join(" ")
        };
        [
            if it.ok { "ok" } else { "DIFFERS" }.to_string(),
            it.row.to_string(),
            it.race.to_string(),
            it.reproducer.to_string(),
            it.kernel.clone(),
            fixes,
            or_clean(it.expected.clone()),
            or_clean(it.got.iter().map(String::as_str).collect()),
            it.evidence.clone(),
            it.note.to_string(),
        ]
    };
    let head = [
        "",
        "row",
        "race",
        "program",
        "kernel",
        "fixes",
        "must give",
        "gave",
        "rests on",
        "note",
    ]
    .map(ToString::to_string);
    let rows: Vec<[String; 10]> = std::iter::once(head)
        .chain(rows.iter().map(cells))
        .collect();
    let mut text = String::new();
    let widths: Vec<usize> = (0..9)
        .map(|column| rows.iter().map(|it| it[column].len()).max().unwrap_or(0))
        .collect();
    for (at, row) in rows.iter().enumerate() {
        if markdown {
            let line = row[1..].iter().map(|it| it.replace('|', "\\|"));
            text.push_str(&format!("| {} |\n", line.collect::<Vec<_>>().join(" | ")));
            if at == 0 {
                text.push_str(&format!("|{}\n", "---|".repeat(9)));
            }
            continue;
        }
        let line: String = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}  "))
            .collect();
        text.push_str(&format!("{}{}\n", line, row[9]).replace("  \n", "\n"));
    }
    text
}
