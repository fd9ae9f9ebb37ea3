//! `shootdown replay`: a saved run again, step for step, or up to a step of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use emu::{ContextId, CpuId};
use os::{Dump, Kernel};
use serde::Serialize;

use super::progress::Progress;
use super::{print, print_json, print_report};
use crate::output::write_trace;
use crate::{Error, Registry, Replay};

/// Runs a saved run again, step for step
#[derive(Args)]
#[command(after_help = "\
Examples:
  shootdown replay failing.replay
  shootdown replay failing.replay --back 3 --dump tables,pages
  shootdown replay failing.replay --at 1200 --dump tlb --json

Exit code: that of the run, or 2 when it is not the run that was saved.")]
pub(super) struct ReplayArgs {
    /// A file that `run --save` wrote
    file: PathBuf,
    /// Stop after this step and print the state
    #[arg(long, value_name = "STEP", conflicts_with = "back")]
    at: Option<u64>,
    /// Stop so many steps before the first violation and print the state
    #[arg(long, value_name = "N")]
    back: Option<u64>,
    /// What to print there: pages, tlb, tables, locks, queue
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_parser = parse_dump)]
    dump: Vec<(&'static str, Dump)>,
    /// Write every step as text
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// One JSON object on standard output, and nothing else there
    #[arg(long)]
    json: bool,
}

fn parse_dump(name: &str) -> Result<(&'static str, Dump), String> {
    let known = Dump::ALL.into_iter();
    known
        .clone()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| {
            let all: Vec<&str> = known.map(|(name, _)| name).collect();
            format!("it must be one or more of {}", all.join(","))
        })
}

pub(super) fn replay(registry: &Registry, args: &ReplayArgs) -> Result<ExitCode, Error> {
    let replay = Replay::read(&args.file, registry)?;
    if let Some(path) = &args.trace {
        replay.boot(|session| write_trace(session, replay.seed(), path))?;
    }
    let progress = Progress::new("replaying");
    let step = match (args.at, args.back) {
        (Some(step), _) => step,
        (None, Some(back)) => step_before_violation(&replay, back, &progress)?,
        (None, None) if !args.dump.is_empty() => replay.steps(),
        (None, None) => {
            let report = replay.run(&mut |steps| progress.tick(steps))?;
            drop(progress);
            return print_report(&report, args.json);
        }
    };
    let state = replay.at(step, |session| State::of(session.kernel(), &args.dump))?;
    drop(progress);
    if args.json {
        print_json(&state)?;
    } else {
        print(&state.text())?;
    }
    Ok(ExitCode::from(if state.violations.is_empty() {
        0
    } else {
        1
    }))
}

fn step_before_violation(replay: &Replay, back: u64, progress: &Progress) -> Result<u64, Error> {
    let report = replay.run(&mut |steps| progress.tick(steps))?;
    let Some(first) = report.violations.first() else {
        return Err(Error::NoSuchStep(
            "--back counts from the first violation, and this run has none; use --at".to_string(),
        ));
    };
    first
        .step
        .checked_sub(back)
        .filter(|step| *step > 0)
        .ok_or_else(|| {
            Error::NoSuchStep(format!(
                "--back {back}: the first violation is at step {}, so at most {} can be gone back",
                first.step,
                first.step.saturating_sub(1)
            ))
        })
}

/// The machine at a step.
#[derive(Serialize)]
struct State {
    step: u64,
    cycle: u64,
    digest: String,
    cpus: Vec<CpuState>,
    violations: Vec<String>,
    dump: BTreeMap<&'static str, Vec<String>>,
}

#[derive(Serialize)]
struct CpuState {
    cpu: u16,
    runs: Option<String>,
    functions: Vec<&'static str>,
}

impl State {
    fn of(kernel: &Kernel<'_>, dump: &[(&'static str, Dump)]) -> State {
        let machine = &kernel.machine;
        let cpu_state = |cpu: u16| {
            let thread = machine.running(CpuId(cpu)).map(ContextId::Thread);
            let context = thread.unwrap_or(ContextId::Idle(CpuId(cpu)));
            CpuState {
                cpu,
                runs: thread.map(|it| machine.name_of(it)),
                functions: machine.spans(context).names().to_vec(),
            }
        };
        State {
            step: machine.steps(),
            cycle: machine.now(),
            digest: machine.digest().to_string(),
            cpus: (0..machine.size().cpus).map(cpu_state).collect(),
            violations: machine
                .violations()
                .iter()
                .map(ToString::to_string)
                .collect(),
            dump: dump
                .iter()
                .map(|(name, what)| {
                    let lines = kernel.dump(*what).lines().map(str::to_string).collect();
                    (*name, lines)
                })
                .collect(),
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "step {}, cycle {}, digest {}\n",
            self.step, self.cycle, self.digest
        );
        for cpu in &self.cpus {
            let runs = cpu.runs.as_deref().unwrap_or("idle");
            let functions = match cpu.functions.join(" > ") {
                none if none.is_empty() => none,
                functions => format!(": {functions}"),
            };
            text.push_str(&format!("CPU {}: {runs}{functions}\n", cpu.cpu));
        }
        for violation in &self.violations {
            text.push_str(&format!("{violation}\n"));
        }
        for (name, lines) in &self.dump {
            text.push_str(&format!("\n{name}\n"));
            if lines.is_empty() {
                text.push_str("  nothing\n");
            }
            text.extend(lines.iter().map(|line| format!("  {line}\n")));
        }
        text
    }
}
