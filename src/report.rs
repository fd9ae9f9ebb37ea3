//! What a run gave.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use emu::{Digest, Stop, Violation};

use crate::{Configuration, Diagram};

/// What a run gave. Its `Display` is what the command line prints: the guest's own output, the
/// verdict, each violation in a sentence, and the diagram of the first.
#[derive(Clone)]
pub struct Report {
    /// What was run.
    pub configuration: Arc<Configuration>,
    /// The seed.
    pub seed: u64,
    /// How it ended.
    pub stop: Stop,
    /// What the oracles found, in order.
    pub violations: Vec<Violation>,
    /// What is worth knowing and no violation.
    pub warnings: Vec<String>,
    /// What the guest printed.
    pub stdout: String,
    /// The guest's exit status; `None` if it did not get so far.
    pub exit: Option<i32>,
    /// Steps taken.
    pub steps: u64,
    /// The clock at the end, in cycles of the machine.
    pub cycles: u64,
    /// The digest of all steps: two runs with the same digest were the same run.
    pub digest: Digest,
    /// What was counted, by name.
    pub counters: BTreeMap<&'static str, u64>,
}

/// A run in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It ended, and no oracle found anything.
    Clean,
    /// An oracle found something.
    Violated,
    /// Nobody could go on.
    Deadlock,
    /// Actors repeated themselves without progress.
    Livelock,
    /// It was given up.
    StepsExhausted,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Clean => "clean",
            Outcome::Violated => "violated",
            Outcome::Deadlock => "deadlock",
            Outcome::Livelock => "livelock",
            Outcome::StepsExhausted => "steps-exhausted",
        })
    }
}

/// The oracle that names a deadlock, which is how such a run ends and not what it violates.
const WAIT_GRAPH: &str = "wait-graph";

/// A run in one word, by what its oracles found and how it ended.
pub(crate) fn outcome(violations: &[Violation], stop: &Stop) -> Outcome {
    if violations.iter().any(|it| it.oracle != WAIT_GRAPH) {
        return Outcome::Violated;
    }
    match stop {
        Stop::Deadlock(_) => Outcome::Deadlock,
        Stop::Livelock(_) => Outcome::Livelock,
        Stop::StepsExhausted => Outcome::StepsExhausted,
        _ if !violations.is_empty() => Outcome::Violated,
        _ => Outcome::Clean,
    }
}

impl Report {
    /// Whether it ended by itself and no oracle found anything.
    pub fn is_clean(&self) -> bool {
        self.outcome() == Outcome::Clean
    }

    /// The report, unless a chooser gave up in the middle of the run: then nothing can be said.
    pub(crate) fn whole(self) -> Result<Report, crate::Error> {
        match self.stop {
            Stop::Diverged(why) => Err(crate::Error::Chooser(why)),
            _ => Ok(self),
        }
    }

    /// The run in one word. What was violated outweighs how it ended.
    pub fn outcome(&self) -> Outcome {
        outcome(&self.violations, &self.stop)
    }

    /// The verdict words, sorted, each once.
    pub fn words(&self) -> Vec<&'static str> {
        let mut words: Vec<_> = self.violations.iter().map(|it| it.word).collect();
        words.sort_unstable();
        words.dedup();
        words
    }

    /// The steps that led to the first violation that names any, beside each other. Made by
    /// running again, which gives the same run.
    pub fn diagram(&self) -> Diagram {
        Diagram::of(self).unwrap_or_default()
    }

    /// As the command line prints it, with colours or without.
    pub fn render(&self, colour: bool) -> String {
        let mut text = self.stdout.clone();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&self.verdict_line(colour));
        text.push_str(&self.violation_lines());
        let diagram = self.diagram();
        if !diagram.is_empty() {
            text.push_str(&format!("\n{diagram}"));
        }
        text
    }

    fn verdict_line(&self, colour: bool) -> String {
        let it = &self.configuration;
        let outcome = match (self.outcome(), colour) {
            (outcome, false) => outcome.to_string(),
            (Outcome::Clean, true) => format!("\x1b[32m{}\x1b[0m", Outcome::Clean),
            (outcome, true) => format!("\x1b[1;31m{outcome}\x1b[0m"),
        };
        let words = match self.words().join(" ") {
            none if none.is_empty() => none,
            words => format!(" ({words})"),
        };
        let time = time(self.cycles, it.machine.costs.hz);
        format!(
            "{}: {outcome}{words}\n{}, {} seed {}; {} steps, {time}, digest {}\n",
            it.subject(),
            it.place(),
            it.chooser,
            self.seed,
            self.steps,
            self.digest,
        )
    }

    /// The first of each oracle in full, and how many more there were.
    fn violation_lines(&self) -> String {
        let mut text = String::new();
        let mut told: Vec<&str> = Vec::new();
        for first in &self.violations {
            if told.contains(&first.oracle) {
                continue;
            }
            told.push(first.oracle);
            text.push_str(&format!("\n{first}\n"));
            let mut same = self
                .violations
                .iter()
                .filter(|it| it.oracle == first.oracle);
            let more = same.clone().count() - 1;
            if let Some(last) = same.next_back().filter(|_| more > 0) {
                text.push_str(&format!(
                    "  and {more} more from {}, the last at step {}\n",
                    first.oracle, last.step
                ));
            }
        }
        match &self.stop {
            Stop::Livelock(actors) => {
                let who: Vec<String> = actors.iter().map(ToString::to_string).collect();
                text.push_str(&format!("\nno progress: {}\n", who.join(", ")));
            }
            Stop::StepsExhausted => text.push_str(&format!(
                "\ngiven up after {} steps; --max-steps allows more\n",
                self.steps
            )),
            _ => {}
        }
        for warning in &self.warnings {
            text.push_str(&format!("\nnote: {warning}\n"));
        }
        text
    }
}

/// A time of the machine, in the unit that suits it.
fn time(cycles: u64, hz: u64) -> String {
    let seconds = cycles as f64 / hz as f64;
    match seconds {
        1.0.. => format!("{seconds:.3} s"),
        0.001.. => format!("{:.3} ms", seconds * 1e3),
        _ => format!("{:.3} us", seconds * 1e6),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("configuration", &self.configuration)
            .field("seed", &self.seed)
            .field("stop", &self.stop)
            .field("words", &self.words())
            .field("steps", &self.steps)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}
