//! The command line as people and scripts meet it: what a wrong request is told, what the exit
//! code says, and the shape of the JSON.

use std::path::PathBuf;

use assert_cmd::Command;
use serde_json::Value;
use shootdown::emu::replay_file::ReplayFile;
use tempfile::TempDir;

fn shootdown(args: &[&str]) -> Output {
    let output = Command::cargo_bin("shootdown")
        .expect("built")
        .args(args)
        .output()
        .expect("runs");
    Output {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

#[derive(Debug)]
struct Output {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Output {
    fn json(&self) -> Value {
        assert_eq!(
            self.stdout.lines().count(),
            1,
            "one object and nothing else: {self:?}"
        );
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The request was wrong: nothing on standard output, and the message says each of `parts`.
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

/// A file in a directory that goes with the test.
fn file(dir: &TempDir, name: &str) -> (PathBuf, String) {
    let path = dir.path().join(name);
    let text = path.to_str().expect("a plain path").to_string();
    (path, text)
}

#[test]
fn an_unknown_name_is_answered_with_the_nearest() {
    for (args, parts) in [
        (
            vec!["run", "forkscrw"],
            ["reproducer `forkscrw`", "`forkscrew`"],
        ),
        (
            vec!["run", "forkscrew", "--kernel", "v2.6.19"],
            ["kernel `v2.6.19`", "`v2.6.18`"],
        ),
        (
            vec!["run", "forkscrew", "--fix", "pg-gpu"],
            ["`pg-gpu`", "`pg-gup`"],
        ),
        (
            vec!["run", "forkscrew", "--fix", "B022"],
            ["`B022`", "`B02`"],
        ),
        (
            vec!["run", "forkscrew", "--flush", "nevr"],
            ["flush policy `nevr`", "`never`"],
        ),
        (
            vec!["run", "forkscrew", "--machine", "harpertwn"],
            ["machine `harpertwn`", "`harpertown`"],
        ),
        (
            vec!["run", "forkscrew", "--chooser", "randm"],
            ["chooser `randm`", "`random`"],
        ),
        (
            vec!["run", "dma-thread", "--set", "algin=0"],
            ["parameter `algin`", "`align`"],
        ),
        (vec!["list", "fixs"], ["fixs", "fixes"]),
        (vec!["replya", "forkscrew"], ["replya", "'replay'"]),
    ] {
        shootdown(&args).refused(&parts);
    }
}

#[test]
fn a_number_out_of_range_is_told_its_range() {
    for (args, parts) in [
        (
            vec!["run", "forkscrew", "--cpus", "0"],
            ["0 CPUs", "1 to 512"],
        ),
        (
            vec!["run", "forkscrew", "--cpus", "513"],
            ["513 CPUs", "1 to 512"],
        ),
        (vec!["run", "forkscrew", "--cpus", "-1"], ["--cpus", "-1"]),
        (
            vec!["run", "forkscrew", "--seed", "18446744073709551616"],
            ["--seed", "too large"],
        ),
        (
            vec!["run", "forkscrew", "--set", "dontfork=2"],
            ["dontfork=2", "0 to 1"],
        ),
        (
            vec!["run", "forkscrew", "--set", "dontfork=yes"],
            ["`yes`", "0 to 1"],
        ),
        (
            vec!["run", "forkscrew", "--set", "dontfork"],
            ["--set dontfork", "KEY=VALUE"],
        ),
        (
            vec!["run", "dma-thread", "--set", "align=100"],
            ["align=100", "multiples of 512"],
        ),
        (vec!["run", "forkscrew", "--set"], ["--set", "KEY=VALUE"]),
    ] {
        shootdown(&args).refused(&parts);
    }
}

#[test]
fn fixes_that_cannot_be_applied_together_say_what_would_be_right() {
    for (args, parts) in [
        (
            vec!["run", "forkscrew", "--fix", "pg-gup-recheck"],
            [
                "`pg-gup-recheck` builds on `pg-gup-fast`",
                "name `pg-gup-fast` first",
            ],
        ),
        (
            vec![
                "run",
                "forkscrew",
                "--fix",
                "pg-gup",
                "--fix",
                "pg-gup-fast",
            ],
            [
                "`pg-gup-fast` builds on `fast-gup`",
                "kernel v2.6.29 has it",
            ],
        ),
        (
            vec!["run", "forkscrew", "--fix", "A41", "--fix", "B02"],
            [
                "A41 and B02 disagree on the kernel",
                "name the kernel yourself",
            ],
        ),
        (
            vec!["run", "lost-update", "--fix", "B10"],
            ["B10 sets dontfork=1", "lost-update has no such parameter"],
        ),
    ] {
        shootdown(&args).refused(&parts);
    }
}

#[test]
fn fixes_without_what_they_build_on_or_that_exclude_each_other_are_named_with_what_would_be_right()
{
    let needs = [
        "`fork-restore-present` builds on `fork-copy-unlocked`",
        "name `fork-copy-unlocked` first",
    ];
    let only_a51: &[_] = &["pg-gup", "fork-restore-present"];
    let wrong_order: &[_] = &["pg-gup", "fork-restore-present", "fork-copy-unlocked"];
    for (kernel, fixes, parts) in [
        ("v2.6.18", only_a51, needs),
        ("v2.6.18", wrong_order, needs),
        (
            "v2.6.18",
            &["A41", "A10"],
            [
                "`pg-gup` and `fork-copy-if-foreign` exclude each other",
                "leave one of them out",
            ],
        ),
        (
            "v2.6.18",
            &["A26", "A20"],
            [
                "`page-sem` and `page-lock-over-io` exclude each other",
                "what direct I/O holds against copy-on-write",
            ],
        ),
        (
            "v5.11",
            &["pg-gup"],
            [
                "`fork-copy-dma-pinned` and `pg-gup` exclude each other",
                "kernel v5.11 has the first",
            ],
        ),
    ] {
        for command in ["run", "explore"] {
            let mut args = vec![command, "dio-fork", "--kernel", kernel];
            args.extend(fixes.iter().flat_map(|it| ["--fix", it]));
            shootdown(&args).refused(&parts);
        }
    }
}

#[test]
fn a_saved_run_whose_fixes_exclude_each_other_is_refused() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("it.replay");
    let name = path.to_str().expect("a name");
    shootdown(&["run", "forkscrew", "--fix", "A41", "--save", name]);
    let mut bytes = std::fs::File::open(&path).expect("saved");
    let mut file = ReplayFile::read_from(&mut bytes).expect("whole");
    file.config = file
        .config
        .replace("\"pg-gup\"", "\"pg-gup\",\"fork-copy-if-foreign\"");
    let mut bytes = Vec::new();
    file.write_to(&mut bytes).expect("written");
    std::fs::write(&path, bytes).expect("written");
    shootdown(&["replay", name]).refused(&["exclude each other", "fork-copy-if-foreign"]);
}

#[test]
fn a_row_stands_for_its_whole_configuration_and_the_user_has_the_last_word() {
    let row = shootdown(&["run", "forkscrew", "--fix", "B02", "--json"]).json();
    assert_eq!(row["kernel"], "v2.6.29");
    assert_eq!(row["fixes"], serde_json::json!(["B02"]));
    assert_eq!(
        row["patches"],
        serde_json::json!(["pg-gup", "pg-gup-fast", "pg-gup-recheck"])
    );
    let twice = [
        "run",
        "forkscrew",
        "--fix",
        "A41",
        "--fix",
        "pg-gup",
        "--json",
    ];
    assert_eq!(
        shootdown(&twice).json()["patches"],
        serde_json::json!(["pg-gup"])
    );
    let other = [
        "run",
        "forkscrew",
        "--fix",
        "A41",
        "--kernel",
        "v2.6.29",
        "--json",
    ];
    assert_eq!(shootdown(&other).json()["kernel"], "v2.6.29");
    let set = shootdown(&["run", "forkscrew", "--fix", "B10", "--json"]).json();
    assert_eq!(set["set"]["dontfork"], 1);
    let reset = [
        "run",
        "forkscrew",
        "--fix",
        "B10",
        "--set",
        "dontfork=0",
        "--json",
    ];
    assert_eq!(shootdown(&reset).json()["set"]["dontfork"], 0);
}

#[test]
fn the_exit_code_tells_clean_from_everything_else() {
    assert_eq!(
        shootdown(&["run", "forkscrew", "--fix", "B02"]).code,
        Some(0)
    );
    assert_eq!(shootdown(&["run", "forkscrew"]).code, Some(1));
    let given_up = shootdown(&["run", "forkscrew", "--max-steps", "50", "--json"]);
    assert_eq!(given_up.code, Some(1));
    assert_eq!(given_up.json()["verdict"], "steps-exhausted");
    assert_eq!(given_up.json()["steps"], 50);
    assert_eq!(shootdown(&["--help"]).code, Some(0));
    assert_eq!(shootdown(&["--version"]).code, Some(0));
    assert_eq!(shootdown(&[]).code, Some(2));
}

#[test]
fn the_json_of_a_run_has_what_is_promised() {
    let json = shootdown(&["run", "forkscrew", "--json", "--seed", "3"]).json();
    for key in [
        "reproducer",
        "kernel",
        "fixes",
        "flush",
        "machine",
        "cpus",
        "seed",
        "chooser",
        "verdict",
        "words",
        "violations",
        "stdout",
        "exit",
        "steps",
        "cycles",
        "digest",
        "counters",
    ] {
        assert!(json.get(key).is_some(), "no {key} in {json}");
    }
    assert_eq!(json["verdict"], "violated");
    assert_eq!(json["words"], serde_json::json!(["CHECK", "CORRUPT"]));
    assert_eq!(
        (&json["seed"], &json["exit"]),
        (&Value::from(3), &Value::from(1))
    );
    let digest = json["digest"].as_str().expect("text");
    assert!(
        digest.len() == 32 && digest.bytes().all(|it| it.is_ascii_hexdigit()),
        "{digest}"
    );
    assert!(json["counters"]["forks"].as_u64() >= Some(1), "{json}");
    for violation in json["violations"].as_array().expect("a list") {
        for key in ["oracle", "word", "message", "step", "cycle"] {
            assert!(violation.get(key).is_some(), "no {key} in {violation}");
        }
    }
}

#[test]
fn the_guest_speaks_first_then_the_verdict_then_the_diagram() {
    let text = shootdown(&["run", "forkscrew"]).stdout;
    let at = |part: &str| {
        text.find(part)
            .unwrap_or_else(|| panic!("no {part:?} in {text}"))
    };
    let parts = [
        "worker 0 failed check",
        "forkscrew on v2.6.18: violated (CHECK CORRUPT)",
        "CORRUPT (dma-target) at step",
        "     step  CPU ",
        "copy_one_pte",
        "*** CORRUPT",
    ];
    assert!(parts.map(at).is_sorted(), "{text}");
    assert!(!text.contains('\x1b'), "colours are for terminals: {text}");
}

#[test]
fn one_seed_is_one_run_in_every_process() {
    let digest = |args: &[&str]| shootdown(args).json()["digest"].clone();
    for chooser in ["timed", "random"] {
        let args = |seed| {
            [
                "run",
                "dma-thread",
                "--chooser",
                chooser,
                "--seed",
                seed,
                "--json",
            ]
        };
        assert_eq!(digest(&args("5")), digest(&args("5")), "{chooser}");
        assert_ne!(digest(&args("5")), digest(&args("6")), "{chooser}");
    }
}

#[test]
fn every_subcommand_has_an_example_in_its_help() {
    for command in ["list", "run", "replay"] {
        let help = shootdown(&[command, "--help"]);
        assert_eq!(help.code, Some(0));
        assert!(
            help.stdout.contains(&format!("  shootdown {command}")),
            "{help:?}"
        );
    }
}

#[test]
fn list_names_what_run_accepts() {
    let all = shootdown(&["list", "--json"]).json();
    for (kind, name) in [
        ("reproducers", "forkscrew"),
        ("kernels", "v2.6.29"),
        ("fixes", "pg-gup"),
        ("mutations", "no-recheck"),
        ("rows", "B02"),
        ("flush", "never"),
        ("machines", "skylake-2s"),
        ("choosers", "random"),
    ] {
        let names: Vec<&Value> = all[kind]
            .as_array()
            .expect("a list")
            .iter()
            .map(|it| &it["name"])
            .collect();
        assert!(names.contains(&&Value::from(name)), "{kind}: {names:?}");
    }
    let one = shootdown(&["list", "fixes"]);
    assert!(
        one.stdout.contains("pg-gup") && !one.stdout.contains("forkscrew"),
        "{one:?}"
    );
}

#[test]
fn a_preset_of_ones_own_is_used_or_its_fault_is_named() {
    let dir = TempDir::new().expect("a directory");
    let (path, name) = file(&dir, "mine.toml");
    let text = include_str!("../emu/presets/harpertown.toml").replace("\"harpertown\"", "\"mine\"");
    std::fs::write(&path, &text).expect("written");
    let run = shootdown(&["run", "forkscrew", "--machine", &name, "--json"]);
    assert_eq!(run.json()["machine"], "mine");
    std::fs::write(&path, text.replace("invlpg = 150\n", "")).expect("written");
    shootdown(&["run", "forkscrew", "--machine", &name]).refused(&[
        "mine.toml",
        "missing field",
        "invlpg",
    ]);
    std::fs::write(&path, text.replace("tick_hz = 1000", "tick_hz = 0")).expect("written");
    shootdown(&["run", "forkscrew", "--machine", &name]).refused(&["tick_hz = 0", "1 to 10000"]);
    shootdown(&["run", "forkscrew", "--machine", "/nowhere/at.toml"])
        .refused(&["/nowhere/at.toml"]);
}
