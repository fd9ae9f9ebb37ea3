//! Files that are either whole or not there.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use emu::Window;
use tempfile::Builder;

use crate::{Error, Session};

/// Writes beside `path`, then renames.
pub(crate) fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> std::io::Result<()>,
) -> Result<(), Error> {
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    let write_beside = || {
        let beside = builder().tempfile_in(dir)?;
        let mut to = BufWriter::new(beside.as_file());
        write(&mut to)?;
        to.flush()?;
        drop(to);
        beside.persist(path)?;
        Ok(())
    };
    write_beside().map_err(Error::file(path))
}

/// Temporary files are for their owner only; what is written here is for whoever may read it.
fn builder() -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

/// Writes every step of the run with this seed as a line of text.
pub(crate) fn write_trace(session: &mut Session<'_>, seed: u64, path: &Path) -> Result<(), Error> {
    write_whole(path, |to| {
        let [step, cycle, actor, context, access, object] =
            ["step", "cycle", "actor", "context", "access", "object"];
        writeln!(
            to,
            "{step:>8} {cycle:>12} {actor:<8} {context:<10} {access:<7} {object:<24} value functions"
        )?;
        let all = Window {
            from: 1,
            to: u64::MAX,
        };
        session.each_record(seed, all, |_, record| writeln!(to, "{record}"))
    })
}
