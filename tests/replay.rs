//! Saved runs: the same again, step for step, or a message that says why not.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;
use shootdown::emu::replay_file::ReplayFile;
use tempfile::TempDir;

fn shootdown(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::cargo_bin("shootdown")
        .expect("built")
        .args(args)
        .output()
        .expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn json(args: &[&str]) -> Value {
    let (_, stdout, stderr) = shootdown(args);
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout} {stderr}"))
}

/// A saved run, and its path as an argument.
struct Saved {
    dir: TempDir,
    run: Value,
}

impl Saved {
    fn of(args: &[&str]) -> Saved {
        let dir = TempDir::new().expect("a directory");
        let path = dir.path().join("saved.replay");
        let mut all = vec!["run"];
        all.extend(args);
        all.extend(["--json", "--save", path.to_str().expect("a plain path")]);
        let run = json(&all);
        Saved { dir, run }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("saved.replay")
    }

    fn replay(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let path = self.path();
        let mut all = vec!["replay", path.to_str().expect("a plain path")];
        all.extend(args);
        shootdown(&all)
    }

    /// Replays the file with these bytes instead of its own; the message must have each part.
    #[track_caller]
    fn refused_with(&self, bytes: &[u8], parts: &[&str]) {
        std::fs::write(self.path(), bytes).expect("written");
        let (code, stdout, stderr) = self.replay(&[]);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        for part in parts.iter().chain(&["saved.replay"]) {
            assert!(stderr.contains(part), "no {part:?} in {stderr:?}");
        }
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

fn read(path: &Path) -> ReplayFile {
    ReplayFile::decode(&std::fs::read(path).expect("there")).expect("whole")
}

#[test]
fn a_replay_is_the_saved_run_whoever_chose() {
    for chooser in ["timed", "random"] {
        let saved = Saved::of(&["forkscrew", "--chooser", chooser, "--seed", "11"]);
        let (code, stdout, stderr) = saved.replay(&["--json"]);
        let again: Value = serde_json::from_str(&stdout).expect(&stderr);
        assert_eq!(again, saved.run, "{chooser}");
        assert_eq!(
            code,
            Some(if saved.run["verdict"] == "clean" {
                0
            } else {
                1
            })
        );
    }
}

#[test]
fn a_clean_run_is_saved_all_the_same_and_that_is_said() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("clean.replay");
    let name = path.to_str().expect("a plain path");
    let (code, _, stderr) = shootdown(&["run", "forkscrew", "--fix", "B02", "--save", name]);
    assert_eq!(code, Some(0));
    assert!(stderr.contains("nothing failed"), "{stderr}");
    assert_eq!(shootdown(&["replay", name]).0, Some(0));
}

#[test]
fn a_replay_file_stands_alone() {
    let dir = TempDir::new().expect("a directory");
    let preset = dir.path().join("mine.toml");
    let text = include_str!("../emu/presets/harpertown.toml").replace("\"harpertown\"", "\"mine\"");
    std::fs::write(&preset, text).expect("written");
    let saved = Saved::of(&[
        "forkscrew",
        "--machine",
        preset.to_str().expect("a plain path"),
    ]);
    std::fs::remove_file(preset).expect("it was there");
    let (_, stdout, stderr) = saved.replay(&["--json"]);
    let again: Value = serde_json::from_str(&stdout).expect(&stderr);
    assert_eq!(again["machine"], "mine");
    assert_eq!(again["digest"], saved.run["digest"]);
}

#[test]
fn one_can_stop_at_a_step_or_so_many_before_the_violation() {
    let saved = Saved::of(&["forkscrew"]);
    let violation = saved.run["violations"][0]["step"].as_u64().expect("a step");
    let (code, stdout, _) = saved.replay(&["--back", "2", "--json", "--dump", "tables,locks"]);
    let state: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(state["step"], violation - 2);
    assert_eq!(
        (code, &state["violations"]),
        (Some(0), &serde_json::json!([]))
    );
    assert!(
        !state["dump"]["tables"]
            .as_array()
            .expect("lines")
            .is_empty(),
        "{state}"
    );
    let (code, stdout, _) = saved.replay(&["--at", &violation.to_string(), "--dump", "tlb"]);
    assert_eq!(code, Some(1));
    assert!(
        stdout.contains(&format!("step {violation},")) && stdout.contains("\ntlb\n"),
        "{stdout}"
    );
    for (args, part) in [
        (["--at", "0"], "steps 1 to"),
        (["--at", "99999999"], "steps 1 to"),
        (["--back", "99999999"], "can be gone back"),
        (["--dump", "pagse"], "pages,tlb,tables,locks,queue"),
    ] {
        let (code, _, stderr) = saved.replay(&args);
        assert_eq!(code, Some(2), "{args:?}");
        assert!(stderr.contains(part), "{stderr}");
    }
}

#[test]
fn a_trace_has_a_line_for_each_step() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("run.txt");
    let run = json(&[
        "run",
        "forkscrew",
        "--json",
        "--trace",
        path.to_str().expect("a plain path"),
    ]);
    let text = std::fs::read_to_string(&path).expect("written");
    let lines: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(lines.len() as u64, run["steps"].as_u64().expect("a number"));
    assert!(lines[0].trim_start().starts_with("1 "), "{}", lines[0]);
    assert!(text.contains("copy_one_pte"), "{text}");
    let nowhere = ["run", "forkscrew", "--trace", "/nowhere/run.txt"];
    let (code, _, stderr) = shootdown(&nowhere);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("/nowhere/run.txt"), "{stderr}");
}

#[test]
fn a_file_that_is_no_whole_replay_file_is_refused() {
    let saved = Saved::of(&["forkscrew"]);
    let whole = std::fs::read(saved.path()).expect("saved");
    saved.refused_with(b"", &["empty"]);
    saved.refused_with(b"#!/bin/sh\n", &["something else"]);
    saved.refused_with(&whole[..whole.len() / 2], &["cut short"]);
    let mut altered = whole.clone();
    altered[whole.len() - 20] ^= 1;
    saved.refused_with(&altered, &["saved.replay"]);
    std::fs::remove_file(saved.path()).expect("it was there");
    assert_eq!(saved.replay(&[]).0, Some(2));
}

#[test]
fn a_configuration_that_is_unknown_here_is_named() {
    let saved = Saved::of(&["forkscrew", "--fix", "A41"]);
    let file = read(&saved.path());
    for (from, to, parts) in [
        (
            "\"v2.6.18\"",
            "\"v2.6.17\"",
            ["kernel `v2.6.17`", "`v2.6.18`"],
        ),
        (
            "\"patches\":[\"pg-gup\"]",
            "\"patches\":[\"pg-gub\"]",
            ["`pg-gub`", "`pg-gup`"],
        ),
        (
            "\"forkscrew\"",
            "\"corkscrew\"",
            ["`corkscrew`", "`forkscrew`"],
        ),
        ("\"cpus\":4", "\"cpus\":4000", ["4000 CPUs", "1 to 512"]),
        (
            "\"cpus\":4",
            "\"cpus\":4,\"gpus\":1",
            ["gpus", "expected one of"],
        ),
        (
            "\"cpus\":4",
            "\"cpus\":\"4\"",
            ["configuration", "invalid type"],
        ),
    ] {
        let mut other = file.clone();
        other.config = file.config.replace(from, to);
        assert_ne!(
            other.config, file.config,
            "{from} is not in {}",
            file.config
        );
        saved.refused_with(&other.encode(), &parts);
    }
}

#[test]
fn a_run_that_is_not_the_saved_one_says_so() {
    let saved = Saved::of(&["forkscrew"]);
    let file = read(&saved.path());
    let mut other = file.clone();
    other.config = file.config.replace("\"dontfork\":0", "\"dontfork\":1");
    saved.refused_with(&other.encode(), &["not the run that was saved", "at step"]);
    let mut other = file.clone();
    other.digest = shootdown::emu::Digest::new();
    saved.refused_with(
        &other.encode(),
        &["not the run that was saved", "its digest is"],
    );
}
