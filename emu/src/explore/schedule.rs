//! Schedules: who went, step by step; and a chooser that follows one.

use serde::{Deserialize, Serialize};

use super::lanes::{Lanes, bit};
use crate::{ActorId, Choice, Chooser};

/// Who takes the steps of a run: actors, and how many steps each takes in a row.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Schedule(Vec<(u16, u32)>);

impl Schedule {
    /// The schedule of these steps.
    pub fn of(actors: impl IntoIterator<Item = ActorId>) -> Schedule {
        let mut turns: Vec<(u16, u32)> = Vec::new();
        for actor in actors {
            match turns.last_mut() {
                Some(last) if last.0 == actor.raw() => last.1 += 1,
                _ => turns.push((actor.raw(), 1)),
            }
        }
        Schedule(turns)
    }

    /// Turns: an actor, and the steps it takes in a row.
    pub fn turns(&self) -> impl Iterator<Item = (ActorId, u32)> + '_ {
        self.0
            .iter()
            .map(|(raw, steps)| (ActorId::from_raw(*raw), *steps))
    }

    /// Who takes each step.
    pub fn steps(&self) -> Vec<ActorId> {
        self.turns()
            .flat_map(|(actor, steps)| std::iter::repeat_n(actor, steps as usize))
            .collect()
    }

    /// How many steps.
    pub fn len(&self) -> usize {
        self.0.iter().map(|it| it.1 as usize).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a [`Follow`] did.
#[derive(Default, Debug)]
pub struct Followed {
    /// Who took each step.
    pub actors: Vec<ActorId>,
    /// Preemptions up to and with each step.
    pub preemptions: Vec<u32>,
}

/// Follows a schedule as far as it can: a turn whose actor cannot go on is left out, and after
/// the last the CPU that is going goes on, as a search's first schedule does.
pub struct Follow {
    turns: Vec<(ActorId, u32)>,
    at: usize,
    left: u32,
    lanes: Lanes,
    last_cpu: Option<u8>,
    preemptions: u32,
    log: std::rc::Rc<std::cell::RefCell<Followed>>,
}

impl Follow {
    /// For these turns, on a machine of so many CPUs; what is done is written to `log`.
    ///
    /// # Panics
    ///
    /// When there are more CPUs than a search can tell apart, which [`Search::new`] refuses.
    ///
    /// [`Search::new`]: super::Search::new
    pub fn new(
        turns: impl IntoIterator<Item = (ActorId, u32)>,
        cpus: u16,
        log: std::rc::Rc<std::cell::RefCell<Followed>>,
    ) -> Follow {
        let turns: Vec<_> = turns.into_iter().collect();
        Follow {
            left: turns.first().map_or(0, |it| it.1),
            turns,
            at: 0,
            lanes: Lanes::new(cpus).expect("few enough CPUs for a search"),
            last_cpu: None,
            preemptions: 0,
            log,
        }
    }

    fn wanted(&mut self, choice: &Choice<'_>) -> Option<ActorId> {
        loop {
            let (actor, _) = *self.turns.get(self.at)?;
            if self.left > 0 && choice.enabled.contains(&actor) {
                self.left -= 1;
                return Some(actor);
            }
            self.at += 1;
            self.left = self.turns.get(self.at).map_or(0, |it| it.1);
        }
    }
}

impl Chooser for Follow {
    fn choose(&mut self, choice: &Choice<'_>) -> Result<ActorId, String> {
        let lanes = self.lanes;
        let able = choice.enabled.iter().chain(choice.interrupted);
        let able = able
            .filter_map(|it| lanes.of(*it))
            .fold(0, |set, it| set | bit(it));
        let leaves = |lane: u8| {
            lanes.is_cpu(lane)
                && self
                    .last_cpu
                    .is_some_and(|it| it != lane && able & bit(it) != 0)
        };
        let default = choice
            .enabled
            .iter()
            .filter_map(|it| lanes.of(*it))
            .min_by_key(|lane| (self.last_cpu != Some(*lane), leaves(*lane), *lane))
            .ok_or("more devices at once than a search can tell apart")?;
        let actor = self.wanted(choice).unwrap_or(lanes.actor(default));
        if let Some(lane) = lanes.of(actor).filter(|it| lanes.is_cpu(*it)) {
            let leaves = self
                .last_cpu
                .is_some_and(|it| it != lane && able & bit(it) != 0);
            self.preemptions += u32::from(leaves);
            self.last_cpu = Some(lane);
        }
        let mut log = self.log.borrow_mut();
        log.actors.push(actor);
        log.preemptions.push(self.preemptions);
        Ok(actor)
    }

    fn reseed(&mut self, _seed: u64) {}

    fn tracks(&self) -> bool {
        true
    }
}
