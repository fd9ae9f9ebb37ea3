//! What a search takes for independent is: two neighbouring steps that share no object can change
//! places, and every actor does what it did.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use emu::explore::{Program, Runner};
use emu::{ActorId, Choice, Chooser, End, Kind, Object, Role, Touch};

use super::searching::Searched;
use crate::Run;
use workloads::{CATALOGUE, Verdict};

type Footprint = Vec<(Object, Touch)>;

/// A step: who could go, who went, what it touched.
#[derive(Clone, Default)]
struct Taken {
    enabled: Vec<ActorId>,
    actor: Option<ActorId>,
    touched: Footprint,
}

/// Follows a schedule, then chance; notes everything.
struct Scribe {
    way: Vec<ActorId>,
    chance: u64,
    taken: Rc<RefCell<Vec<Taken>>>,
}

fn once_each(touched: &[(Object, Touch)]) -> Footprint {
    let mut all: BTreeMap<Object, Touch> = BTreeMap::new();
    for (object, touch) in touched {
        if object.kind() != Kind::Private {
            let known = all.entry(*object).or_insert(*touch);
            *known = known.and(*touch);
        }
    }
    all.into_iter().collect()
}

impl Scribe {
    fn touched(&self, touched: &[(Object, Touch)]) {
        if let Some(last) = self.taken.borrow_mut().last_mut() {
            last.touched = once_each(touched);
        }
    }
}

impl Chooser for Scribe {
    fn choose(&mut self, choice: &Choice<'_>) -> Result<ActorId, String> {
        self.touched(choice.touched);
        let enabled = choice.enabled.to_vec();
        let number = self.taken.borrow().len();
        let actor = match self.way.get(number) {
            Some(actor) => *actor,
            None => {
                self.chance = self
                    .chance
                    .wrapping_mul(0x5851_f42d_4c95_7f2d)
                    .wrapping_add(1);
                enabled[(self.chance >> 33) as usize % enabled.len()]
            }
        };
        self.taken.borrow_mut().push(Taken {
            enabled,
            actor: Some(actor),
            touched: Vec::new(),
        });
        Ok(actor)
    }

    fn reseed(&mut self, _seed: u64) {}

    fn tracks(&self) -> bool {
        true
    }

    fn ended(&mut self, end: &End<'_>) -> Result<(), String> {
        self.touched(end.touched);
        Ok(())
    }
}

fn run(runner: &mut dyn Runner, way: Vec<ActorId>, chance: u64) -> (Vec<Taken>, bool) {
    let taken = Rc::new(RefCell::new(Vec::new()));
    let scribe = Scribe {
        way,
        chance,
        taken: Rc::clone(&taken),
    };
    let outcome = runner.run(Box::new(scribe));
    (taken.take(), outcome.whole)
}

fn independent(one: &Footprint, other: &Footprint) -> bool {
    !one.iter().any(|(object, touch)| {
        other
            .iter()
            .any(|(same, also)| object == same && !touch.commutes(*also))
    })
}

/// What each actor did, step by step.
fn by_actor(taken: &[Taken]) -> BTreeMap<Option<ActorId>, Vec<&Footprint>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for step in taken {
        all.entry(step.actor).or_default().push(&step.touched);
    }
    all
}

/// A delivery holds its CPU up: it changes places with a step of that only as a whole handler.
fn of_one_cpu(one: ActorId, other: ActorId) -> bool {
    let cpu = |actor: ActorId| match actor.role() {
        Role::Cpu(cpu) | Role::Irq(cpu) => Some(cpu),
        Role::Device(_) => None,
    };
    cpu(one).is_some() && cpu(one) == cpu(other)
}

/// Swaps some neighbours that pass for independent; tells how many.
fn swap(name: &str, runner: &mut dyn Runner, chance: u64, most: usize) -> usize {
    let (taken, whole) = run(runner, Vec::new(), chance);
    if !whole || taken.len() > 2_000 {
        return 0;
    }
    let way: Vec<ActorId> = taken.iter().filter_map(|it| it.actor).collect();
    let places: Vec<usize> = (1..taken.len())
        .filter(|&at| {
            let (one, other) = (&taken[at - 1], &taken[at]);
            way[at - 1] != way[at]
                && !of_one_cpu(way[at - 1], way[at])
                && one.enabled.contains(&way[at])
                && independent(&one.touched, &other.touched)
        })
        .collect();
    let stride = (places.len() / most).max(1);
    let mut swapped = 0;
    for &at in places.iter().skip(chance as usize % stride).step_by(stride) {
        let mut way = way.clone();
        way.swap(at - 1, at);
        let (again, _) = run(runner, way, 0);
        let (before, after) = (by_actor(&taken), by_actor(&again));
        if before != after {
            let why = before.iter().find_map(|(actor, steps)| {
                let other = after.get(actor).cloned().unwrap_or_default();
                let at = (0..steps.len()).find(|&it| other.get(it) != Some(&steps[it]))?;
                Some(format!(
                    "step {at} of {actor:?}: {:?} became {:?}",
                    steps[at],
                    other.get(at)
                ))
            });
            panic!(
                "{name}, chance {chance}: steps {at} and {} pass for independent\n{:?} {:?}\n{:?} {:?}\n{}",
                at + 1,
                taken[at - 1].actor,
                taken[at - 1].touched,
                taken[at].actor,
                taken[at].touched,
                why.unwrap_or_default(),
            );
        }
        swapped += 1;
    }
    swapped
}

fn configured(name: &str, verdict: &Verdict) -> Run {
    let mut run = Run::of(name).expect("it is listed");
    if let Some(kernel) = verdict.kernel {
        run = run.kernel(kernel).expect("it is listed");
    }
    for fix in verdict.fixes {
        run = run.fix(fix).expect("it is listed");
    }
    for (key, value) in verdict.set {
        run = run.set(key, &value.to_string()).expect("it is listed");
    }
    run.chooser("random").expect("it is listed")
}

#[test]
fn steps_that_share_no_object_can_change_places() {
    let seeds = std::env::var("SWAP_SEEDS")
        .ok()
        .and_then(|it| it.parse().ok());
    let mut swapped = 0;
    for reproducer in CATALOGUE {
        for (number, verdict) in reproducer.verdicts().iter().enumerate() {
            let run = configured(reproducer.name(), verdict);
            let configuration = Arc::new(run.configuration().expect("it is whole"));
            Searched(&configuration).on_worker(&mut |runner| {
                for seed in 0..seeds.unwrap_or(1) {
                    let name = format!("{} {}", reproducer.name(), verdict.row);
                    swapped += swap(&name, runner, seed * 1000 + number as u64, 12);
                }
            });
        }
    }
    assert!(swapped > 500, "{swapped}");
}
