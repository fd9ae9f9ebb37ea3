//! `random(seed)`: ignores time, picks evenly among the enabled.

use super::{Choice, Chooser};
use crate::ActorId;
use crate::rng::{Choices, Purpose};

/// An even choice, from a stream of its own.
pub struct RandomChooser {
    rng: Choices,
}

impl RandomChooser {
    /// A chooser for this seed.
    pub fn new(seed: u64) -> RandomChooser {
        RandomChooser {
            rng: Choices::new(seed, Purpose::Choice),
        }
    }
}

impl Chooser for RandomChooser {
    fn choose(&mut self, choice: &Choice<'_>) -> Result<ActorId, String> {
        let at = self.rng.below(choice.enabled.len() as u64);
        Ok(choice.enabled[at as usize])
    }

    fn reseed(&mut self, seed: u64) {
        self.rng = Choices::new(seed, Purpose::Choice);
    }
}
