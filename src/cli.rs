//! The command line: one file a subcommand.
//!
//! Standard output carries what the guest printed, then the report, and nothing else; progress
//! and errors go to standard error. Exit code: 0 clean, 1 anything else that a run can give, 2
//! when the request or a file was wrong.

mod explore;
mod list;
mod progress;
mod replay;
mod run;
mod verdicts;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{Error, Registry, Report};

/// Shootdown: a deterministic SMP machine, to make memory-management races fail on demand.
#[derive(Parser)]
#[command(
    name = "shootdown",
    version,
    about,
    after_help = "\
Examples:
  shootdown run forkscrew              the 2008 direct-I/O bug, with the diagram of how it came
  shootdown run forkscrew --fix B02    the same on a kernel with a fix
  shootdown explore lost-update        many interleavings of a program
  shootdown list                       everything that has a name"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(list::List),
    Run(Box<run::RunArgs>),
    Explore(Box<explore::ExploreArgs>),
    Replay(replay::ReplayArgs),
    Verdicts(verdicts::VerdictsArgs),
}

/// The whole command line, over what is in `registry`.
pub fn cli(registry: Registry) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A pipe that was closed while help is printed is nobody's error.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let result = match cli.command {
        Command::List(args) => list::list(&registry, &args),
        Command::Run(args) => run::run(&registry, &args),
        Command::Explore(args) => explore::explore(&registry, &args),
        Command::Replay(args) => replay::replay(&registry, &args),
        Command::Verdicts(args) => verdicts::verdicts(&registry, &args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("shootdown: {error}");
        ExitCode::from(2)
    })
}

/// Prints to standard output. A reader that went away ends the program quietly.
fn print(text: &str) -> Result<(), Error> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::Usage(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Error> {
    let text = serde_json::to_string(value)
        .map_err(|error| Error::Usage(format!("standard output: {error}")))?;
    print(&format!("{text}\n"))
}

/// Colours are for people: a terminal, and nobody who asked for none.
fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty())
}

fn print_report(report: &Report, json: bool) -> Result<ExitCode, Error> {
    if json {
        print_json(&report.json())?;
    } else {
        print(&report.render(colour()))?;
    }
    Ok(ExitCode::from(if report.is_clean() { 0 } else { 1 }))
}
