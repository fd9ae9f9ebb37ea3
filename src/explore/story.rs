//! The diagrams of docs/fork-gup.md are those of stored schedules. A line `<!-- dio-fork/A01: diagram,
//! contrast -->` says which of them the next block shows, and what of it; `.ci/rows` writes them anew.

use std::path::Path;

use emu::explore::{Program, Schedule, contrast};

use super::Deciding;
use super::searching::{SHRINK_RUNS, Searched};
use crate::{Registry, Replay, Report};

const PAGE: &str = "docs/fork-gup.md";
/// Whether the page is to be changed.
const RENEW: &str = "RENEW_DIAGRAMS";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pair of steps that decides a failing run.
fn deciding(row: &str, replay: &Replay, report: &Report) -> Deciding {
    let failing = report.violations[0].step as usize;
    let schedule = Schedule::of(replay.actors().take(failing));
    let cpus = report.configuration.cpus;
    let mut found = None;
    Searched(&report.configuration).on_worker(&mut |runner| {
        found = contrast(runner, cpus, &schedule, SHRINK_RUNS);
    });
    let found = found.unwrap_or_else(|| panic!("{row}: no other order passes"));
    Deciding::of(report, found)
}

fn block(row: &str, parts: &str) -> String {
    let path = root().join(format!("snapshots/{row}.replay"));
    let replay = Replay::read(&path, &Registry::standard()).expect("stored");
    let report = replay
        .run(&mut |_| {})
        .expect("it replays: `.ci/rows` stores it anew");
    let parts = parts.split(", ").map(|part| match part {
        "diagram" => format!("{}\n\n{}", report.violations[0], report.diagram()),
        "contrast" => deciding(row, &replay, &report).to_string(),
        other => panic!("{row}: `{other}` is neither `diagram` nor `contrast`"),
    });
    parts.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_diagrams_of_the_story_are_those_of_stored_schedules() {
    let page = root().join(PAGE);
    let text = std::fs::read_to_string(&page).expect("there");
    let mut pieces = text.split("<!-- ");
    let mut now = pieces.next().expect("the beginning").to_string();
    let mut shown = 0;
    for piece in pieces {
        let (mark, rest) = piece.split_once(" -->\n\n```text\n").expect("a block");
        let (row, parts) = mark.split_once(": ").expect("a row and its parts");
        let (_, rest) = rest.split_once("```\n").expect("its end");
        let block = block(row, parts);
        now.push_str(&format!("<!-- {mark} -->\n\n```text\n{block}```\n{rest}"));
        shown += 1;
    }
    assert!(shown > 10, "{shown} diagrams are marked");
    if std::env::var_os(RENEW).is_some() {
        return std::fs::write(&page, now).expect("written");
    }
    for (line, (is, was)) in now.lines().zip(text.lines()).enumerate() {
        assert_eq!(is, was, "{PAGE}:{}: {RENEW}=1 writes it anew", line + 1);
    }
    assert_eq!(now.len(), text.len());
}
