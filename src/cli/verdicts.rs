//! `shootdown verdicts`: the matrix.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::progress::Rows;
use super::{print, print_json};
use crate::verdicts::{Verdicts, markdown, table};
use crate::{Error, Registry};

/// Runs the verdict matrix: what each configuration gives, beside what it must give
#[derive(Args)]
#[command(after_help = "\
Examples:
  shootdown verdicts                 every row
  shootdown verdicts A B --quick     the rows of two groups, with smaller bounds
  shootdown verdicts B40 FWD --json  a row with its sub-rows, and the rows of a race
  shootdown verdicts A45 --guards    that each mutation which guards a clean row turns it red
  shootdown verdicts --save rows     and store how each failing row fails, as replay files

Exit code: 0 every row as expected, 1 a row differs, 2 when the request was wrong.")]
pub(super) struct VerdictsArgs {
    /// Rows (A41, B40), groups (A, B, U) or races (FWD) [default: all]
    rows: Vec<String>,
    /// Smaller bounds: everything in under two minutes
    #[arg(long)]
    quick: bool,
    /// At most so many schedules a row
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    schedules: Option<u64>,
    /// For about so many seconds a row; what is explored then depends on the host
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    seconds: Option<f64>,
    /// Rows at a time, which changes no result [default: all cores]
    #[arg(long, value_name = "J", allow_negative_numbers = true)]
    jobs: Option<u64>,
    /// Save the failing schedules in this directory: a folder a reproducer, a replay file a row
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Not the rows, but each with each of its guards: mutations that must turn a clean row red
    #[arg(long)]
    guards: bool,
    /// As Markdown: the tables of docs/verdicts.md, or the lines of these rows
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// A JSON array on standard output, and nothing else there
    #[arg(long)]
    json: bool,
}

pub(super) fn verdicts(registry: &Registry, args: &VerdictsArgs) -> Result<ExitCode, Error> {
    if let Some(given) = args.jobs.filter(|it| !(1..=1024).contains(it)) {
        return Err(Error::Budget {
            what: "jobs",
            given: given.to_string(),
            right: "1 to 1024",
        });
    }
    let bar = Rows::new();
    let mut rows = Verdicts::select(registry, &args.rows)?;
    if args.guards {
        rows = rows.guards();
    }
    let rows = rows
        .quick(args.quick)
        .schedules(args.schedules)
        .seconds(args.seconds)
        .jobs(args.jobs)
        .save(args.save.clone())
        .run(&mut |done, all| bar.tick(done, all))?;
    drop(bar);
    if args.json {
        print_json(&rows)?;
    } else {
        let text = match args.markdown {
            true => markdown(&rows, args.rows.is_empty()),
            false => table(&rows),
        };
        print(&text)?;
        let differ = rows.iter().filter(|it| !it.ok).count();
        eprintln!("shootdown: {} rows, {differ} differ", rows.len());
    }
    let ok = rows.iter().all(|it| it.ok);
    Ok(ExitCode::from(if ok { 0 } else { 1 }))
}
