//! Merging: a state that was gone on from before is not gone on from again.
//!
//! What an actor does next is a function of what it has read since it began, and what it reads is
//! a function of who wrote it, knowing what. So the key of a state is, for each actor, a running
//! hash of the versions it read, and for each object its version: a hash of the version before
//! and of its writer's history. Equal keys mean equal states, whatever order independent steps
//! came in. It holds as far as steps declare what they touch, like the reduction.
//!
//! With every choice tried, nothing else prunes: merging and partial-order reduction would take
//! each other's ground away.

use super::lanes::{Lane, MOST_LANES};
use super::table::Table;
use crate::{Object, Touch};

/// The state at hand.
pub(crate) struct Merger {
    histories: [u64; MOST_LANES],
    /// Of the objects that something wrote; the others have version 0.
    versions: Table<u64, u64>,
    key: [u64; 2],
    /// What each step changed: its lane, the lane's history and the key before it, and how many
    /// versions are in `replaced` before those that it replaced.
    steps: Vec<(Lane, u64, [u64; 2], usize)>,
    replaced: Vec<(u64, u64)>,
}

impl Merger {
    pub fn new() -> Merger {
        Merger {
            histories: [0; MOST_LANES],
            versions: Table::default(),
            key: [0; 2],
            steps: Vec::new(),
            replaced: Vec::new(),
        }
    }

    /// Steps that it knows.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Forgets the steps from number `len` on.
    pub fn truncate(&mut self, len: usize) {
        while self.steps.len() > len {
            let (lane, history, key, replaced) = self.steps.pop().expect("there are more");
            self.histories[usize::from(lane)] = history;
            self.key = key;
            while self.replaced.len() > replaced {
                let (object, version) = self.replaced.pop().expect("there are more");
                self.versions.set(object, version);
            }
        }
    }

    /// A step was taken.
    pub fn step(&mut self, lane: Lane, touched: &[(Object, Touch)]) {
        let before = self.histories[usize::from(lane)];
        self.steps
            .push((lane, before, self.key, self.replaced.len()));
        let mut history = mix(before, 1);
        let objects = touched.iter().map(|(object, touch)| (object.raw(), *touch));
        for (object, touch) in objects.clone() {
            let known = match touch {
                Touch::Adjust => 0,
                _ => self.version(object),
            };
            history = mix(mix(history, object ^ (touch as u64) << 60), known);
        }
        self.change(u64::from(lane), before, history);
        self.histories[usize::from(lane)] = history;
        for (object, touch) in objects {
            if touch.writes() {
                let old = self.version(object);
                let new = match touch {
                    // Whatever the order, the same sum.
                    Touch::Adjust => old.wrapping_add(mix(history, object)),
                    _ => mix(mix(old, history), object),
                };
                self.replaced.push((object, old));
                self.versions.set(object, new);
                self.change(mix(object, 2), old, new);
            }
        }
    }

    fn version(&self, object: u64) -> u64 {
        self.versions.get(object).unwrap_or(0)
    }

    fn change(&mut self, what: u64, old: u64, new: u64) {
        for (half, salt) in self.key.iter_mut().zip([3, 5]) {
            let place = mix(what, salt);
            *half = half
                .wrapping_sub(mix(place, old))
                .wrapping_add(mix(place, new));
        }
    }

    /// The key of the state at hand, seen from whose turn it is.
    pub fn state(&self, last_cpu: Option<Lane>, violated: bool) -> u64 {
        let cpu = last_cpu.map_or(0, |it| u64::from(it) + 1);
        let turn = cpu << 1 | u64::from(violated);
        mix(self.key[0], mix(self.key[1], turn))
    }
}

pub(super) fn mix(one: u64, other: u64) -> u64 {
    let product = u128::from(one ^ 0x9e37_79b9_7f4a_7c15)
        .wrapping_mul(u128::from(other ^ 0xd1b5_4a32_d192_ed03) | 1 << 64);
    let folded = (product as u64) ^ ((product >> 64) as u64);
    (folded ^ folded >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn object(number: u64) -> Object {
        Object::new(Kind::Zone, number)
    }

    fn key(steps: &[(Lane, u64, Touch)]) -> [u64; 2] {
        let mut merger = Merger::new();
        for (lane, number, touch) in steps {
            merger.step(*lane, &[(object(*number), *touch)]);
        }
        merger.key
    }

    #[test]
    fn independent_steps_lead_to_one_state_in_either_order_and_dependent_ones_to_two() {
        use Touch::{Adjust, Read, Write};
        assert_eq!(
            key(&[(0, 1, Write), (2, 2, Write)]),
            key(&[(2, 2, Write), (0, 1, Write)])
        );
        assert_ne!(
            key(&[(0, 1, Write), (2, 1, Read)]),
            key(&[(2, 1, Read), (0, 1, Write)])
        );
        assert_eq!(
            key(&[(0, 1, Adjust), (2, 1, Adjust)]),
            key(&[(2, 1, Adjust), (0, 1, Adjust)])
        );
    }

    #[test]
    fn steps_that_are_forgotten_leave_nothing() {
        let mut merger = Merger::new();
        merger.step(0, &[(object(1), Touch::Write)]);
        let key = merger.state(None, false);
        merger.step(2, &[(object(1), Touch::Write), (object(2), Touch::Adjust)]);
        assert_ne!(merger.state(None, false), key);
        let further = merger.state(None, false);
        merger.truncate(1);
        assert_eq!(merger.state(None, false), key);
        merger.step(2, &[(object(1), Touch::Write), (object(2), Touch::Adjust)]);
        assert_eq!(merger.state(None, false), further);
    }
}
