//! The first failure of an exploration: cut down, replayed, with the nearest schedule that passes.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use emu::choose::ReplayChooser;
use emu::explore::{Contrast, Follow, Schedule};
use emu::replay_file::ReplayFile;
use emu::{ActorId, Choice, Chooser, CpuId, Digest, End, Role, Violation, Window};

use super::searching::{MOST_STEPS, cut_down};
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
    /// The run, cut down unless simulated time decided it or nobody asked for that.
    pub report: Report,
    /// The nearest schedule that passes, if one was found.
    pub contrast: Option<Deciding>,
    /// Where it was saved.
    pub replay: Option<PathBuf>,
    recorded: Arc<ReplayFile>,
}

/// The pair of steps whose order decides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deciding {
    /// What both touch.
    pub object: String,
    /// The step that comes first where it fails, and second where it passes.
    pub first: (u64, String),
    /// The other one.
    pub second: (u64, String),
    /// The schedule that passes.
    pub passing: Schedule,
}

impl FirstFailure {
    /// That of schedule `number` (from 0), by running it again with its seed.
    pub(super) fn of_seed(
        configuration: &Arc<Configuration>,
        number: u64,
        seed: u64,
        cut: bool,
    ) -> Result<FirstFailure, Error> {
        let (report, recorded) = Arc::clone(configuration).boot(|session| {
            session.kernel().machine.record_choices();
            let report = session.run(seed);
            let recorded = Recorded::of(session, &report);
            (report, Arc::new(recorded.file))
        });
        let small =
            emu::explore::Search::new(configuration.cpus, None, emu::explore::Reduction::None);
        let small = small.is_ok() && !configuration.chooser.keeps_time();
        if cut && small && !report.violations.is_empty() {
            let schedule = Schedule::of(recorded.actors());
            return FirstFailure::of_schedule(configuration, number + 1, seed, &schedule, cut);
        }
        Ok(FirstFailure {
            schedule: number + 1,
            seed,
            preemptions: replayed(configuration, &recorded)?,
            report,
            contrast: None,
            replay: None,
            recorded,
        })
    }

    /// That of schedule `number` (from 1), cut down if it is to be.
    pub(super) fn of_schedule(
        configuration: &Arc<Configuration>,
        number: u64,
        seed: u64,
        schedule: &Schedule,
        cut: bool,
    ) -> Result<FirstFailure, Error> {
        let (shrunk, contrast) = match cut {
            true => cut_down(configuration, schedule),
            false => (None, None),
        };
        let schedule = shrunk.as_ref().map_or(schedule, |it| &it.schedule);
        let follow = Follow::new(schedule.turns(), configuration.cpus, Rc::default());
        // What comes after the violation may never end.
        let mut limited = Configuration::clone(configuration);
        let twice = 2 * schedule.len() as u64;
        limited.max_steps = limited.max_steps.min(MOST_STEPS.max(twice));
        let (mut report, recorded) = Arc::new(limited.clone()).boot(|session| {
            session.kernel().machine.record_choices();
            session.begin_with(Some(Box::new(follow)), seed);
            let stop = session.go_on(&mut |_| {});
            let report = session.end(seed, stop);
            let recorded = Recorded::of(session, &report);
            (report, Arc::new(recorded.file))
        });
        // From here on the run is the recorded one, whoever looks at it.
        let all = replayed(&limited, &recorded)?;
        limited.saved = Some(Arc::clone(&recorded));
        report.configuration = Arc::new(limited);
        Ok(FirstFailure {
            schedule: number,
            seed,
            preemptions: shrunk.map_or(all, |it| it.preemptions),
            contrast: contrast.map(|it| Deciding::of(&report, it)),
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

impl Deciding {
    pub(super) fn of(failing: &Report, contrast: Contrast) -> Deciding {
        let mut object = contrast.object;
        let mut describe = |step| {
            let mut text = String::new();
            let window = Window {
                from: step,
                to: step,
            };
            let configuration = Arc::clone(&failing.configuration);
            configuration.boot(|session| {
                let Ok(()) = session.each_record::<std::convert::Infallible>(
                    failing.seed,
                    window,
                    |kernel, record| {
                        let who = kernel.machine.name_of(record.context);
                        let place = record.spans.innermost();
                        // A part of what is announced bears its name.
                        if object.is_some_and(|it| it.kind() == record.object.kind()) {
                            object = Some(record.object);
                        }
                        text = format!(
                            "{who} ({}) {}s {}{}",
                            record.actor,
                            record.access,
                            record.object,
                            place.map_or(String::new(), |it| format!(" in {it}"))
                        );
                        Ok(())
                    },
                );
            });
            (step, text)
        };
        let (first, second) = (describe(contrast.first), describe(contrast.second));
        Deciding {
            object: object.map_or("the CPU itself".to_string(), |it| it.to_string()),
            first,
            second,
            passing: contrast.schedule,
        }
    }
}

/// Replays a recorded run, which must come out the same; its preemptions.
fn replayed(configuration: &Configuration, recorded: &Arc<ReplayFile>) -> Result<u32, Error> {
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
            let could = |last| choice.enabled.contains(&ActorId::cpu(last));
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
