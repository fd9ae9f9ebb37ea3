//! The first failure of an exploration: its report, its choices, its preemptions.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use emu::choose::ReplayChooser;
use emu::replay_file::ReplayFile;
use emu::{ActorId, Choice, Chooser, CpuId, Digest, End, Role, Violation};

use crate::replay::Recorded;
use crate::{Configuration, Error, Report};

/// A failing schedule.
#[derive(Clone)]
pub struct FirstFailure {
    /// Which one it was, from 1.
    pub schedule: u64,
    /// Its seed.
    pub seed: u64,
    /// How often a CPU went on although the one that went before it could have.
    pub preemptions: u32,
    /// The run.
    pub report: Report,
    /// Where it was saved.
    pub replay: Option<PathBuf>,
    recorded: Arc<ReplayFile>,
}

impl FirstFailure {
    /// That of schedule `number` (from 0), by running it again.
    pub(super) fn of_seed(
        configuration: &Arc<Configuration>,
        number: u64,
        seed: u64,
    ) -> Result<FirstFailure, Error> {
        let (report, recorded) = Arc::clone(configuration).boot(|session| {
            session.kernel().machine.record_choices();
            let report = session.run(seed);
            let recorded = Recorded::of(session, &report);
            (report, Arc::new(recorded.file))
        });
        Ok(FirstFailure {
            schedule: number + 1,
            seed,
            preemptions: preemptions(configuration, &recorded)?,
            report,
            replay: None,
            recorded,
        })
    }

    /// What an oracle found first; none if the run was given up.
    pub fn violation(&self) -> Option<&Violation> {
        self.report.violations.first()
    }

    /// Writes it as a replay file.
    pub fn save(&mut self, path: &Path) -> Result<(), Error> {
        crate::output::write_whole(path, |to| self.recorded.write_to(to))?;
        self.replay = Some(path.to_path_buf());
        Ok(())
    }

    /// Writes every step as a line of text.
    pub fn trace(&self, path: &Path) -> Result<(), Error> {
        let configuration = Arc::clone(&self.report.configuration);
        configuration.boot(|session| crate::output::write_trace(session, self.seed, path))
    }
}

/// Preemptions of a recorded run, by replaying it.
fn preemptions(configuration: &Configuration, recorded: &Arc<ReplayFile>) -> Result<u32, Error> {
    let count = Rc::new(Cell::new(0));
    let keeps_time = configuration.chooser.keeps_time();
    let counting = Counting {
        inner: ReplayChooser::new(recorded.segments.clone(), recorded.steps, keeps_time),
        last_cpu: None,
        count: Rc::clone(&count),
    };
    let configuration = Arc::new(configuration.clone());
    let report = configuration.boot(|session| {
        session.begin_with(Some(Box::new(counting)), recorded.seed);
        let stop = session.go_on(&mut |_| {});
        session.end(recorded.seed, stop)
    });
    report.whole()?;
    Ok(count.get())
}

/// Follows another chooser, and counts.
struct Counting {
    inner: ReplayChooser,
    last_cpu: Option<CpuId>,
    count: Rc<Cell<u32>>,
}

impl Chooser for Counting {
    fn choose(&mut self, choice: &Choice<'_>) -> Result<ActorId, String> {
        let chosen = self.inner.choose(choice)?;
        if let Role::Cpu(cpu) = chosen.role() {
            let left = self.last_cpu.replace(cpu).filter(|last| *last != cpu);
            let could = |last| choice.enabled.iter().any(|it| it.0 == ActorId::cpu(last));
            if left.is_some_and(could) {
                self.count.set(self.count.get() + 1);
            }
        }
        Ok(chosen)
    }

    fn reseed(&mut self, seed: u64) {
        self.inner.reseed(seed);
        self.last_cpu = None;
        self.count.set(0);
    }

    fn watches(&self) -> bool {
        self.inner.watches()
    }

    fn taken(&mut self, step: u64, actor: ActorId, digest: Digest) -> Result<(), String> {
        self.inner.taken(step, actor, digest)
    }

    fn ended(&mut self, end: &End<'_>) -> Result<(), String> {
        self.inner.ended(end)
    }

    fn keeps_time(&self) -> bool {
        self.inner.keeps_time()
    }
}
