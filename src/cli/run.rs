//! `shootdown run`: one run.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::print_report;
use super::progress::Progress;
use crate::output::write_trace;
use crate::replay::Recorded;
use crate::run::{MACHINE, MAX_STEPS};
use crate::{Error, Registry, Run};

/// Runs a reproducer once
#[derive(Args)]
#[command(after_help = "\
Examples:
  shootdown run forkscrew
  shootdown run dma-thread --fix A41 --set align=0 --cpus 8 --seed 7
  shootdown run forkscrew --kernel v2.6.29 --fix pg-gup --save failing.replay

Exit code: 0 clean, 1 anything else that a run can give, 2 when the request was wrong.")]
pub(super) struct RunArgs {
    /// The reproducer; see `shootdown list reproducers`
    name: String,
    #[command(flatten)]
    options: RunOptions,
    /// Write the run as a replay file
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Write every step as text
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// One JSON object on standard output, and nothing else there
    #[arg(long)]
    json: bool,
}

/// What to run on what.
#[derive(Args)]
pub(super) struct RunOptions {
    /// Base kernel [default: the row's, or the reproducer's own]
    #[arg(long, value_name = "K")]
    kernel: Option<String>,
    /// A patch, or a row that stands for a whole configuration; in order of application
    #[arg(long = "fix", value_name = "F")]
    fixes: Vec<String>,
    /// TLB-flush policy [default: the kernel's]
    #[arg(long, value_name = "P")]
    flush: Option<String>,
    /// Cost preset, or the path of a TOML file
    #[arg(long, value_name = "M", default_value = MACHINE)]
    machine: String,
    /// CPUs, 1 to 512 [default: the reproducer's own]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    cpus: Option<u64>,
    /// Seed
    #[arg(
        long,
        value_name = "S",
        default_value_t = 1,
        allow_negative_numbers = true
    )]
    seed: u64,
    /// Who goes next; see `shootdown list choosers` [default: timed for run, random for explore]
    #[arg(long, value_name = "C")]
    chooser: Option<String>,
    /// A parameter of the reproducer
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Give the run up after so many steps
    #[arg(long, value_name = "N", default_value_t = MAX_STEPS, allow_negative_numbers = true)]
    max_steps: u64,
}

impl RunOptions {
    pub fn apply(&self, registry: &Registry, name: &str) -> Result<Run, Error> {
        let mut run = Run::of_in(registry, name)?
            .machine(&self.machine)?
            .seed(self.seed)
            .max_steps(self.max_steps);
        if let Some(chooser) = &self.chooser {
            run = run.chooser(chooser)?;
        }
        if let Some(kernel) = &self.kernel {
            run = run.kernel(kernel)?;
        }
        for fix in &self.fixes {
            run = run.fix(fix)?;
        }
        if let Some(flush) = &self.flush {
            run = run.flush(flush)?;
        }
        if let Some(cpus) = self.cpus {
            run = run.cpus(cpus);
        }
        for setting in &self.set {
            let (key, value) = setting.split_once('=').ok_or_else(|| {
                Error::Usage(format!(
                    "--set {setting}: it must be KEY=VALUE, such as align=512"
                ))
            })?;
            run = run.set(key, value)?;
        }
        Ok(run)
    }
}

pub(super) fn run(registry: &Registry, args: &RunArgs) -> Result<ExitCode, Error> {
    let run = args.options.apply(registry, &args.name)?;
    let seed = args.options.seed;
    let report = run.session(|session| {
        if args.save.is_some() {
            session.kernel().machine.record_choices();
        }
        let progress = Progress::new("running");
        let report = session
            .run_watched(seed, &mut |steps| progress.tick(steps))
            .whole()?;
        if let Some(path) = &args.save {
            Recorded::of(session, &report).save(path)?;
            if report.is_clean() {
                eprintln!(
                    "shootdown: nothing failed; {} holds the clean run",
                    path.display()
                );
            }
        }
        if let Some(path) = &args.trace {
            write_trace(session, seed, path)?;
        }
        Ok::<_, Error>(report)
    })??;
    print_report(&report, args.json)
}
