//! Random streams: one for each purpose, so that a new consumer does not shift the others.

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

/// What a stream is for. Append only: the numbers are part of what a seed means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Purpose {
    /// Jitter of costs, and ties.
    Jitter = 1,
    /// The `random` chooser.
    Choice = 2,
    /// Which spinner sees a free lock first.
    Spinner = 3,
    /// The disk's access times.
    Disk = 4,
    /// How deep a halted CPU sleeps.
    Idle = 5,
    /// The `pct` chooser.
    Priority = 6,
}

/// The stream of `seed` for `purpose`.
pub fn stream(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(purpose as u64);
    rng
}
