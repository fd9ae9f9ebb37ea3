//! The JSON of `explore`. What is here is a promise: more may be added, nothing changed.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use super::{Exploration, FirstFailure, TimeToFailure};
use crate::json::{ConfigurationJson, ViolationJson};

/// An exploration, for programs.
#[derive(Serialize)]
pub struct ExploreJson<'a> {
    #[serde(flatten)]
    configuration: ConfigurationJson<'a>,
    seed: u64,
    schedules: u64,
    failing: u64,
    complete: bool,
    bound: Option<u32>,
    evidence: String,
    words: &'a BTreeSet<String>,
    first_failure: Option<FailureJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_to_failure: Option<&'a TimeToFailure>,
    seconds: f64,
    steps: u64,
}

#[derive(Serialize)]
struct FailureJson<'a> {
    schedule: u64,
    seed: u64,
    preemptions: u32,
    verdict: String,
    violation: Option<ViolationJson<'a>>,
    steps: u64,
    digest: String,
    contrast: Option<ContrastJson<'a>>,
    replay: Option<&'a Path>,
}

/// The steps whose order decides.
#[derive(Serialize)]
struct ContrastJson<'a> {
    object: &'a str,
    first: u64,
    second: u64,
}

impl<'a> FailureJson<'a> {
    fn of(it: &'a FirstFailure) -> FailureJson<'a> {
        FailureJson {
            schedule: it.schedule,
            seed: it.seed,
            preemptions: it.preemptions,
            verdict: it.report.outcome().to_string(),
            violation: it.violation().map(ViolationJson::of),
            steps: it.report.steps,
            digest: it.report.digest.to_string(),
            contrast: it.contrast.as_ref().map(|it| ContrastJson {
                object: &it.object,
                first: it.first.0,
                second: it.second.0,
            }),
            replay: it.replay.as_deref(),
        }
    }
}

impl Exploration {
    /// As the command line gives it to programs.
    pub fn json(&self) -> ExploreJson<'_> {
        ExploreJson {
            configuration: ConfigurationJson::of(&self.configuration),
            seed: self.seed,
            schedules: self.schedules,
            failing: self.failing,
            complete: self.complete,
            bound: self.bound,
            evidence: self.explored.to_string(),
            words: &self.words,
            first_failure: self.first_failure.as_ref().map(FailureJson::of),
            time_to_failure: self.time_to_failure.as_ref(),
            seconds: self.seconds,
            steps: self.steps,
        }
    }
}
