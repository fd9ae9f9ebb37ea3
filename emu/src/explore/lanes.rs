//! Lanes: actors as small numbers, so that sets of them are words.

use crate::{Access, ActorId, Object, Role};

/// An actor of a small machine, as a bit position.
pub(crate) type Lane = u8;

/// A set of lanes.
pub(crate) type LaneSet = u64;

/// Lanes a search can tell apart.
pub(crate) const MOST_LANES: usize = 64;

/// What a step touched: objects, and whether it wrote them.
pub(crate) type Footprint = std::sync::Arc<[(u64, bool)]>;

/// The lanes of a machine: two a CPU, then the devices.
#[derive(Clone, Copy)]
pub(crate) struct Lanes {
    cpus: u16,
}

impl Lanes {
    /// For a machine of so many CPUs; `None` if they are too many for a search.
    pub fn new(cpus: u16) -> Option<Lanes> {
        (2 * usize::from(cpus) + 8 <= MOST_LANES).then_some(Lanes { cpus })
    }

    /// The lane of an actor; `None` if the machine has more devices than a search can tell apart.
    pub fn of(self, actor: ActorId) -> Option<Lane> {
        let lane = match actor.role() {
            Role::Device(slot) => 2 * usize::from(self.cpus) + slot,
            _ => usize::from(actor.raw()),
        };
        (lane < MOST_LANES).then_some(lane as Lane)
    }

    pub fn actor(self, lane: Lane) -> ActorId {
        if self.is_device(lane) {
            ActorId::device(usize::from(lane) - 2 * usize::from(self.cpus))
        } else {
            ActorId::from_raw(u16::from(lane))
        }
    }

    pub fn is_device(self, lane: Lane) -> bool {
        u16::from(lane) >= 2 * self.cpus
    }

    /// Whether it is a CPU itself, not its interrupts.
    pub fn is_cpu(self, lane: Lane) -> bool {
        !self.is_device(lane) && lane.is_multiple_of(2)
    }

    /// The other lane of the same CPU: all steps of one CPU depend on each other.
    pub fn sibling(self, lane: Lane) -> Option<Lane> {
        (!self.is_device(lane)).then_some(lane ^ 1)
    }

    /// Whether steps of the two lanes depend on each other whatever they touch.
    pub fn same_cpu(self, one: Lane, other: Lane) -> bool {
        one == other || self.sibling(one) == Some(other)
    }

    /// Lanes of CPUs and their interrupts.
    pub fn processors(self) -> usize {
        2 * usize::from(self.cpus)
    }
}

pub(crate) const fn bit(lane: Lane) -> LaneSet {
    1 << lane
}

/// The lanes of a set, lowest first.
pub(crate) fn each(mut set: LaneSet) -> impl Iterator<Item = Lane> {
    std::iter::from_fn(move || {
        let lane = (set != 0).then(|| set.trailing_zeros() as Lane)?;
        set &= set - 1;
        Some(lane)
    })
}

/// As a search keeps it: each object once.
pub(crate) fn footprint(touched: &[(Object, Access)], into: &mut Vec<(u64, bool)>) {
    into.clear();
    for (object, access) in touched {
        if object.kind() == crate::Kind::Private {
            continue;
        }
        let (object, writes) = (object.raw(), access.writes());
        match into.iter_mut().find(|it| it.0 == object) {
            Some(known) => known.1 |= writes,
            None => into.push((object, writes)),
        }
    }
}

/// Whether two footprints share an object that one of them writes.
pub(crate) fn conflict(one: &[(u64, bool)], other: &[(u64, bool)]) -> bool {
    one.iter().any(|(object, writes)| {
        other
            .iter()
            .any(|(same, also)| object == same && (*writes || *also))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CpuId;

    #[test]
    fn a_lane_and_its_actor_name_each_other() {
        let lanes = Lanes::new(3).expect("few enough");
        for actor in [
            ActorId::cpu(CpuId(2)),
            ActorId::irq(CpuId(0)),
            ActorId::device(4),
        ] {
            let lane = lanes.of(actor).expect("few enough");
            assert_eq!(lanes.actor(lane), actor);
        }
        assert!(Lanes::new(29).is_none());
    }

    #[test]
    fn reads_of_one_object_do_not_conflict_and_a_write_does() {
        assert!(!conflict(&[(1, false)], &[(1, false), (2, true)]));
        assert!(conflict(&[(1, false)], &[(1, true)]));
        assert!(conflict(&[(2, true)], &[(1, true), (2, true)]));
    }
}
