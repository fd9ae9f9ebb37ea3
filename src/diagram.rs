//! The diagram of a violation: a column for each CPU that takes part and one for the disk, time
//! downwards, in the kernel's function names, and only the steps that matter.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use emu::{ContextId, Object, Record, Role, Violation, Window};

use crate::diagram_row::{Row, truncated};
use crate::{Report, Session};

/// A story is told from here at most, in steps before the violation.
const LOOK_BACK: u64 = 2_000_000;
/// And so many steps beyond it.
const LOOK_AHEAD: u64 = 200;
/// The beginning of a call is looked for so many steps back.
const LONGEST_CALL: u64 = 1_000;
/// A story of more rows is told without those that only count or read.
const SHORT: usize = 20;
/// Rows shown; of more, the first and the last.
const ROWS: usize = 40;
/// Of too many rows, so many from the beginning.
const FIRST_ROWS: usize = 14;
/// A column's width goes up to this, in characters.
const WIDTH: usize = 36;

/// The steps that led to a violation, beside each other; empty when there is none to show.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Diagram {
    columns: Vec<String>,
    rows: Vec<Row>,
    /// Rows that a long story does without.
    dropped: usize,
}

/// What has a column.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Column {
    Cpu(u16),
    StoreBuffer(u16),
    Disk,
}

impl Column {
    fn of(record: &Record) -> Column {
        if let Some(cpu) = record.actor.buffer_of() {
            return Column::StoreBuffer(cpu.0);
        }
        match record.actor.role() {
            Role::Cpu(cpu) | Role::Irq(cpu) => Column::Cpu(cpu.0),
            Role::Device(_) => Column::Disk,
        }
    }
}

impl Diagram {
    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The diagram of the first violation that names objects, by running again.
    pub(crate) fn of(report: &Report) -> Option<Diagram> {
        let violation = report.violations.iter().find(|it| !it.focus.is_empty())?;
        let configuration = Arc::clone(&report.configuration);
        configuration.boot(|session| {
            let records = story(session, report.seed, violation);
            let names = names(session, report.seed, &records);
            Diagram::from_records(&records, &names, violation)
        })
    }

    fn from_records(
        records: &[Record],
        names: &[Option<String>],
        violation: &Violation,
    ) -> Option<Diagram> {
        if records.is_empty() {
            return None;
        }
        let columns: BTreeSet<Column> = records.iter().map(Column::of).collect();
        let place: BTreeMap<Column, usize> = columns
            .iter()
            .enumerate()
            .map(|(at, column)| (*column, at))
            .collect();
        let mut rows: Vec<Row> = Vec::new();
        for record in records {
            let at = place[&Column::of(record)];
            match rows.last_mut() {
                Some(row) if row.takes(at, record) => row.push(record),
                _ => rows.push(Row::new(at, record)),
            }
            if record.step == violation.step
                && let Some(row) = rows.last_mut()
            {
                row.mark(violation.word);
            }
        }
        let dropped = thin_out(&mut rows);
        let by_step: BTreeMap<u64, &str> = records
            .iter()
            .zip(names)
            .filter_map(|(record, name)| Some((record.step, name.as_deref()?)))
            .collect();
        let mut columns: Vec<(Column, Vec<&str>)> =
            columns.into_iter().map(|it| (it, Vec::new())).collect();
        for row in &rows {
            let who = &mut columns[row.column()].1;
            let name = by_step.get(&row.step());
            who.extend(name.filter(|name| !who.contains(name)));
        }
        // A column of several tasks says who acts, where that changes.
        let mut last: BTreeMap<usize, &str> = BTreeMap::new();
        for row in &mut rows {
            let several = columns[row.column()].1.len() > 1;
            if let Some(name) = by_step.get(&row.step())
                && last.insert(row.column(), name) != Some(name)
                && several
            {
                row.by(name);
            }
        }
        let header = |(column, who): &(Column, Vec<&str>)| match (column, who.as_slice()) {
            (Column::Disk, _) => "disk".to_string(),
            (Column::StoreBuffer(cpu), _) => format!("CPU {cpu}'s store buffer"),
            (Column::Cpu(cpu), []) => format!("CPU {cpu}"),
            (Column::Cpu(cpu), who) => format!("CPU {cpu} ({})", who.join(", ")),
        };
        let mut diagram = Diagram {
            columns: columns.iter().map(header).collect(),
            rows,
            dropped,
        };
        diagram.drop_empty_columns();
        Some(diagram)
    }

    fn drop_empty_columns(&mut self) {
        for column in (0..self.columns.len()).rev() {
            if self.rows.iter().all(|row| row.column() != column) {
                self.columns.remove(column);
                self.rows
                    .iter_mut()
                    .for_each(|row| row.column_removed(column));
            }
        }
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|it| it.chars().count()).collect();
        for row in &self.rows {
            let widest = row
                .lines()
                .iter()
                .map(|it| it.chars().count())
                .max()
                .unwrap_or(0);
            widths[row.column()] = widths[row.column()].max(widest);
        }
        widths.into_iter().map(|width| width.min(WIDTH)).collect()
    }
}

/// Takes from too long a story what it needs least: rows on counts, then rows that only read. The
/// first row stays, since a story begins there.
fn thin_out(rows: &mut Vec<Row>) -> usize {
    let before = rows.len();
    for least in 1..=2 {
        if rows.len() <= SHORT {
            break;
        }
        let mut first = true;
        rows.retain(|row| std::mem::take(&mut first) || row.weight() >= least);
    }
    before - rows.len()
}

/// The task that took each step, by its name then: a thread's number is used again when it is gone.
fn names(session: &mut Session<'_>, seed: u64, records: &[Record]) -> Vec<Option<String>> {
    session.begin(seed);
    let mut names = Vec::new();
    for record in records {
        session.go_to(record.step);
        names.push(match record.context {
            ContextId::Thread(thread) => {
                let tasks = session.kernel().tasks.borrow();
                let task = tasks.values().find(|task| task.thread == thread);
                task.map(|task| task.name.to_string())
            }
            _ => None,
        });
    }
    names
}

/// A story begins where the kernel function began in which its first side acted: what that looked
/// at before is a part of it.
fn first_step(session: &mut Session<'_>, seed: u64, violation: &Violation) -> u64 {
    let since = violation
        .since
        .max(violation.step.saturating_sub(LOOK_BACK))
        .max(1);
    let mut steps = Vec::new();
    let window = Window {
        from: since.saturating_sub(LONGEST_CALL).max(1),
        to: since,
    };
    let Ok(()) = session.each_record::<Infallible>(seed, window, |_, record| {
        steps.push((record.step, record.context, call_of(record)));
        Ok(())
    });
    let Some((_, context, call @ Some(_))) = steps.pop() else {
        return since;
    };
    let own = steps.iter().rev().filter(|it| it.1 == context);
    let of_call = own.take_while(|it| it.2 == call);
    of_call.last().map_or(since, |it| it.0)
}

/// The kernel function that a context came in by, if it is in one.
fn call_of(record: &Record) -> Option<&'static str> {
    record.spans.names().first().copied()
}

/// The steps that matter: those that touch what the violation is about.
fn story(session: &mut Session<'_>, seed: u64, violation: &Violation) -> Vec<Record> {
    let focus: BTreeSet<Object> = violation.focus.iter().copied().collect();
    let window = Window {
        from: first_step(session, seed, violation),
        to: violation.step.saturating_add(LOOK_AHEAD),
    };
    let mut records = Vec::new();
    let Ok(()) = session.each_record::<Infallible>(seed, window, |_, record| {
        let after = record.step > violation.step;
        if record.step == violation.step || (focus.contains(&record.object) && !after) {
            records.push(*record);
        }
        Ok(())
    });
    records
}

impl fmt::Display for Diagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return Ok(());
        }
        let widths = self.widths();
        let line = |f: &mut fmt::Formatter<'_>, step: &str, cells: &[&str]| {
            let mut text = format!("{step:>9}");
            for (cell, width) in cells.iter().zip(&widths) {
                text.push_str(&format!("  {:<width$}", truncated(cell, *width)));
            }
            writeln!(f, "{}", text.trim_end())
        };
        let headers: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        line(f, "step", &headers)?;
        let skipped = match self.rows.len() {
            many if many > ROWS => FIRST_ROWS..FIRST_ROWS + many - ROWS,
            _ => 0..0,
        };
        for (at, row) in self.rows.iter().enumerate() {
            if at == skipped.start && !skipped.is_empty() {
                writeln!(f, "{:>9}  ... {} rows left out ...", "", skipped.len())?;
            }
            if skipped.contains(&at) {
                continue;
            }
            let step = row.step().to_string();
            for (number, text) in row.lines().iter().enumerate() {
                let mut cells = vec![""; self.columns.len()];
                cells[row.column()] = text;
                line(f, if number == 0 { &step } else { "" }, &cells)?;
            }
        }
        if self.dropped > 0 {
            let rows = if self.dropped == 1 { "row" } else { "rows" };
            let what = format!("{rows} that only read or count left out");
            writeln!(f, "{:>9}  ({} {what})", "", self.dropped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::panic::Location;

    use emu::{Access, ActorId, CpuId, SpanStack, ThreadId};
    use mmu::{Pfn, PhysAddr, Pte, PteFlags};

    use super::*;

    fn record(
        step: u64,
        actor: ActorId,
        object: Object,
        access: Access,
        span: &'static str,
    ) -> Record {
        let context = match actor.role() {
            Role::Cpu(cpu) => ContextId::Thread(ThreadId(u32::from(cpu.0))),
            Role::Irq(cpu) => ContextId::Handler(cpu, 0),
            Role::Device(slot) => ContextId::Device(slot as u16),
        };
        let mut spans = SpanStack::default();
        if !span.is_empty() {
            spans.push(span);
        }
        Record {
            step,
            cycle: step * 10,
            actor,
            context,
            object,
            access,
            value: Pte::leaf(Pfn::new(7), PteFlags::R | PteFlags::W).raw(),
            spans,
            at: Location::caller(),
        }
    }

    fn violation(step: u64) -> Violation {
        Violation {
            oracle: "dma-target",
            word: "CORRUPT",
            message: String::new(),
            step,
            cycle: 0,
            focus: Vec::new(),
            since: 0,
        }
    }

    fn sector(frame: u64, sector: u64) -> Object {
        Object::sector(PhysAddr::new(frame * 4096 + sector * 512))
    }

    #[test]
    fn a_column_for_each_cpu_and_one_for_all_transfers() {
        let (one, two) = (ActorId::cpu(CpuId(0)), ActorId::cpu(CpuId(2)));
        let entry = Object::pte(PhysAddr::new(0x1f008));
        let records = [
            record(10, one, entry, Access::Read, "follow_page"),
            record(11, two, entry, Access::Read, "copy_one_pte"),
            record(12, two, entry, Access::Update, "copy_one_pte"),
            record(13, ActorId::device(0), sector(7, 0), Access::Write, ""),
            record(14, ActorId::device(1), sector(7, 1), Access::Write, ""),
        ];
        let names = ["worker-0", "forker", "forker", "", ""];
        let names = names.map(|name| (!name.is_empty()).then(|| name.to_string()));
        let diagram = Diagram::from_records(&records, &names, &violation(14)).expect("a story");
        let expected = "     step  CPU 0 (worker-0)                   CPU 2 (forker)                      disk
       10  follow_page
             entry 0x1f008 is frame 7 rw----
       11                                     copy_one_pte x2
                                                entry 0x1f008 is frame 7 rw----
                                                entry 0x1f008 was frame 7 rw----
       13                                                                         DMA x2
                                                                                    writes frame 7 sectors 0-1
                                                                                  *** CORRUPT
";
        assert_eq!(diagram.to_string(), expected);
    }

    #[test]
    fn a_long_story_keeps_its_beginning_and_its_end() {
        let cpu = |n: u64| ActorId::cpu(CpuId((n % 2) as u16));
        let mut records: Vec<Record> = (1..=100)
            .map(|n| record(n, cpu(n), sector(7, 0), Access::Read, "f"))
            .collect();
        let count = Object::page(Pfn::new(7));
        records.insert(50, record(50, cpu(0), count, Access::Update, "get_page"));
        let diagram = Diagram::from_records(&records, &vec![None; records.len()], &violation(100));
        let text = diagram.expect("a story").to_string();
        assert!(text.contains("... 60 rows left out ..."), "{text}");
        assert!(
            text.contains("\n        1  ") && text.contains("\n      100  "),
            "{text}"
        );
        assert!(!text.contains("\n       50  "), "{text}");
        assert!(text.contains("(1 row that only read or count"), "{text}");
        assert!(!text.contains("get_page"), "{text}");
    }
}
