//! Guards of clean rows: a mutation takes one necessary step out of a row's fix, and the row's own
//! program must then show the words of the race on some schedule.

use std::collections::BTreeSet;

use shootdown::Registry;
use shootdown::verdicts::Verdicts;
use workloads::{CATALOGUE, Verdict};

/// Clean rows that nothing here turns red, and why.
const UNGUARDED: &[(&str, &str)] = &[
    (
        "A14.drained",
        "no reference is left that a test could take for a pin",
    ),
    ("A54.A49", "a measurement"),
    ("A54.before", "a measurement"),
    ("A54.copies", "a measurement"),
    ("A54.ratio", "a measurement"),
    ("B18.zero", "a measurement"),
    ("B23.lockless", "a measurement"),
    ("B52.peek", "a measurement"),
    ("B52.zero", "a measurement"),
    (
        "B37",
        "reclaim passes the entry's dirty bit on, whoever marks",
    ),
    ("B37.kept", "the same: it is B37 with its mutation"),
    (
        "B41",
        "a merged page is never written in place, so its bytes stay",
    ),
    ("B41.unchecked-write", "the same"),
    (
        "U22.reverse",
        "a write in flight is safe by U11's count and by U19's copy alike: rows U22 and v6.5 of `dio-rev` \
         tell them apart, where runs are short",
    ),
    ("poke", "no pin is held, and no page is writable"),
    ("A40.forced", "the same"),
];

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
fn every_clean_row_has_a_guard() {
    let clean = rows().filter(|row| row.words.is_empty() && !row.race.is_empty());
    let bare: Vec<_> = clean
        .filter(|row| row.guards.is_empty())
        .map(|row| row.row)
        .filter(|row| !UNGUARDED.iter().any(|it| it.0 == *row))
        .collect();
    assert!(bare.is_empty(), "no mutation turns these red: {bare:?}");
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
