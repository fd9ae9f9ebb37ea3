//! Contrast: the passing schedule nearest to a failing one, and the two steps whose order decides.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::lanes::{LaneSet, Lanes, Touched, bit};
use super::schedule::Follow;
use super::shrink::follow;
use super::trace::Trace;
use super::{Runner, Schedule};
use crate::{ActorId, Choice, Chooser, End, Object, Touch, Want};

/// The nearest passing schedule.
#[derive(Clone, Debug)]
pub struct Contrast {
    /// Who takes the steps.
    pub schedule: Schedule,
    /// The step of the failing run that comes first there, and in the passing run second.
    pub first: u64,
    /// The other one.
    pub second: u64,
    /// What they both touch.
    pub object: Option<Object>,
}

/// Turns the races of a failing schedule round, one at a time. Of the runs that are clean then, the
/// one in which the fewest steps up to the failure moved; of equal ones that of the last race. At most
/// so many runs.
pub fn contrast(
    runner: &mut dyn Runner,
    cpus: u16,
    schedule: &Schedule,
    most_runs: u64,
) -> Option<Contrast> {
    let watch = Rc::new(RefCell::new(Watch::new(cpus)?));
    let inner = Follow::new(schedule.turns(), cpus, Rc::default());
    runner.run(Box::new(Watching(inner, Rc::clone(&watch))));
    let watch = watch.borrow();
    let mut pairs = watch.pairs.clone();
    pairs.sort_by(|one, other| other.cmp(one));
    let passing = pairs.into_iter().take(most_runs as usize);
    let passing = passing.filter_map(|(first, second)| {
        let (outcome, followed) = follow(runner, cpus, watch.turned(first, second));
        let passes = outcome.violation.is_none() && outcome.whole;
        passes.then(|| {
            let failing = &watch.actors[..watch.trace.len()];
            let moved = moved(failing, &followed.actors);
            (moved, first, second, Schedule::of(followed.actors))
        })
    });
    let (_, first, second, schedule) = passing.min_by_key(|it| it.0)?;
    Some(Contrast {
        schedule,
        first: first as u64 + 1,
        second: second as u64 + 1,
        object: watch.shared(first, second),
    })
}

/// How many steps of one run are not in their place in another: the fewest that have to be taken
/// out so that the rest come in the same order in both. An actor's steps are told apart by their number.
fn moved(one: &[ActorId], other: &[ActorId]) -> usize {
    let mut places: BTreeMap<ActorId, VecDeque<usize>> = BTreeMap::new();
    for (place, actor) in other.iter().enumerate() {
        places.entry(*actor).or_default().push_back(place);
    }
    // The longest rising sequence: for each length the lowest place that one can end in.
    let mut ends: Vec<usize> = Vec::new();
    for actor in one {
        if let Some(place) = places.get_mut(actor).and_then(VecDeque::pop_front) {
            let at = ends.partition_point(|end| *end < place);
            match ends.get_mut(at) {
                Some(end) => *end = place,
                None => ends.push(place),
            }
        }
    }
    one.len() - ends.len()
}

/// A run's events and races.
struct Watch {
    lanes: Lanes,
    trace: Trace,
    actors: Vec<ActorId>,
    /// Who could go on before each event, and whom its own CPU held back.
    enabled: Vec<(LaneSet, LaneSet)>,
    touched: Vec<Vec<Touched>>,
    pairs: Vec<(usize, usize)>,
    want: Want,
    over: bool,
}

impl Watch {
    fn new(cpus: u16) -> Option<Watch> {
        let lanes = Lanes::new(cpus)?;
        Some(Watch {
            lanes,
            trace: Trace::new(lanes, false),
            actors: Vec::new(),
            enabled: Vec::new(),
            touched: Vec::new(),
            pairs: Vec::new(),
            want: Want::Touch,
            over: false,
        })
    }

    fn step(&mut self, touched: &[(Object, Touch)]) {
        let Some(actor) = self.actors.last() else {
            return;
        };
        let Some(lane) = self.lanes.of(*actor).filter(|_| !self.over) else {
            return;
        };
        let mut all = Vec::new();
        super::lanes::once_each(touched, &mut all);
        let mut races = Vec::new();
        let enabled = &self.enabled;
        let number = self.trace.len();
        let waited = super::dfs::waited(self.want);
        self.trace.push(
            lane,
            &all,
            waited,
            None,
            &|event| enabled[event],
            &mut races,
        );
        self.touched.push(all);
        self.pairs
            .extend(races.iter().map(|race| (race.first, number)));
    }

    /// The schedule in which what does not have to come after `first` comes before it, up to
    /// `second`; then as it was.
    fn turned(&self, first: usize, second: usize) -> Vec<(ActorId, u32)> {
        let one = |event: usize| (self.actors[event], 1);
        let free = |event: &usize| !self.trace.before(first, *event) || *event == second;
        let moved = (first + 1..=second).filter(free).map(one);
        let stays = (first..second).filter(|event| *event == first || !free(event));
        (0..first)
            .map(one)
            .chain(moved)
            .chain(stays.map(one))
            .chain((second + 1..self.actors.len()).map(one))
            .collect()
    }

    fn shared(&self, first: usize, second: usize) -> Option<Object> {
        self.touched[second].iter().find_map(|one| {
            self.touched[first]
                .iter()
                .any(|other| other.0 == one.0 && !one.1.commutes(other.1))
                .then(|| Object::from_raw(one.0))
        })
    }
}

struct Watching(Follow, Rc<RefCell<Watch>>);

impl Chooser for Watching {
    fn choose(&mut self, choice: &Choice<'_>) -> Result<ActorId, String> {
        let actor = self.0.choose(choice)?;
        let mut watch = self.1.borrow_mut();
        watch.step(choice.touched);
        // What comes after the violation decides nothing.
        watch.over |= choice.violated;
        let lanes = watch.lanes;
        let enabled = choice.enabled.iter().filter_map(|it| lanes.of(*it));
        let masked = choice.masked.iter().filter_map(|it| lanes.of(*it));
        watch.enabled.push((
            enabled.fold(0, |set, lane| set | bit(lane)),
            masked.fold(0, |set, lane| set | bit(lane)),
        ));
        watch.actors.push(actor);
        watch.want = (choice.wants)(actor).want;
        Ok(actor)
    }

    fn reseed(&mut self, seed: u64) {
        self.0.reseed(seed);
    }

    fn tracks(&self) -> bool {
        true
    }

    fn ended(&mut self, end: &End<'_>) -> Result<(), String> {
        self.1.borrow_mut().step(end.touched);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::moved;
    use crate::{ActorId, CpuId};

    #[test]
    fn steps_that_moved_are_the_fewest_that_explain_the_other_order() {
        let run = |actors: &str| -> Vec<ActorId> {
            let number = |it: u8| CpuId(u16::from(it - b'a'));
            actors.bytes().map(|it| ActorId::cpu(number(it))).collect()
        };
        assert_eq!(moved(&run("aabb"), &run("aabb")), 0);
        assert_eq!(moved(&run("aaabb"), &run("abaab")), 1);
        assert_eq!(moved(&run("aaaab"), &run("baaaa")), 1);
        assert_eq!(moved(&run("aabb"), &run("bbaa")), 2);
        // What has not come there at all counts, too.
        assert_eq!(moved(&run("aabb"), &run("aab")), 1);
    }
}
