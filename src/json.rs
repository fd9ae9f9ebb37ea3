//! The JSON of `run` and `replay`. What is here is a promise: more may be added, nothing changed.

use std::collections::BTreeMap;

use emu::Violation;
use serde::Serialize;

use crate::{Configuration, Report};

/// What was run, for programs.
#[derive(Serialize)]
pub(crate) struct ConfigurationJson<'a> {
    reproducer: &'a str,
    set: BTreeMap<&'a str, u64>,
    kernel: &'a str,
    fixes: &'a [String],
    patches: Vec<&'a str>,
    flush: &'a str,
    machine: &'a str,
    cpus: u16,
    chooser: String,
}

impl<'a> ConfigurationJson<'a> {
    pub fn of(it: &'a Configuration) -> ConfigurationJson<'a> {
        ConfigurationJson {
            reproducer: it.reproducer.name(),
            set: it.params.iter().collect(),
            kernel: it.kernel.name,
            fixes: &it.fixes,
            patches: it.patches.iter().map(|it| it.name()).collect(),
            flush: it.flush.name(),
            machine: &it.machine.costs.name,
            cpus: it.cpus,
            chooser: it.chooser.to_string(),
        }
    }
}

/// One run, for programs.
#[derive(Serialize)]
pub struct RunJson<'a> {
    #[serde(flatten)]
    configuration: ConfigurationJson<'a>,
    seed: u64,
    verdict: String,
    words: Vec<&'a str>,
    violations: Vec<ViolationJson<'a>>,
    warnings: &'a [String],
    stdout: &'a str,
    exit: Option<i32>,
    steps: u64,
    cycles: u64,
    digest: String,
    counters: &'a BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
pub(crate) struct ViolationJson<'a> {
    oracle: &'a str,
    word: &'a str,
    message: &'a str,
    step: u64,
    cycle: u64,
}

impl<'a> ViolationJson<'a> {
    pub fn of(it: &'a Violation) -> ViolationJson<'a> {
        ViolationJson {
            oracle: it.oracle,
            word: it.word,
            message: &it.message,
            step: it.step,
            cycle: it.cycle,
        }
    }
}

impl Report {
    /// As the command line gives it to programs.
    pub fn json(&self) -> RunJson<'_> {
        RunJson {
            configuration: ConfigurationJson::of(&self.configuration),
            seed: self.seed,
            verdict: self.outcome().to_string(),
            words: self.words(),
            violations: self.violations.iter().map(ViolationJson::of).collect(),
            warnings: &self.warnings,
            stdout: &self.stdout,
            exit: self.exit,
            steps: self.steps,
            cycles: self.cycles,
            digest: self.digest.to_string(),
            counters: &self.counters,
        }
    }
}
