//! Guards of clean rows: a mutation takes one necessary step out of a row's fix, and the row's own
//! program must then show the words of the race on some schedule.

use std::collections::BTreeSet;

use shootdown::{Explore, Registry, Run};
use workloads::{CATALOGUE, Reproducer, Verdict};

/// Schedules of each chooser; the rarest windows need some thousands.
const MOST: u64 = 20_000;
/// One after the other, until the words are seen.
const CHOOSERS: [&str; 3] = ["pct:3", "pct:4", "pct:6"];

/// What the row's program shows with the mutation, until it is what is wanted.
fn shown(
    it: &dyn Reproducer,
    row: &Verdict,
    mutation: &str,
    wanted: &[&'static str],
) -> Vec<String> {
    let mut run = Run::of(it.name()).expect("listed");
    if let Some(kernel) = row.kernel {
        run = run.kernel(kernel).expect("listed");
    }
    for fix in row.fixes.iter().chain([&mutation]) {
        run = run.fix(fix).expect("listed");
    }
    for (key, value) in row.set {
        run = run.set(key, &value.to_string()).expect("a parameter");
    }
    let mut shown = BTreeSet::new();
    for chooser in CHOOSERS {
        let run = run.clone().budgets(row.budgets).chooser(chooser);
        let explore = Explore::new(run.expect("listed")).schedules(MOST);
        let found = explore.until(wanted).run();
        shown.extend(found.expect("the mutation builds on what is there").words);
        if wanted.iter().all(|word| shown.contains(*word)) {
            break;
        }
    }
    shown.remove("CHECK");
    shown.into_iter().collect()
}

#[test]
fn every_guard_turns_its_row_red() {
    let mut wrong = Vec::new();
    for it in CATALOGUE {
        for row in it.verdicts() {
            for (mutation, words) in row.guards {
                assert!(row.words.is_empty(), "{} is not clean", row.row);
                let wanted: Vec<_> = words.iter().copied().filter(|it| *it != "CHECK").collect();
                let shown = shown(*it, row, mutation, &wanted);
                if shown != wanted {
                    wrong.push(format!("{} {} {mutation}: {shown:?}", it.name(), row.row));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_mutation_guards_a_row() {
    let guards: BTreeSet<&str> = CATALOGUE
        .iter()
        .flat_map(|it| it.verdicts())
        .flat_map(|row| row.guards.iter().map(|(mutation, _)| *mutation))
        .collect();
    let mutations: BTreeSet<&str> = os::fixes::mutations::ALL
        .iter()
        .map(|it| it.name())
        .collect();
    assert_eq!(guards, mutations);
    for name in mutations {
        assert!(
            Registry::standard().patch(name).is_ok(),
            "{name} cannot be given"
        );
    }
}
