//! What can be wrong with a request or a file. Each message says what, where, and what would be
//! right.

use std::path::PathBuf;

use os::patch::Decision;

/// A request that cannot be served. The command line answers it with exit code 2.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that is in no list.
    #[error("there is no {kind} `{name}`{hint}")]
    Unknown {
        /// What was looked for.
        kind: &'static str,
        /// The name.
        name: String,
        /// The nearest names.
        hint: String,
    },
    /// A machine nobody could build.
    #[error("{given} CPUs; a machine has 1 to 512")]
    Cpus {
        /// What was asked for.
        given: u64,
    },
    /// What follows a chooser's name.
    #[error("chooser `{given}`: {what}")]
    ChooserArgument {
        /// The chooser as it was given.
        given: String,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// A search was asked for a single run.
    #[error(
        "chooser `{given}` searches many interleavings, and makes no single run; use `explore`"
    )]
    SearchIsNoRun {
        /// The chooser.
        given: String,
    },
    /// A budget that allows nothing, or nothing sensible.
    #[error("{given} {what}: it must be {right}")]
    Budget {
        /// What it limits.
        what: &'static str,
        /// What was given.
        given: String,
        /// What would be right.
        right: &'static str,
    },
    /// Two patches that cannot both be heard.
    #[error(
        "fixes `{earlier}` and `{later}` exclude each other: each alone decides {decision}; {right}"
    )]
    Excludes {
        /// The patch that is applied first.
        earlier: &'static str,
        /// The other one.
        later: &'static str,
        /// What both decide.
        decision: Decision,
        /// What would be right.
        right: String,
    },
    /// A patch without what it builds on.
    #[error("fix `{fix}` builds on `{needs}`, which is not applied before it; {right}")]
    BuildsOn {
        /// The patch.
        fix: &'static str,
        /// What is missing.
        needs: &'static str,
        /// What would be right.
        right: String,
    },
    /// Two rows that cannot both hold.
    #[error("rows {first} and {second} disagree on {what}; {right}")]
    RowsDisagree {
        /// The row given first.
        first: &'static str,
        /// The row given later.
        second: &'static str,
        /// On what, with both values.
        what: String,
        /// What would settle it.
        right: String,
    },
    /// A row whose parameter the reproducer lacks.
    #[error("row {row} sets {parameter}={value}, and {reproducer} has no such parameter{right}")]
    RowParameter {
        /// The row.
        row: &'static str,
        /// The parameter.
        parameter: &'static str,
        /// Its value.
        value: u64,
        /// The reproducer.
        reproducer: &'static str,
        /// What could be done.
        right: String,
    },
    /// A parameter of the reproducer.
    #[error(transparent)]
    Parameter(#[from] workloads::ParamError),
    /// Parameters that are each possible, and not together.
    #[error("{reproducer}: {message}")]
    Parameters {
        /// The reproducer.
        reproducer: &'static str,
        /// What would be right.
        message: String,
    },
    /// A machine preset.
    #[error(transparent)]
    Costs(#[from] emu::CostError),
    /// A file that cannot be read or written.
    #[error("{}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A chooser gave up.
    #[error("the chooser cannot go on: {0}")]
    Chooser(String),
    /// A replay that is not the run that was saved.
    #[error("{}: this is not the run that was saved: {what}", path.display())]
    Diverged {
        /// The replay file.
        path: PathBuf,
        /// Where, and what was expected there.
        what: String,
    },
    /// A step outside the run.
    #[error("{0}")]
    NoSuchStep(String),
    /// An argument of the command line.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// For use with `map_err` on a path.
    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_path_buf();
        move |error| Error::File {
            path,
            what: error.to_string(),
        }
    }
}
