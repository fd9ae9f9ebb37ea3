//! A row of the verdict matrix: a configuration of a reproducer, what it must give, and what that
//! rests on.

use std::collections::BTreeMap;

/// What a verdict rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// Every interleaving.
    Exhaustive,
    /// Every interleaving with at most so many preemptions.
    Bounded(u32),
    /// So many seeds, simulated time deciding.
    Sampled(u32),
}

/// What a counter may be at the end of a run; outside of it the `cost` oracle fires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// The counter's name, as in the report.
    pub counter: &'static str,
    /// The least it may be.
    pub at_least: u64,
    /// The most.
    pub at_most: u64,
}

impl Budget {
    /// No more than this.
    pub const fn at_most(counter: &'static str, at_most: u64) -> Budget {
        Budget {
            counter,
            at_least: 0,
            at_most,
        }
    }

    /// Whether a run's counters are within it; one that was never touched is 0.
    pub fn holds(&self, counters: &BTreeMap<&'static str, u64>) -> bool {
        let value = counters.get(self.counter).copied().unwrap_or(0);
        (self.at_least..=self.at_most).contains(&value)
    }

    /// No less than this.
    pub const fn at_least(counter: &'static str, at_least: u64) -> Budget {
        Budget {
            counter,
            at_least,
            at_most: u64::MAX,
        }
    }
}

/// A configuration, and the words that it must show.
///
/// ```
/// use workloads::Verdict;
///
/// const A41: Verdict = Verdict::of("A41", "FWD").fixes(&["A41"]).exhaustive();
/// assert!(A41.words.is_empty(), "no words: it must be clean");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    /// The row, or a sub-row of it (`B40.lockless`).
    pub row: &'static str,
    /// The race it belongs to (`FWD`).
    pub race: &'static str,
    /// The base kernel; `None` leaves it to the row that is given as a fix, or to the reproducer.
    pub kernel: Option<&'static str>,
    /// Patches or rows, in order of application.
    pub fixes: &'static [&'static str],
    /// Parameters.
    pub set: &'static [(&'static str, u64)],
    /// Verdict words, sorted; none means clean.
    pub words: &'static [&'static str],
    /// What it rests on.
    pub evidence: Evidence,
    /// What its counters may be: a row marked COST.
    pub budgets: &'static [Budget],
    /// Mutations that must turn a clean row red, each with the words that it must then show.
    pub guards: &'static [Guard],
    /// What a reader should know about it.
    pub note: &'static str,
}

/// A mutation, and the words that a clean row shows with it. Where the program's own check may
/// notice the same failure, CHECK is among them.
pub type Guard = (&'static str, &'static [&'static str]);

impl Verdict {
    /// A row that is clean on the reproducer's own kernel, over 1,000 seeds, until more is said.
    pub const fn of(row: &'static str, race: &'static str) -> Verdict {
        Verdict {
            row,
            race,
            kernel: None,
            fixes: &[],
            set: &[],
            words: &[],
            evidence: Evidence::Sampled(1000),
            budgets: &[],
            guards: &[],
            note: "",
        }
    }

    /// On this base kernel.
    pub const fn kernel(mut self, kernel: &'static str) -> Verdict {
        self.kernel = Some(kernel);
        self
    }

    /// With these patches or rows, in order of application.
    pub const fn fixes(mut self, fixes: &'static [&'static str]) -> Verdict {
        self.fixes = fixes;
        self
    }

    /// With these parameters.
    pub const fn set(mut self, set: &'static [(&'static str, u64)]) -> Verdict {
        self.set = set;
        self
    }

    /// It must show exactly these words, which are sorted.
    pub const fn words(mut self, words: &'static [&'static str]) -> Verdict {
        self.words = words;
        self
    }

    /// Judged over every interleaving.
    pub const fn exhaustive(mut self) -> Verdict {
        self.evidence = Evidence::Exhaustive;
        self
    }

    /// Judged over every interleaving with at most so many preemptions.
    pub const fn bounded(mut self, preemptions: u32) -> Verdict {
        self.evidence = Evidence::Bounded(preemptions);
        self
    }

    /// Judged over so many seeds.
    pub const fn sampled(mut self, seeds: u32) -> Verdict {
        self.evidence = Evidence::Sampled(seeds);
        self
    }

    /// Counters must stay within these.
    pub const fn budgets(mut self, budgets: &'static [Budget]) -> Verdict {
        self.budgets = budgets;
        self
    }

    /// These mutations must turn it red.
    pub const fn guards(mut self, guards: &'static [Guard]) -> Verdict {
        self.guards = guards;
        self
    }

    /// What a reader should know.
    pub const fn note(mut self, note: &'static str) -> Verdict {
        self.note = note;
        self
    }
}
