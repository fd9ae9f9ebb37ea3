//! The matrix as a table of text, and as the tables of docs/verdicts.md.

use workloads::record::{RECORD, Recorded, base};

use super::Judged;

const CLEAN: &str = "CLEAN";

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match words[..] {
        [] => CLEAN.to_string(),
        _ => words.join(" "),
    }
}

impl Judged {
    fn patches(&self) -> String {
        let patches: Vec<&str> = self.fixes.iter().copied().chain(self.guard).collect();
        match patches[..] {
            [] => "-".to_string(),
            _ => patches.join(" "),
        }
    }

    fn must_give(&self) -> String {
        words(self.expected.iter().copied())
    }

    fn gave(&self) -> String {
        words(self.got.iter().map(String::as_str))
    }
}

/// As text, a line a row.
pub fn table(rows: &[Judged]) -> String {
    let cells = |it: &Judged| {
        [
            if it.ok { "ok" } else { "DIFFERS" }.to_string(),
            it.row.to_string(),
            it.race.to_string(),
            it.reproducer.to_string(),
            it.kernel.clone(),
            it.patches(),
            it.must_give(),
            it.gave(),
            it.evidence.clone(),
            it.note.to_string(),
        ]
    };
    let head = [
        "",
        "row",
        "race",
        "program",
        "kernel",
        "fixes",
        "must give",
        "gave",
        "rests on",
        "note",
    ];
    let head = head.map(ToString::to_string);
    let lines: Vec<[String; 10]> = std::iter::once(head)
        .chain(rows.iter().map(cells))
        .collect();
    let width = |column: usize| lines.iter().map(|it| it[column].chars().count()).max();
    let widths: Vec<usize> = (0..9).map(|it| width(it).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in &lines {
        let mut it = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            it.push_str(&format!("{cell:<width$}  "));
        }
        it.push_str(&line[9]);
        text.push_str(it.trim_end());
        text.push('\n');
    }
    text
}

/// As Markdown. The whole matrix is a table a group of the record: the rows in its order, what they
/// are and where that is said, what was run and what it gave; rows that nothing reproduces; then
/// what is of no group. A part of it is the lines of its rows.
pub fn markdown(rows: &[Judged], whole: bool) -> String {
    let is_of = |row: &Judged, it: &Recorded| base(row.row) == it.row;
    let mut text = String::new();
    let mut group = "";
    for recorded in RECORD {
        let name = &recorded.row[..1];
        if whole && name != group {
            let end = if group.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{end}## Group {name}\n\n{HEAD}"));
            group = name;
        }
        let mut first = Some(recorded);
        for row in rows.iter().filter(|it| is_of(it, recorded)) {
            text.push_str(&line(row, first.take()));
        }
        if whole && first.is_some() {
            text.push_str(&missing(recorded));
        }
    }
    if whole {
        text.push_str(&format!("\n## Controls, and kernels by name\n\n{HEAD}"));
    }
    let others = rows
        .iter()
        .filter(|row| !RECORD.iter().any(|it| is_of(row, it)));
    text.extend(others.map(|row| line(row, None)));
    text
}

const HEAD: &str = "\
| row | race | what it is | source | program | kernel, fixes | must give | gave | rests on | note |
|---|---|---|---|---|---|---|---|---|---|
";

fn line(row: &Judged, recorded: Option<&Recorded>) -> String {
    let (what, source) = recorded.map_or(("", ""), |it| (it.what, it.source));
    let kernel = match row.patches().as_str() {
        "-" => row.kernel.clone(),
        patches => format!("{}, {patches}", row.kernel),
    };
    let gave = match row.ok {
        true => row.gave(),
        false => format!("**{}**", row.gave()),
    };
    cells(&[
        row.row,
        row.race,
        what,
        source,
        row.reproducer,
        &kernel,
        &row.must_give(),
        &gave,
        &row.evidence,
        row.note,
    ])
}

/// A row of the record that nothing here reproduces yet.
fn missing(it: &Recorded) -> String {
    cells(&[
        it.row,
        it.race,
        it.what,
        it.source,
        "-",
        "-",
        it.gives,
        "not reproduced",
        "-",
        "no reproducer yet",
    ])
}

fn cells(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|it| it.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}
