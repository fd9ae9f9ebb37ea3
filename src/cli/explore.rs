//! `shootdown explore`: many interleavings of a reproducer.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use emu::explore::Reduction;

use super::progress::Schedules;
use super::run::RunOptions;
use super::{colour, print, print_json};
use crate::{Error, Explore, Registry};

/// Explores many interleavings of a reproducer
#[derive(Args)]
#[command(after_help = "\
Examples:
  shootdown explore lost-update
  shootdown explore forkscrew --fix B02 --chooser pct:3 --schedules 100000
  shootdown explore dma-thread --chooser timed --seconds 60 --save failing.replay

Exit code: 0 nothing failed, 1 something failed, 2 when the request was wrong.")]
pub(super) struct ExploreArgs {
    /// The reproducer; see `shootdown list reproducers`
    name: String,
    #[command(flatten)]
    options: RunOptions,
    /// At most so many schedules [default: 10000 if they are sampled and --seconds is not given]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    schedules: Option<u64>,
    /// For about so many seconds; what is explored then depends on the host
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    seconds: Option<f64>,
    /// Worker threads, which do not change the result [default: all cores]
    #[arg(long, value_name = "J", allow_negative_numbers = true)]
    jobs: Option<u64>,
    /// How a search leaves out schedules that show nothing new; the result is the same
    /// [default: merge within a bound, dpor without]
    #[arg(long, value_enum, value_name = "R")]
    reduction: Option<Reduced>,
    /// Go on from this file if it exists, and keep it up to date
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Write the first run that fails as a replay file
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Write every step of the first run that fails as text
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// One JSON object on standard output, and nothing else there
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Reduced {
    /// Every choice is tried
    None,
    /// Partial-order reduction and sleep sets
    Dpor,
    /// States met before are not gone on from
    Merge,
}

pub(super) fn explore(registry: &Registry, args: &ExploreArgs) -> Result<ExitCode, Error> {
    let mut explore = Explore::new(args.options.apply(registry, &args.name)?);
    if let Some(reduction) = args.reduction {
        explore = explore.reduction(match reduction {
            Reduced::None => Reduction::None,
            Reduced::Dpor => Reduction::Dpor,
            Reduced::Merge => Reduction::Merge,
        });
    }
    if let Some(schedules) = args.schedules {
        explore = explore.schedules(schedules);
    }
    if let Some(seconds) = args.seconds {
        explore = explore.seconds(seconds);
    }
    if let Some(jobs) = args.jobs {
        explore = explore.jobs(jobs);
    }
    if let Some(path) = &args.checkpoint {
        explore = explore.checkpoint(path);
    }
    if let Some(path) = &args.save {
        explore = explore.save(path);
    }
    let bar = Schedules::new();
    let explored = explore.run_watched(&mut |progress| bar.tick(progress))?;
    drop(bar);
    match (&args.trace, &explored.first_failure) {
        (Some(path), Some(first)) => first.trace(path)?,
        (Some(path), None) => eprintln!("shootdown: nothing failed; no trace {}", path.display()),
        (None, _) => {}
    }
    if let (Some(path), None) = (&args.save, &explored.first_failure) {
        eprintln!(
            "shootdown: nothing failed; no replay file {}",
            path.display()
        );
    }
    if args.json {
        print_json(&explored.json())?;
    } else {
        print(&explored.render(colour()))?;
    }
    Ok(ExitCode::from(if explored.is_clean() { 0 } else { 1 }))
}
