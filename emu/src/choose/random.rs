//! `random(seed)`: ignores time, picks evenly among the enabled.

use rand_chacha::ChaCha8Rng;
use rand_core::RngCore;

use super::{Choice, Chooser};
use crate::{ActorId, rng};

/// An even choice, from a stream of its own.
pub struct RandomChooser {
    rng: ChaCha8Rng,
}

impl RandomChooser {
    /// A chooser for this seed.
    pub fn new(seed: u64) -> RandomChooser {
        RandomChooser {
            rng: rng::stream(seed, rng::Purpose::Choice),
        }
    }
}

impl Chooser for RandomChooser {
    fn choose(&mut self, choice: &Choice<'_>) -> Result<ActorId, String> {
        let among = choice.enabled.len() as u64;
        let at = (u64::from(self.rng.next_u32()) * among) >> 32;
        Ok(choice.enabled[at as usize].0)
    }

    fn reseed(&mut self, seed: u64) {
        self.rng = rng::stream(seed, rng::Purpose::Choice);
    }
}
