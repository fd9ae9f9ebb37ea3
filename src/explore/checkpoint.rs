//! How far an exploration came, as a file: a line that says what it is, a line of JSON, and a line
//! with a checksum. It is written beside and renamed, so what exists is whole.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::sampling::Tally;
use crate::configuration::SavedConfiguration;
use crate::output::write_whole;
use crate::{Configuration, Error};

const MAGIC: &str = "shootdown checkpoint ";
/// The version of the format.
const VERSION: &str = "1";

/// Writes `body`.
pub(super) fn write(path: &Path, body: &impl Serialize) -> Result<(), Error> {
    let body = serde_json::to_string(body)
        .map_err(|error| unusable(path, format!("it cannot be written: {error}")))?;
    write_whole(path, |to| {
        writeln!(to, "{MAGIC}{VERSION}\n{body}\n{:016x}", checksum(&body))
    })
}

/// Reads it again; `None` if there is no such file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file(path)(error)),
    };
    let text = String::from_utf8_lossy(&bytes);
    let refuse = |what: String| Err(unusable(path, format!("no usable checkpoint: {what}")));
    let Some(rest) = text.strip_prefix(MAGIC) else {
        return refuse(format!(
            "it does not begin with `{MAGIC}`, so it is something else"
        ));
    };
    let mut lines = rest.split('\n');
    let [version, body, sum, end] = [(); 4].map(|()| lines.next());
    if let Some(version) = version.filter(|it| *it != VERSION && body.is_some()) {
        return refuse(format!(
            "its format has version {version}, and this build reads version {VERSION}; \
             remove it to begin again"
        ));
    }
    let (Some(body), Some(sum), Some("")) = (body, sum, end) else {
        return refuse("it is cut short; remove it to begin again".to_string());
    };
    if sum != format!("{:016x}", checksum(body)) {
        return refuse("it was altered: its checksum does not fit".to_string());
    }
    match serde_json::from_str(body) {
        Ok(body) => Ok(Some(body)),
        Err(error) => refuse(format!(
            "it belongs to another kind of exploration: {error}"
        )),
    }
}

fn unusable(path: &Path, what: String) -> Error {
    Error::File {
        path: path.to_path_buf(),
        what,
    }
}

fn checksum(text: &str) -> u64 {
    text.bytes().fold(text.len() as u64, |sum, byte| {
        (sum ^ u64::from(byte))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(23)
    })
}

/// What an exploration must have in common with the one that wrote the file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Origin {
    configuration: SavedConfiguration,
    seed: u64,
    /// Of the run with that seed, in timed order: another build gives another one.
    digest: String,
}

impl Origin {
    pub fn of(configuration: &Arc<Configuration>, seed: u64) -> Origin {
        let digest = Arc::clone(configuration).boot(|session| {
            session.run_only(seed);
            session.kernel().machine.digest().to_string()
        });
        Origin {
            configuration: configuration.saved_form(),
            seed,
            digest,
        }
    }

    /// An error unless `before` is of the same exploration.
    pub fn check(&self, path: &Path, before: &Origin) -> Result<(), Error> {
        let refuse = |what| Err(unusable(path, format!("no usable checkpoint: {what}")));
        let (ours, theirs) = (&self.configuration, &before.configuration);
        if ours != theirs {
            let name = |it: &SavedConfiguration| serde_json::to_string(it).unwrap_or_default();
            return refuse(format!(
                "it is of another program: it has {}, and this is {}",
                name(theirs),
                name(ours)
            ));
        }
        if self.seed != before.seed {
            return refuse(format!(
                "it begins with seed {}, and this with seed {}",
                before.seed, self.seed
            ));
        }
        if self.digest != before.digest {
            return refuse(
                "another build wrote it: its first run is not this build's; remove it to begin \
                 again"
                    .to_string(),
            );
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sampled<T, O> {
    origin: O,
    tally: T,
}

/// The file of an exploration that samples.
pub(super) struct Checkpoint {
    path: PathBuf,
    origin: Origin,
}

impl Checkpoint {
    /// The file, and what it has: nothing yet if it does not exist.
    pub fn open(
        path: &Path,
        configuration: &Arc<Configuration>,
        seed: u64,
        end: u64,
    ) -> Result<(Checkpoint, Tally), Error> {
        let before: Option<Sampled<Tally, Origin>> = read(path)?;
        let checkpoint = Checkpoint {
            path: path.to_path_buf(),
            origin: Origin::of(configuration, seed),
        };
        let Some(before) = before else {
            // Better to be told now than after hours.
            checkpoint.keep(&Tally::default())?;
            return Ok((checkpoint, Tally::default()));
        };
        checkpoint.origin.check(path, &before.origin)?;
        if before.tally.schedules > end {
            let what = format!(
                "it has {} schedules already, and only {end} are asked for",
                before.tally.schedules
            );
            return Err(unusable(path, what));
        }
        Ok((checkpoint, before.tally))
    }

    /// Brings it up to date.
    pub fn keep(&self, tally: &Tally) -> Result<(), Error> {
        let body = Sampled {
            origin: &self.origin,
            tally,
        };
        write(&self.path, &body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_whole_file_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("it");
        assert!(read::<Vec<u64>>(&path).expect("not there").is_none());
        write(&path, &vec![1u64, 2, 3]).expect("written");
        assert_eq!(read::<Vec<u64>>(&path).expect("whole"), Some(vec![1, 2, 3]));
        let whole = std::fs::read(&path).expect("there");
        for at in 0..whole.len() {
            std::fs::write(&path, &whole[..at]).expect("cut");
            assert!(read::<Vec<u64>>(&path).is_err(), "cut at {at}");
            let mut altered = whole.clone();
            altered[at] ^= 1;
            std::fs::write(&path, altered).expect("altered");
            assert!(read::<Vec<u64>>(&path).is_err(), "altered at {at}");
        }
        write(&path, &"text").expect("written");
        let error = read::<Vec<u64>>(&path)
            .expect_err("another kind")
            .to_string();
        assert!(error.contains("another kind"), "{error}");
    }
}
