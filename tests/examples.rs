//! A crate with items of its own gets the whole command line: the examples do what they say.

use std::path::PathBuf;
use std::process::Command;

/// Standard output and exit code of an example, which cargo has built beside this test.
fn example(name: &str, args: &[&str]) -> (Option<i32>, String) {
    let test = std::env::current_exe().expect("this program has a path");
    let dir: PathBuf = test
        .ancestors()
        .nth(2)
        .expect("target/PROFILE/deps/test")
        .join("examples");
    let output = Command::new(dir.join(name))
        .args(args)
        .output()
        .expect("built by cargo test");
    (
        output.status.code(),
        String::from_utf8(output.stdout).expect("text"),
    )
}

#[test]
fn a_fix_of_ones_own_is_listed_applied_and_works() {
    let (_, list) = example("own_fix", &["list", "fixes"]);
    assert!(list.contains("counted-pins"), "{list}");
    for seed in ["1", "2", "3"] {
        let (code, text) = example(
            "own_fix",
            &["run", "forkscrew", "--seed", seed, "--fix", "counted-pins"],
        );
        assert_eq!(code, Some(0), "{text}");
        let (code, text) = example("own_fix", &["run", "forkscrew", "--seed", seed]);
        assert_eq!(code, Some(1), "{text}");
    }
}

#[test]
fn a_reproducer_of_ones_own_runs_with_every_policy() {
    let (code, text) = example("own_reproducer", &["run", "read-only"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = example("own_reproducer", &["run", "read-only", "--flush", "never"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("violated (CHECK STALETLB)"), "{text}");
}
