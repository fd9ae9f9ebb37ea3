//! Lanes: actors as small numbers, so that sets of them are words.

use crate::{ActorId, CpuId, Object, Role, Touch};

/// An actor of a small machine, as a bit position.
pub(crate) type Lane = u8;

/// A set of lanes.
pub(crate) type LaneSet = u64;

/// Lanes a search can tell apart.
pub(crate) const MOST_LANES: usize = 64;

/// An object that a step touched, and how.
pub(crate) type Touched = (u64, Touch);

/// What a step touched, each object once.
pub(crate) type Footprint = std::sync::Arc<[Touched]>;

/// The lanes of a machine: two a CPU, then the devices, and the store buffers last.
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
        if let Some(cpu) = actor.buffer_of() {
            let lane = MOST_LANES - 1 - usize::from(cpu.0);
            return (lane >= self.buffers()).then_some(lane as Lane);
        }
        let lane = match actor.role() {
            Role::Device(slot) => 2 * usize::from(self.cpus) + slot,
            _ => usize::from(actor.raw()),
        };
        (lane < self.buffers()).then_some(lane as Lane)
    }

    pub fn actor(self, lane: Lane) -> ActorId {
        if usize::from(lane) >= self.buffers() {
            ActorId::store_buffer(CpuId((MOST_LANES - 1) as u16 - u16::from(lane)))
        } else if self.is_device(lane) {
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

    /// Whether a lane is the interrupts of a CPU, or its store buffer.
    pub fn holds_up(self, lane: Lane, cpu: Lane) -> bool {
        let buffer = ActorId::store_buffer(CpuId(u16::from(cpu) / 2));
        self.sibling(cpu) == Some(lane) || self.of(buffer) == Some(lane)
    }

    /// Whether steps of the two lanes depend on each other whatever they touch.
    pub fn same_cpu(self, one: Lane, other: Lane) -> bool {
        one == other || self.sibling(one) == Some(other)
    }

    /// Store buffers have the last lanes, from this one on; eight are kept for transfers.
    fn buffers(self) -> usize {
        let cpus = usize::from(self.cpus);
        (MOST_LANES - cpus).max(2 * cpus + 8)
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

/// Each object once, with all that was done to it.
pub(crate) fn once_each(touched: &[(Object, Touch)], all: &mut Vec<Touched>) {
    all.clear();
    for (object, touch) in touched {
        if object.kind() == crate::Kind::Private {
            continue;
        }
        match all.iter_mut().find(|it| it.0 == object.raw()) {
            Some(known) => known.1 = known.1.and(*touch),
            None => all.push((object.raw(), *touch)),
        }
    }
}

/// Whether two footprints share an object whose touches do not commute.
pub(crate) fn conflict(one: &[Touched], other: &[Touched]) -> bool {
    one.iter().any(|(object, touch)| {
        other
            .iter()
            .any(|(same, also)| object == same && !touch.commutes(*also))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_and_its_actor_name_each_other() {
        let lanes = Lanes::new(3).expect("few enough");
        for actor in [
            ActorId::cpu(CpuId(2)),
            ActorId::irq(CpuId(0)),
            ActorId::device(4),
            ActorId::store_buffer(CpuId(2)),
        ] {
            let lane = lanes.of(actor).expect("few enough");
            assert_eq!(lanes.actor(lane), actor);
        }
        assert!(Lanes::new(29).is_none());
    }

    #[test]
    fn what_commutes_does_not_conflict_and_all_else_on_one_object_does() {
        use Touch::{Adjust, Read, Write};
        assert!(!conflict(&[(1, Read)], &[(1, Read), (2, Write)]));
        assert!(conflict(&[(1, Read)], &[(1, Write)]));
        assert!(conflict(&[(2, Write)], &[(1, Write), (2, Write)]));
        assert!(!conflict(&[(1, Adjust)], &[(1, Adjust)]));
        assert!(conflict(&[(1, Adjust)], &[(1, Read)]));
    }
}
