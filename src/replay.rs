//! A saved run again, step for step.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use emu::Stop;
use emu::replay_file::ReplayFile;

use crate::configuration::SavedConfiguration;
use crate::{Configuration, Error, Registry, Report, Session};

/// A saved run, read and understood.
pub struct Replay {
    path: PathBuf,
    file: Arc<ReplayFile>,
    configuration: Arc<Configuration>,
}

impl Replay {
    /// Reads a replay file. Everything its configuration names must be in `registry`.
    pub fn read(path: &Path, registry: &Registry) -> Result<Replay, Error> {
        let unusable = |what: String| Error::File {
            path: path.to_path_buf(),
            what,
        };
        let source = std::fs::File::open(path).map_err(Error::file(path))?;
        let file = ReplayFile::read_from(&mut std::io::BufReader::new(source))
            .map_err(|error| unusable(format!("no usable replay file: {error}")))?;
        let saved: SavedConfiguration = serde_json::from_str(&file.config)
            .map_err(|error| unusable(format!("its configuration cannot be read: {error}")))?;
        let mut configuration = saved.resolve(registry).map_err(|error| {
            unusable(format!("its configuration cannot be built here: {error}"))
        })?;
        let file = Arc::new(file);
        configuration.saved = Some(Arc::clone(&file));
        // The file says where the run ends, by itself or by a bound.
        Ok(Replay {
            path: path.to_path_buf(),
            file,
            configuration: Arc::new(configuration),
        })
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.file.seed
    }

    /// Steps of the saved run.
    pub fn steps(&self) -> u64 {
        self.file.steps
    }

    /// Who went, step by step.
    #[cfg(test)]
    pub(crate) fn actors(&self) -> impl Iterator<Item = emu::ActorId> + '_ {
        self.file.actors()
    }

    /// The whole run. An error if it is not the one that was saved.
    pub fn run(&self, tick: &mut dyn FnMut(u64)) -> Result<Report, Error> {
        let report = self.boot(|session| session.run_watched(self.seed(), tick));
        if let Stop::Diverged(why) = report.stop {
            return Err(self.diverged(why));
        }
        if report.steps != self.file.steps {
            return Err(self.diverged(format!(
                "it ended after step {}, and the saved one after step {}",
                report.steps, self.file.steps
            )));
        }
        if report.digest.to_string() != self.file.digest.to_string() {
            return Err(self.diverged(format!(
                "its digest is {}, and the saved one's {}",
                report.digest, self.file.digest
            )));
        }
        Ok(report)
    }

    /// The same choices as far as they can be made, and then as a search begins: for a run whose
    /// code has changed since it was saved. Where simulated time chose, it chooses again.
    pub fn follow(&self) -> Report {
        let mut configuration = Configuration::clone(&self.configuration);
        configuration.saved = None;
        let cpus = configuration.cpus;
        let timed = configuration.chooser.keeps_time();
        Arc::new(configuration).boot(|session| {
            if timed {
                return session.run(self.seed());
            }
            let turns = self.file.segments.iter().map(|it| (it.actor, it.steps));
            let follow = emu::explore::Follow::new(turns, cpus, Default::default());
            session.begin_with(Some(Box::new(follow)), self.seed());
            let stop = session.go_on(&mut |_| {});
            session.end(self.seed(), stop)
        })
    }

    /// Goes to just after `step`, and looks.
    pub fn at<R>(
        &self,
        step: u64,
        look: impl for<'w> FnOnce(&Session<'w>) -> R,
    ) -> Result<R, Error> {
        if step == 0 || step > self.steps() {
            return Err(Error::NoSuchStep(format!(
                "there is no step {step}: the run of {} has steps 1 to {}",
                self.path.display(),
                self.steps()
            )));
        }
        self.boot(|session| {
            session.begin(self.seed());
            match session.go_to(step) {
                Some(Stop::Diverged(why)) => Err(self.diverged(why)),
                Some(stop) if session.kernel().machine.steps() < step => {
                    Err(self.diverged(format!("it ended before step {step}: {stop:?}")))
                }
                _ => Ok(look(session)),
            }
        })
    }

    pub(crate) fn boot<R>(&self, work: impl for<'w> FnOnce(&mut Session<'w>) -> R) -> R {
        Arc::clone(&self.configuration).boot(work)
    }

    fn diverged(&self, what: String) -> Error {
        Error::Diverged {
            path: self.path.clone(),
            what,
        }
    }
}

/// A run that is recorded as it goes, so that it can be saved.
pub(crate) struct Recorded {
    pub file: ReplayFile,
}

impl Recorded {
    /// Takes the choices out of a session that recorded them, once its run is over.
    pub fn of(session: &Session<'_>, report: &Report) -> Recorded {
        let config = serde_json::to_string(&report.configuration.saved_form());
        Recorded {
            file: ReplayFile {
                version: emu::replay_file::VERSION,
                config: config.expect("a configuration has no map keys but strings"),
                seed: report.seed,
                steps: report.steps,
                digest: report.digest,
                segments: session.kernel().machine.choices().unwrap_or_default(),
            },
        }
    }

    /// Writes it beside, then renames: a file that exists is whole.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        crate::output::write_whole(path, |to| self.file.write_to(to))
    }
}
