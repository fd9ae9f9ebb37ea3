//! docs/verdicts.md has the rows of the catalogue, with what they must give.

use std::collections::BTreeMap;

use shootdown::workloads::CATALOGUE;

/// Row and program, with kernel and fixes, and words.
fn documented() -> BTreeMap<(String, String), (String, String)> {
    let text = include_str!("../docs/verdicts.md");
    let (_, tables) = text.split_once("<!-- rows -->").expect("the tables");
    let lines = tables.lines().filter(|line| line.starts_with("| "));
    let cells = lines.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let rows = cells.filter(|it| it[1] != "row" && it[5] != "-");
    let text = |cell: &str| cell.to_string();
    rows.map(|it| ((text(it[1]), text(it[5])), (text(it[6]), text(it[7]))))
        .collect()
}

#[test]
fn the_table_of_verdicts_has_the_rows_of_the_catalogue_and_no_other() {
    let mut documented = documented();
    for program in CATALOGUE {
        for row in program.verdicts().iter().filter(|it| !it.race.is_empty()) {
            let key = (row.row.to_string(), program.name().to_string());
            let Some((configuration, words)) = documented.remove(&key) else {
                panic!(
                    "{key:?} is missing: `shootdown verdicts {} --markdown`",
                    row.row
                );
            };
            let fixes = configuration.split_once(", ").map_or("", |it| it.1);
            assert_eq!(fixes, row.fixes.join(" "), "{key:?}");
            let must = match row.words {
                [] => "CLEAN".to_string(),
                words => words.join(" "),
            };
            assert_eq!(words, must, "{key:?}");
        }
    }
    assert!(
        documented.is_empty(),
        "no such rows: {:?}",
        documented.keys()
    );
}
