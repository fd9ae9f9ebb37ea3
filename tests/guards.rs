//! Guards of clean rows: a mutation takes one necessary step out of a row's fix, and the row's own
//! program must then show the words of the race on some schedule.

use std::collections::BTreeSet;

use shootdown::Registry;
use shootdown::verdicts::Verdicts;
use workloads::{CATALOGUE, Verdict};

fn rows() -> impl Iterator<Item = &'static Verdict> {
    CATALOGUE.iter().flat_map(|it| it.verdicts())
}

#[test]
fn every_guard_turns_its_row_red() {
    let rows = Verdicts::select(&Registry::standard(), &[]).expect("all there are");
    let judged = rows.guards().quick(true).run(&mut |_, _| {});
    let judged = judged.expect("the mutations build on what is there");
    let wrong: Vec<_> = judged.iter().filter(|it| !it.ok).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn guards_are_of_clean_rows_and_say_what_is_seen_with_them() {
    for row in rows().filter(|it| !it.guards.is_empty()) {
        assert!(row.words.is_empty(), "{} is not clean", row.row);
        for (mutation, words) in row.guards {
            assert!(!words.is_empty(), "{} with {mutation}", row.row);
        }
    }
}

#[test]
fn every_mutation_guards_a_row() {
    let guards: BTreeSet<&str> = rows()
        .flat_map(|row| row.guards.iter().map(|(mutation, _)| *mutation))
        .collect();
    for mutation in os::fixes::mutations::ALL {
        assert!(guards.contains(mutation.name()), "{}", mutation.name());
    }
    for name in guards {
        assert!(
            Registry::standard().patch(name).is_ok(),
            "{name} cannot be given"
        );
    }
}
