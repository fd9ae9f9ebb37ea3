//! The verdict matrix from the command line, and what is stored of it: a failing schedule and its
//! diagram for each row that fails.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use insta::Settings;
use serde_json::Value;
use shootdown::workloads::{CATALOGUE, Reproducer, Verdict};
use shootdown::{Error, Registry, Replay, Report};

fn verdicts(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::cargo_bin("shootdown")
        .expect("built")
        .arg("verdicts")
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

#[track_caller]
fn json(args: &[&str]) -> (Option<i32>, Value) {
    let (code, stdout, stderr) = verdicts(&[args, &["--json"]].concat());
    let value = serde_json::from_str(&stdout);
    (
        code,
        value.unwrap_or_else(|error| panic!("{error}: {stdout} {stderr}")),
    )
}

fn rows() -> impl Iterator<Item = (&'static dyn Reproducer, &'static Verdict)> {
    let all = CATALOGUE
        .iter()
        .flat_map(|it| it.verdicts().iter().map(move |row| (*it, row)));
    all.filter(|(_, row)| !row.race.is_empty())
}

#[test]
fn a_row_that_fails_and_the_one_that_mends_it() {
    let (code, rows) = json(&["A50", "A51", "--quick"]);
    assert_eq!(code, Some(0), "{rows}");
    let [broken, mended] = &rows.as_array().expect("an array")[..] else {
        panic!("{rows}");
    };
    for (key, value) in [
        ("row", "A50"),
        ("race", "SWPENT"),
        ("reproducer", "swap-entry"),
        ("kernel", "v2.6.18"),
    ] {
        assert_eq!(broken[key], value);
    }
    assert_eq!(broken["fixes"], serde_json::json!(["A50"]));
    assert_eq!(broken["expected"], serde_json::json!(["SWAPENT"]));
    assert_eq!(broken["got"], broken["expected"]);
    assert_eq!(broken["ok"], true);
    assert!(broken["witness"]["message"].is_string(), "{broken}");
    assert_eq!(mended["row"], "A51");
    assert_eq!(mended["got"], serde_json::json!([]));
    assert_eq!(mended["ok"], true);
    for row in [broken, mended] {
        let evidence = row["evidence"].as_str().expect("text");
        let known = ["exhaustive", "bounded(", "sampled("];
        assert!(known.iter().any(|it| evidence.starts_with(it)), "{row}");
        assert!(row["schedules"].as_u64().is_some_and(|it| it > 0), "{row}");
        assert!(row["note"].is_string(), "{row}");
    }
}

/// One schedule does not show it: what was not seen is not claimed, and the row differs.
#[test]
fn a_row_that_does_not_show_its_words_differs() {
    let (code, stdout, stderr) = verdicts(&["A50", "--schedules", "1"]);
    assert_eq!(code, Some(1), "{stdout} {stderr}");
    assert!(stdout.contains("DIFFERS  A50"), "{stdout}");
    assert!(stderr.contains("1 rows, 1 differ"), "{stderr}");
}

#[test]
fn the_result_does_not_depend_on_the_number_of_jobs() {
    let rows = ["SWPENT", "A30", "B37", "--quick", "--schedules", "200"];
    let one = json(&[&rows[..], &["--jobs", "1"]].concat());
    let four = json(&[&rows[..], &["--jobs", "4"]].concat());
    assert_eq!(one, four);
}

#[test]
fn a_guard_is_a_mutation_that_turns_a_clean_row_red() {
    let (code, rows) = json(&["A45", "--guards", "--quick"]);
    assert_eq!(code, Some(0), "{rows}");
    let rows = rows.as_array().expect("an array");
    assert!(!rows.is_empty());
    for row in rows {
        assert!(row["guard"].is_string(), "{row}");
        assert_ne!(row["got"], serde_json::json!([]), "{row}");
    }
}

#[test]
fn a_wrong_request_is_answered_with_what_would_be_right() {
    for (args, part) in [
        (&["A4O"][..], "`A40`"),
        (&["FWDD"][..], "`FWD`"),
        (&["A50", "--jobs", "0"][..], "1 to 1024"),
        (&["A50", "--schedules", "0"][..], "1 or more"),
        (&["A50", "--seconds", "0"][..], "more than 0"),
    ] {
        let (code, stdout, stderr) = verdicts(args);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(stderr.contains(part), "{args:?}: {stderr}");
    }
}

/// Where stored schedules are: a folder a reproducer, a file a row, and its diagram beside it.
fn stored() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots")
}

fn all_stored() -> BTreeSet<PathBuf> {
    let files = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).expect("a directory");
        entries.map(|it| it.expect("readable").path()).collect()
    };
    let folders = files(&stored()).into_iter().filter(|it| it.is_dir());
    folders
        .flat_map(|it| files(&it))
        .filter(|it| it.extension().is_some_and(|it| it == "replay"))
        .collect()
}

const RENEW: &str =
    "`.ci/rows ROW` stores a row's schedule and diagram (all rows without an argument)";

/// The run of a stored schedule, and whether the code has changed since it was stored so that its
/// steps are others.
fn again(path: &Path) -> Result<(Report, bool), Error> {
    let replay = Replay::read(path, &Registry::standard())?;
    match replay.run(&mut |_| {}) {
        Ok(report) => Ok((report, false)),
        Err(Error::Diverged { .. }) => Ok((replay.follow(), true)),
        Err(error) => Err(error),
    }
}

/// Whatever was changed since: a schedule that failed fails, with words of its row. A schedule whose
/// steps are still the same has the same diagram.
#[test]
fn every_stored_schedule_still_fails() {
    let mut wrong = Vec::new();
    let mut left = all_stored();
    for (reproducer, row) in rows().filter(|(_, row)| !row.words.is_empty()) {
        let name = format!("{} of {}", row.row, reproducer.name());
        let folder = stored().join(reproducer.name());
        let path = folder.join(format!("{}.replay", row.row));
        if !left.remove(&path) {
            wrong.push(format!("{name}: nothing is stored"));
            continue;
        }
        let (report, drifted) = match again(&path) {
            Ok(it) => it,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        let words = report.words();
        let of_row = |it: &&str| row.words.contains(it) || *it == "CHECK";
        if words.is_empty() || !words.iter().all(of_row) {
            wrong.push(format!("{name}: it shows {words:?}"));
            continue;
        }
        if drifted {
            eprintln!("{name}: other steps than were stored, and it fails still");
            continue;
        }
        let diagram = report.diagram().to_string();
        if diagram.is_empty() {
            continue;
        }
        let mut settings = Settings::clone_current();
        settings.set_snapshot_path(&folder);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(row.row, diagram));
    }
    wrong.extend(left.iter().map(|it| format!("{}: of no row", it.display())));
    assert!(wrong.is_empty(), "{RENEW}:\n{}", wrong.join("\n"));
}

/// They are kept for ever. A turn is eight bytes; two programs take thousands.
#[test]
fn stored_schedules_are_small() {
    for path in all_stored() {
        let long = ["vendor-512", "forkscrew-reverse"];
        let folder = path.parent().expect("in a folder");
        let most = match long.iter().any(|it| folder.ends_with(it)) {
            true => 128 << 10,
            false => 20 << 10,
        };
        let bytes = path.metadata().expect("readable").len();
        assert!(bytes <= most, "{} has {bytes} bytes", path.display());
    }
}
