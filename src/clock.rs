//! The host's clock, for budgets and progress. The machine never sees it.

use std::time::{Duration, Instant};

/// Measures from when it was started.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(
        clippy::disallowed_methods,
        reason = "how long an exploration may take is a matter of the host"
    )]
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    pub fn seconds(self) -> f64 {
        self.elapsed().as_secs_f64()
    }
}
