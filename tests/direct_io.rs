//! Fixes that guard direct I/O: each row of the record whose race such a fix leaves open shows its
//! words in a sample without time, so each of these oracles is seen to fire; and the pair of each,
//! which closes the race, shows none in the same sample.

use shootdown::{Explore, Run};

/// Program, fixes, parameters, schedules, words.
type Row = (
    &'static str,
    &'static [&'static str],
    &'static [(&'static str, u64)],
    u64,
    &'static [&'static str],
);

fn words(row: &Row) -> Vec<String> {
    let (name, fixes, set, schedules, _) = *row;
    let mut run = Run::of(name).expect("listed");
    for fix in fixes {
        run = run.fix(fix).expect("a fix");
    }
    for (key, value) in set {
        run = run.set(key, &value.to_string()).expect("a parameter");
    }
    let run = run.chooser("pct:4").expect("listed");
    let found = Explore::new(run).schedules(schedules).run().expect("whole");
    found.words.into_iter().collect()
}

fn check(rows: &[Row]) {
    for row in rows {
        assert_eq!(words(row), row.4, "{row:?}");
    }
}

/// Rare: the window is a few steps.
const MANY: u64 = 10_000;
const FEW: u64 = 300;
const LOST: &[&str] = &["CHECK", "CORRUPT"];

#[test]
fn a_guard_taken_after_the_pin_comes_too_late_and_one_inside_it_does_not() {
    check(&[
        ("dio-fork", &["A20"], &[], MANY, LOST),
        ("dio-fork", &["A21"], &[], MANY, &[]),
        ("dio-fork", &["A23"], &[], MANY, LOST),
        ("dio-fork", &["A24"], &[], MANY, &[]),
    ]);
}

#[test]
fn requests_that_lock_pages_wait_for_themselves_and_for_each_other() {
    let twice: &[_] = &[("segments", 2), ("fork", 0)];
    check(&[
        ("dio-fork", &["A20"], twice, FEW, &["DEADLOCK"]),
        ("dio-crossed", &["A21"], &[], FEW, &["DEADLOCK", "INVERT"]),
        ("dio-batches", &["A25"], &[], MANY, &["DEADLOCK", "INVERT"]),
        ("dio-batches", &["A26"], &[], MANY, &[]),
        ("dio-fork", &["B08"], &[], FEW * 4, &["DEADLOCK"]),
        ("dio-fork", &["B08", "mmap-sem-once"], &[], MANY, &[]),
    ]);
}

#[test]
fn a_fork_lock_that_ends_with_the_call_misses_asynchronous_requests() {
    let asynchronous: &[_] = &[("pin", 1)];
    check(&[
        ("dio-fork", &["B31"], &[], MANY, &[]),
        ("dio-fork", &["B31"], asynchronous, MANY, LOST),
        ("dio-fork", &["B50"], asynchronous, MANY, &[]),
        ("dio-rev", &["B31"], &[], MANY, &["CORRUPT"]),
        ("dio-rev", &["B50"], &[], MANY, &[]),
    ]);
}

#[test]
fn registered_memory_is_guarded_only_by_who_owns_the_pins() {
    let registered: &[_] = &[("pin", 2)];
    check(&[
        ("dio-fork", &["B50"], registered, MANY, LOST),
        ("dio-rev", &["B50"], registered, MANY, &["CORRUPT"]),
        ("dio-fork", &["A24"], registered, MANY, LOST),
        ("dio-fork", &["B34"], registered, MANY, &[]),
    ]);
}

#[test]
fn a_range_without_an_owner_sends_its_own_fault_back_for_ever() {
    let early: &[_] = &[("early", 1), ("fork", 0)];
    check(&[
        ("dio-fork", &["A30"], early, FEW, &["LIVELOCK"]),
        ("dio-fork", &["A01"], early, FEW, &[]),
        ("dio-fork", &["A30"], &[("ends", 1)], MANY, &[]),
    ]);
}

#[test]
fn a_range_that_is_rounded_up_misses_a_fault_at_the_base_of_its_page() {
    let base: &[_] = &[("store", 0), ("ends", 1)];
    check(&[
        ("dio-fork", &["A32"], base, MANY, LOST),
        ("dio-fork", &["A32"], &[("ends", 1)], MANY, &[]),
        ("dio-fork", &["A30"], base, MANY, &[]),
    ]);
}

#[test]
fn a_range_gives_back_in_the_interrupt_what_may_be_the_last_reference() {
    let killed: &[_] = &[("killed", 1)];
    check(&[
        ("dio-exit", &["A30"], &[], FEW, &["ATOMIC"]),
        ("dio-exit", &["A01"], &[], FEW, &[]),
        ("dio-exit", &["A35"], killed, FEW, &["BUG"]),
        ("dio-exit", &["A30"], killed, FEW, &[]),
    ]);
}

#[test]
fn a_lock_around_fork_serves_until_a_signal_handler_forks() {
    check(&[
        ("fork-list", &["A01"], &[], FEW * 10, &["HANG"]),
        ("fork-list", &["A01"], &[("walk", 0)], MANY, &["CHECK"]),
        ("fork-list", &["A01"], &[("around", 1)], FEW * 10, &[]),
        (
            "fork-list",
            &["A01"],
            &[("around", 1), ("handler", 1)],
            FEW,
            &["HANG"],
        ),
    ]);
}
