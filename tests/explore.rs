//! `shootdown explore` as people and scripts meet it, and the library's [`Explore`].

use std::path::PathBuf;

use assert_cmd::Command;
use insta::Settings;
use serde_json::{Value, json};
use shootdown::{Explore, Run};
use tempfile::TempDir;

#[derive(Debug)]
struct Output {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn explore(args: &[&str]) -> Output {
    shootdown("explore", args)
}

fn shootdown(command: &str, args: &[&str]) -> Output {
    let output = Command::cargo_bin("shootdown")
        .expect("built")
        .arg(command)
        .args(args)
        .output()
        .expect("runs");
    Output {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

impl Output {
    /// The object, without the host's time.
    fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{self:?}");
        let mut it: Value = serde_json::from_str(&self.stdout).expect("JSON");
        let seconds = it.as_object_mut().expect("an object").remove("seconds");
        assert!(seconds.expect("there").as_f64().expect("a number") >= 0.0);
        it
    }

    #[track_caller]
    fn refused(&self, parts: &[&str]) {
        assert_eq!(self.code, Some(2), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "no {part:?} in {:?}",
                self.stderr
            );
        }
        assert!(!self.stderr.contains("panicked"), "{self:?}");
    }
}

fn file(dir: &TempDir, name: &str) -> (PathBuf, String) {
    let path = dir.path().join(name);
    let text = path.to_str().expect("a plain path").to_string();
    (path, text)
}

#[test]
fn the_json_has_what_is_promised() {
    let output = explore(&["lost-update", "--schedules", "300", "--seed", "7", "--json"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_eq!(output.stderr, "");
    let it = output.json();
    for (key, value) in [
        ("reproducer", json!("lost-update")),
        ("kernel", json!("v2.6.18")),
        ("fixes", json!([])),
        ("flush", json!("linux-2.6.18")),
        ("machine", json!("skylake-2s")),
        ("cpus", json!(2)),
        ("seed", json!(7)),
        ("chooser", json!("random")),
        ("schedules", json!(300)),
        ("complete", json!(false)),
        ("bound", Value::Null),
        ("evidence", json!("sampled(300)")),
        ("words", json!(["CHECK"])),
    ] {
        assert_eq!(it[key], value, "{key}");
    }
    assert!(it["failing"].as_u64() > Some(0) && it["failing"].as_u64() <= Some(300));
    assert!(it["steps"].as_u64() > Some(300));
    assert!(it.get("time_to_failure").is_none(), "random has no time");
    let first = &it["first_failure"];
    assert_eq!(first["violation"]["oracle"], "check");
    assert_eq!(first["violation"]["word"], "CHECK");
    assert_eq!(first["replay"], Value::Null);
    assert_eq!(
        first["seed"].as_u64(),
        first["schedule"].as_u64().map(|it| it + 6),
        "schedules are seeds"
    );
    assert!(
        first["preemptions"].as_u64() > Some(0),
        "no update is lost without one"
    );
}

#[test]
fn the_result_does_not_depend_on_the_number_of_workers() {
    for chooser in ["random", "pct:2", "timed"] {
        let with = |jobs| {
            explore(&[
                "forkscrew",
                "--fix",
                "pg-gup",
                "--schedules",
                "150",
                "--chooser",
                chooser,
                "--json",
                "--jobs",
                jobs,
            ])
            .json()
        };
        assert_eq!(with("1"), with("4"), "{chooser}");
    }
}

/// What an exploration counts is what single runs of the same seeds give; the first failure is
/// that of the lowest seed that fails.
#[test]
fn a_schedule_is_the_run_of_its_seed() -> Result<(), shootdown::Error> {
    for chooser in ["random", "pct:3"] {
        let run = Run::of("lost-update")?.chooser(chooser)?;
        let failing: Vec<u64> = run.session(|session| {
            (1..=40)
                .filter(|seed| !session.run(*seed).is_clean())
                .collect()
        })?;
        let it = Explore::new(run).schedules(40).run()?;
        let first = it.first_failure.as_ref().expect("updates are lost");
        assert_eq!(it.failing, failing.len() as u64, "{chooser}");
        assert_eq!(first.seed, failing[0], "{chooser}");
        assert_eq!(first.schedule, failing[0], "{chooser}");
        assert_eq!(it.configuration.chooser.to_string(), chooser);
    }
    Ok(())
}

#[test]
fn nothing_failed_is_exit_code_0_and_says_what_was_explored() {
    let args = ["forkscrew", "--fix", "B02", "--schedules", "30"];
    let output = explore(&args);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output.stdout.contains("none of 30 schedules fails"),
        "{output:?}"
    );
    assert!(output.stdout.contains("sampled(30)"), "{output:?}");
    let it = explore(&[&args[..], &["--json"]].concat()).json();
    assert_eq!(it["failing"], 0);
    assert_eq!(it["words"], json!([]));
    assert_eq!(it["first_failure"], Value::Null);
}

#[test]
fn the_first_failure_can_be_replayed_and_traced() {
    let dir = tempfile::tempdir().expect("a directory");
    for chooser in ["pct:3", "timed"] {
        let (replay, replay_name) = file(&dir, "failing.replay");
        let (trace, trace_name) = file(&dir, "failing.txt");
        let it = explore(&[
            "forkscrew",
            "--chooser",
            chooser,
            "--schedules",
            "20",
            "--json",
            "--save",
            &replay_name,
            "--trace",
            &trace_name,
        ]);
        let it = it.json();
        let first = &it["first_failure"];
        assert_eq!(first["replay"], *replay_name);
        let again = shootdown("replay", &[&replay_name, "--json"]);
        assert_eq!(again.code, Some(1), "{again:?}");
        let again: Value = serde_json::from_str(&again.stdout).expect("JSON");
        assert_eq!(again["digest"], first["digest"], "{chooser}");
        assert_eq!(again["chooser"], *chooser);
        let lines = std::fs::read_to_string(&trace).expect("written");
        // A line that says what the columns are, and one a step.
        let steps = first["steps"].as_u64().expect("a number");
        assert_eq!(lines.lines().count() as u64, steps + 1, "{chooser}");
        std::fs::remove_file(replay).expect("there");
    }
    let (replay, name) = file(&dir, "none.replay");
    let clean = explore(&[
        "forkscrew",
        "--fix",
        "B02",
        "--schedules",
        "3",
        "--save",
        &name,
    ]);
    assert_eq!(clean.code, Some(0));
    assert!(clean.stderr.contains("nothing failed"), "{clean:?}");
    assert!(!replay.exists());
}

#[test]
fn a_search_takes_the_small_form_of_a_program_unless_somebody_says_otherwise() {
    let search = ["forkscrew", "--chooser", "exhaustive:0"];
    let small = explore(&search);
    assert_eq!(small.code, Some(1), "{small:?}");
    for part in [
        "forkscrew (small)",
        "the small form",
        "--set small=0",
        "bounded(0)",
    ] {
        assert!(small.stdout.contains(part), "{small:?}");
    }
    let clean = explore(&[&search[..], &["--fix", "A41", "--json"]].concat());
    assert_eq!(clean.code, Some(0), "{clean:?}");
    let clean = clean.json();
    assert_eq!(clean["set"], json!({"dontfork": 0, "small": 1}));
    assert_eq!(
        (&clean["complete"], &clean["bound"]),
        (&json!(true), &json!(0))
    );
    let whole = ["--set", "small=0", "--schedules", "5", "--json"];
    let whole = explore(&[&search[..], &whole].concat()).json();
    assert_eq!(whole["set"], json!({"dontfork": 0, "small": 0}));
    assert_eq!(
        (&whole["complete"], &whole["cpus"]),
        (&json!(false), &json!(4))
    );
    let sampled = explore(&["forkscrew", "--schedules", "5", "--json"]).json();
    assert_eq!(sampled["set"], json!({"dontfork": 0, "small": 0}));
}

#[test]
fn a_wrong_request_is_told_and_exits_2() {
    for (args, parts) in [
        (vec!["--schedules", "0"], vec!["0 schedules", "1 or more"]),
        (vec!["--schedules", "-1"], vec!["--schedules", "-1"]),
        (vec!["--seconds", "0"], vec!["0 seconds", "more than 0"]),
        (vec!["--seconds", "-2"], vec!["-2 seconds", "more than 0"]),
        (vec!["--seconds", "nan"], vec!["NaN seconds"]),
        (vec!["--jobs", "0"], vec!["0 jobs", "1 to 1024"]),
        (vec!["--jobs", "1025"], vec!["1025 jobs", "1 to 1024"]),
        (
            vec!["--chooser", "pct"],
            vec!["`pct`", "DEPTH is missing", "`pct:3`"],
        ),
        (vec!["--chooser", "pct:0"], vec!["`pct:0`", "1 to 64"]),
        (
            vec!["--chooser", "pct:x"],
            vec!["`pct:x`", "`x`", "1 to 64"],
        ),
        (
            vec!["--chooser", "timed:3"],
            vec!["`timed:3`", "takes no argument"],
        ),
        (
            vec!["--chooser", "exhaustive:-1"],
            vec!["`-1`", "0 to 1000"],
        ),
        (vec!["--chooser", "ptc:3"], vec!["`ptc`", "`pct`"]),
        (
            vec!["--checkpoint", "/nowhere/at/all"],
            vec!["/nowhere/at/all"],
        ),
        (
            vec!["--schedules", "1", "--save", "/nowhere/at/all"],
            vec!["/nowhere/at/all"],
        ),
    ] {
        explore(&[&["lost-update"][..], &args].concat()).refused(&parts);
    }
    shootdown("run", &["lost-update", "--chooser", "exhaustive:2"]).refused(&[
        "`exhaustive:2`",
        "makes no single run",
        "`explore`",
    ]);
}

#[test]
fn a_time_budget_ends_an_exploration() {
    let it = explore(&["lost-update", "--seconds", "0.2", "--json"]);
    let it = it.json();
    assert!(it["schedules"].as_u64() > Some(0));
    assert_eq!(it["evidence"], format!("sampled({})", it["schedules"]));
    let both = explore(&[
        "lost-update",
        "--seconds",
        "600",
        "--schedules",
        "50",
        "--json",
    ]);
    assert_eq!(both.json()["schedules"], 50);
}

#[test]
fn an_exploration_goes_on_from_its_checkpoint_and_ends_with_the_same_result() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, name) = file(&dir, "checkpoint");
    let args = |schedules| {
        vec![
            "lost-update",
            "--chooser",
            "pct:2",
            "--json",
            "--schedules",
            schedules,
        ]
    };
    let with_file = |schedules| {
        let mut args = args(schedules);
        args.extend(["--checkpoint", name.as_str()]);
        explore(&args)
    };
    with_file("70");
    assert!(path.exists());
    let whole = explore(&args("400")).json();
    assert_eq!(with_file("400").json(), whole);
    // Once more: nothing is left to do.
    assert_eq!(with_file("400").json(), whole);
    with_file("300").refused(&["400 schedules already", "only 300"]);
    for other in [
        vec!["--chooser", "pct:3"],
        vec!["--chooser", "pct:2", "--cpus", "3"],
    ] {
        let mut args = vec![
            "lost-update",
            "--schedules",
            "400",
            "--checkpoint",
            name.as_str(),
        ];
        args.extend(other);
        explore(&args).refused(&["checkpoint", "another program"]);
    }
    let mut seed = args("400");
    seed.extend(["--checkpoint", name.as_str(), "--seed", "2"]);
    explore(&seed).refused(&["begins with seed 1"]);
    let text = std::fs::read_to_string(&path).expect("there");
    for (spoilt, part) in [
        (text[..text.len() / 2].to_string(), "cut short"),
        (
            text.replace("\"schedules\":400", "\"schedules\":399"),
            "altered",
        ),
        (text.replacen(" 1\n", " 2\n", 1), "version 2"),
        ("PNG".to_string(), "something else"),
        (String::new(), "something else"),
    ] {
        std::fs::write(&path, spoilt).expect("written");
        with_file("400").refused(&[part]);
    }
}

/// Killed at any moment, an exploration goes on from what the file has.
#[test]
fn a_killed_exploration_goes_on_where_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, name) = file(&dir, "checkpoint");
    let program = ["forkscrew", "--chooser", "pct:3", "--jobs", "2", "--json"];
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("shootdown"))
        .arg("explore")
        .args(program)
        .args(["--schedules", "100000000", "--checkpoint", &name])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("starts");
    let schedules = || {
        let text = std::fs::read_to_string(&path).ok()?;
        let body: Value = serde_json::from_str(text.lines().nth(1)?).expect("whole");
        body["tally"]["schedules"].as_u64().filter(|it| *it > 0)
    };
    // The file is written each second: a minute is plenty.
    for _ in 0..600 {
        if schedules().is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    child.kill().expect("it still runs");
    child.wait().expect("killed");
    let goal = (schedules().expect("a second has passed") + 200).to_string();
    let args = [&program[..], &["--schedules", &goal]].concat();
    let whole = explore(&args).json();
    let resumed = explore(&[&args[..], &["--checkpoint", &name]].concat()).json();
    assert_eq!(resumed, whole);
}

#[test]
fn timed_explorations_tell_the_time_to_failure() {
    let it = explore(&[
        "forkscrew",
        "--chooser",
        "timed",
        "--schedules",
        "100",
        "--json",
    ]);
    let times = &it.json()["time_to_failure"];
    assert_eq!(
        (&times["runs"], &times["failures"]),
        (&json!(100), &json!(100))
    );
    let number = |it: &Value| it.as_f64().expect("a number");
    let mean = number(&times["mean_seconds"]);
    let limits = &times["mean_seconds_95"];
    assert!(
        number(&limits[0]) < mean && mean < number(&limits[1]),
        "{times}"
    );
    assert!((mean * number(&times["per_second"]) - 1.0).abs() < 1e-9);
    assert!(
        times["method"]
            .as_str()
            .expect("text")
            .contains("chi-square")
    );
}

#[test]
fn what_a_person_reads() {
    let mut settings = Settings::clone_current();
    settings.set_snapshot_path("../snapshots/explore");
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| {
        for (name, args) in [
            (
                "lost-update-pct",
                vec!["lost-update", "--chooser", "pct:3", "--schedules", "200"],
            ),
            (
                "forkscrew-timed",
                vec!["forkscrew", "--chooser", "timed", "--schedules", "50"],
            ),
            (
                "forkscrew-B02",
                vec!["forkscrew", "--fix", "B02", "--schedules", "50"],
            ),
        ] {
            insta::assert_snapshot!(name, explore(&args).stdout);
        }
    });
}

#[test]
fn a_fix_is_judged_over_many_schedules_in_a_test() -> Result<(), shootdown::Error> {
    let forkscrew = Run::of("forkscrew")?.chooser("pct:3")?;
    let broken = Explore::new(forkscrew.clone()).schedules(40).run()?;
    assert!(!broken.is_clean(), "{broken}");
    let fixed = Explore::new(forkscrew.fix("B02")?).schedules(40).run()?;
    assert!(fixed.is_clean(), "{fixed}");
    Ok(())
}

/// One change of priorities after another: depth 1 never interrupts a CPU that can go on, and an
/// update is lost only by an interruption.
#[test]
fn pct_of_depth_1_loses_no_update_and_of_depth_2_does() -> Result<(), shootdown::Error> {
    let with = |depth| {
        Explore::new(Run::of("lost-update")?.chooser(depth)?)
            .schedules(300)
            .run()
    };
    assert!(with("pct:1")?.is_clean());
    let lost = with("pct:2")?;
    // Two CPUs, 32 steps: the paper promises one in 64.
    assert!(lost.failing >= 300 / 64, "{lost}");
    let first = lost.first_failure.as_ref().expect("an update is lost");
    assert_eq!(first.preemptions, 1);
    Ok(())
}

/// The first witness has the fewest preemptions, since the bound is raised from 0.
#[test]
fn a_search_says_what_it_searched_and_does_not_depend_on_the_workers() {
    let with = |chooser: &str, jobs| {
        let args = [
            "lost-update",
            "--chooser",
            chooser,
            "--json",
            "--jobs",
            jobs,
        ];
        let output = explore(&args);
        assert_eq!(output.code, Some(1), "{output:?}");
        output.json()
    };
    let bounded = with("exhaustive:2", "1");
    assert_eq!(with("exhaustive:2", "4"), bounded);
    assert_eq!(bounded["complete"], true);
    assert_eq!(bounded["bound"], 2);
    assert_eq!(bounded["evidence"], "bounded(2)");
    assert_eq!(bounded["words"], json!(["CHECK"]));
    assert_eq!(bounded["first_failure"]["preemptions"], 1);
    assert!(bounded.get("time_to_failure").is_none());
    let all = with("exhaustive", "2");
    assert_eq!(all["complete"], true);
    assert_eq!(all["bound"], Value::Null);
    assert_eq!(all["evidence"], "exhaustive");
}

#[test]
fn a_search_without_a_failure_is_clean() {
    let output = explore(&["lost-update", "--chooser", "exhaustive:0"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("bounded(0)"), "{output:?}");
}

#[test]
fn the_failure_a_search_finds_can_be_replayed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_, name) = file(&dir, "failing.replay");
    let args = [
        "lost-update",
        "--chooser",
        "exhaustive:1",
        "--json",
        "--save",
        &name,
    ];
    let it = explore(&args).json();
    assert_eq!(it["first_failure"]["replay"], *name);
    let again = shootdown("replay", &[&name, "--json"]);
    assert_eq!(again.code, Some(1), "{again:?}");
    let again: Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert_eq!(again["digest"], it["first_failure"]["digest"]);
    assert_eq!(again["chooser"], "exhaustive:1");
}

#[test]
fn a_killed_search_goes_on_where_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, name) = file(&dir, "checkpoint");
    let program = [
        "lost-update",
        "--chooser",
        "exhaustive",
        "--jobs",
        "2",
        "--json",
    ];
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("shootdown"))
        .arg("explore")
        .args(program)
        .args(["--checkpoint", &name])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("starts");
    // It writes the file at its start and each second, and may well be over before the first.
    for _ in 0..600 {
        if path.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::thread::sleep(std::time::Duration::from_millis(1200));
    child.kill().expect("it is ours");
    child.wait().expect("killed");
    let whole = explore(&program).json();
    let resumed = explore(&[&program[..], &["--checkpoint", &name]].concat()).json();
    assert_eq!(resumed, whole);
}
