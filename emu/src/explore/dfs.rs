//! Depth-first search, statelessly: each schedule is a run from the start that follows the stack,
//! and goes on by itself from where the stack ends.
//!
//! - [`Reduction::None`]: every choice is tried.
//! - [`Reduction::Dpor`]: source sets and sleep sets (Abdulla et al., POPL 2014): a choice is
//!   tried when a race shows that it leads to another class of executions.
//! - Bounded: a preemption is leaving a CPU that could go on for another CPU; devices and
//!   interrupts are free. A reversal may cost a preemption where it is found and none at the
//!   beginning of the CPU's turn or where it last waited, so it is tried there too (Coons et al.,
//!   OOPSLA 2013). Only devices sleep: taking their step earlier costs nothing, so what they put to
//!   sleep is within the bound; for a CPU it might not be.
//! - [`Reduction::Merge`]: a state met before is not gone on from ([`merge`](super::merge)). What
//!   was touched below it ([`visited`](super::visited)) races with what led to it now, as if it
//!   came next; where nobody is known who could begin a reversal, everybody is tried (Yang et al.,
//!   SPIN 2008). Nobody sleeps.

use std::sync::Arc;

use super::lanes::{
    Footprint, Lane, LaneSet, Lanes, MOST_LANES, Touched, bit, conflict, each, once_each,
};
use super::merge::Merger;
use super::trace::{Race, Trace, Waited, join};
use super::visited::{Known, Numbers, Spare, Summary, Turn, Visited};
use super::{Reduction, Schedule};
use crate::{ActorId, Choice, End, Object, Request, Touch, Want};

/// A lane that need not go, and what its step would touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sleeper {
    pub lane: Lane,
    pub footprint: Footprint,
}

/// A choice on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub chosen: Lane,
    pub enabled: LaneSet,
    /// CPUs that only a handler on top of them, or their store buffer, holds up.
    pub interrupted: LaneSet,
    /// Lanes that their own CPU holds back.
    pub masked: LaneSet,
    /// To be tried, or tried.
    pub backtrack: LaneSet,
    /// Tried, the chosen one excluded.
    pub done: LaneSet,
    /// Preemptions before it.
    pub preemptions: u32,
    /// The CPU that took a step last.
    pub last_cpu: Option<Lane>,
    /// Some choices here were given to other items.
    pub shared: bool,
    pub sleep: Vec<Sleeper>,
    /// Those of `done` that later choices can let sleep.
    pub slept: Vec<Sleeper>,
    /// The key of the state before it.
    pub state: u64,
    /// What is below it, as far as it was searched here.
    pub below: Summary,
    /// Where the turn that its `below` tells of began.
    pub turn: usize,
    /// Something below it was searched elsewhere, and is not in `below`.
    pub partial: bool,
}

impl Node {
    /// What it costs to let `lane` go next.
    pub fn cost(&self, lanes: Lanes, lane: Lane) -> u32 {
        let leaves = self
            .last_cpu
            .is_some_and(|last| last != lane && (self.enabled | self.interrupted) & bit(last) != 0);
        u32::from(lanes.is_cpu(lane) && leaves)
    }

    fn asleep(&self) -> LaneSet {
        self.sleep.iter().fold(0, |set, it| set | bit(it.lane))
    }
}

/// How a run that followed the search came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// To its end.
    Whole,
    /// Every way on from there is, or will be, searched elsewhere.
    Redundant,
}

pub(crate) struct Dfs {
    pub lanes: Lanes,
    bound: Option<u32>,
    reduction: Reduction,
    pub stack: Vec<Node>,
    trace: Trace,
    /// Choices before this one are tried by other items.
    pub root: usize,
    /// What this item's races ask others to try: where, and whom.
    pub asks: Vec<(usize, LaneSet)>,
    merger: Option<Merger>,
    numbers: Numbers,
    /// What was met in earlier rounds, and in this one.
    known: Arc<Visited>,
    fresh: Visited,
    /// The choice that comes next.
    depth: usize,
    /// The request of the step at hand.
    want: Want,
    redundant: bool,
    /// A choice was left out because it costs a preemption too many.
    pub cut: bool,
    /// More devices at once than lanes.
    pub crowded: bool,
    races: Vec<Race>,
    touched: Vec<Touched>,
    order: Order,
    spare: Spare,
}

impl Dfs {
    pub fn new(lanes: Lanes, bound: Option<u32>, reduction: Reduction, known: &Known) -> Dfs {
        Dfs {
            lanes,
            bound,
            reduction,
            stack: Vec::new(),
            trace: Trace::new(lanes, bound.is_some()),
            merger: (reduction == Reduction::Merge).then(Merger::new),
            root: 0,
            asks: Vec::new(),
            numbers: known.numbers.clone(),
            known: Arc::clone(&known.visited),
            fresh: Visited::default(),
            depth: 0,
            want: Want::Touch,
            redundant: false,
            cut: false,
            crowded: false,
            races: Vec::new(),
            touched: Vec::new(),
            order: Order::default(),
            spare: Spare::default(),
        }
    }

    /// Another run begins.
    pub fn begin(&mut self) {
        self.depth = self.trace.len();
        self.redundant = false;
    }

    /// Who goes in the steps of the way of which it is known what they touch.
    pub fn lead(&self, all: &mut Vec<ActorId>) {
        let known = self.stack[..self.trace.len()].iter();
        all.extend(known.map(|it| self.lanes.actor(it.chosen)));
    }

    pub fn way(&self) -> Way {
        if self.redundant {
            Way::Redundant
        } else {
            Way::Whole
        }
    }

    /// Who went, step by step.
    pub fn schedule(&self) -> Schedule {
        let actors = self.stack.iter().map(|it| self.lanes.actor(it.chosen));
        Schedule::of(actors)
    }

    /// Preemptions of the run at hand.
    pub fn preemptions(&self) -> u32 {
        self.stack
            .last()
            .map_or(0, |it| it.preemptions + it.cost(self.lanes, it.chosen))
    }

    pub fn choose(&mut self, choice: &Choice<'_>) -> Result<ActorId, String> {
        self.step_done(choice.touched);
        let at = self.depth;
        self.depth += 1;
        if at == self.stack.len() && !self.grow(choice) {
            self.redundant = true;
            self.depth -= 1;
            return Err("searched elsewhere".to_string());
        }
        let actor = self.lanes.actor(self.stack[at].chosen);
        self.want = (choice.wants)(actor).want;
        Ok(actor)
    }

    /// The footprint of the step before the present choice is known now.
    fn step_done(&mut self, touched: &[(Object, Touch)]) {
        let Some(event) = self.depth.checked_sub(1) else {
            return;
        };
        let lane = self.stack[event].chosen;
        if let Some(merger) = &mut self.merger
            && event >= merger.len()
        {
            merger.step(lane, touched);
        }
        if event < self.trace.len() || self.reduction == Reduction::None {
            return;
        }
        self.race(lane, touched, waited(self.want), None);
        self.note_below(event, lane, touched, waited(self.want));
    }

    /// What a step or a waiting request touches is below the state at `at`.
    fn note_below(&mut self, at: usize, lane: Lane, touched: &[(Object, Touch)], waited: Waited) {
        if self.merger.is_none() {
            return;
        }
        for (object, touch) in touched {
            if object.kind() != crate::Kind::Private {
                let number = self.numbers.number((lane, (object.raw(), *touch), waited));
                self.stack[at].below.add(number);
            }
        }
    }

    /// The state after the stack was gone on from before: all that was touched below it races with
    /// what led here now.
    fn merge(&mut self, summary: &Summary, node: &Node) {
        let length = self.trace.len();
        let mut order = std::mem::take(&mut self.order);
        order.find(self, node);
        for number in summary.numbers() {
            let (lane, touched, waited) = self.numbers.below(number);
            let base = order.before(lane, waited);
            if self.trace.rivals(lane, touched, base) {
                let touched = [(Object::from_raw(touched.0), touched.1)];
                self.race(lane, &touched, waited, Some(base));
                self.trace.truncate(length);
            }
        }
        self.order = order;
        let Some(last) = self.stack.len().checked_sub(1) else {
            return;
        };
        self.stack[last].below.add_touches(summary);
        let begin = self.turn_of(self.stack.len(), node.last_cpu);
        let pause = self.pause_in(begin, self.stack.len());
        for &(lane, initials) in &summary.turns {
            self.try_at(begin, initials, lane);
            if let Some(pause) = pause {
                self.try_at(pause, initials, lane);
            }
            self.note_turn(last, begin, (lane, initials));
        }
        if summary.yields || pause.is_some() && !summary.turns.is_empty() {
            self.yields(last);
        }
    }

    /// The event without which a device or an interrupt could not go on now.
    fn enabler(&self, lane: Lane) -> Option<usize> {
        let before = self.stack.iter().enumerate().rev();
        for (event, node) in before {
            // While its CPU holds it back, nobody knows whether it waits.
            if node.chosen == lane || node.masked & bit(lane) != 0 {
                return None;
            }
            if node.enabled & bit(lane) == 0 {
                return Some(event);
            }
        }
        None
    }

    fn note_turn(&mut self, at: usize, begin: usize, turn: Turn) {
        if self.merger.is_some() && begin < at {
            self.stack[at].turn = begin;
            self.stack[at].below.add_turn(turn);
        }
    }

    /// Adds a step to the trace, and the choices that its races ask for.
    fn race(
        &mut self,
        lane: Lane,
        touched: &[(Object, Touch)],
        waited: Waited,
        later: Option<&[u32]>,
    ) {
        let mut all = std::mem::take(&mut self.touched);
        once_each(touched, &mut all);
        let mut races = std::mem::take(&mut self.races);
        races.clear();
        let stack = &self.stack;
        self.trace.push(
            lane,
            &all,
            waited,
            later,
            &|event| (stack[event].enabled, stack[event].masked),
            &mut races,
        );
        for race in &races {
            match (self.bound, self.reduction) {
                (None, Reduction::Merge) => self.try_at(race.first, race.initials, lane),
                (None, _) => self.backtrack(race),
                (Some(_), _) => self.backtrack_within(race, lane),
            }
        }
        self.races = races;
        self.touched = all;
    }

    fn backtrack(&mut self, race: &Race) {
        if self.stack[race.first].backtrack & race.initials == 0 {
            self.ask(race.first, race.initials & race.initials.wrapping_neg());
        }
    }

    /// Adds choices at a node, which may be another item's.
    fn ask(&mut self, at: usize, lanes: LaneSet) {
        let node = &mut self.stack[at];
        if lanes & !node.backtrack != 0 {
            node.backtrack |= lanes;
            if at < self.root {
                self.asks.push((at, lanes));
            }
        }
    }

    /// Conservatively, since whoever is tried may be too dear: everybody who can begin the
    /// reversal, here and where the turn of the CPU began.
    fn backtrack_within(&mut self, race: &Race, lane: Lane) {
        self.try_at(race.first, race.initials, lane);
        let begin = self.turn_began(race.first);
        if begin != race.first {
            self.try_at(begin, race.initials, lane);
            self.note_turn(race.first, begin, (lane, race.initials));
        }
        if let Some(pause) = self.pause_in(begin, race.first) {
            self.try_at(pause, race.initials, lane);
            self.yields(self.stack.len() - 1);
        }
    }

    /// A CPU waited in its turn, up to choice number `at`: had any other CPU gone then, the turn would
    /// have ended for nothing. Who has nothing to do with it may have gone before, so wherever it
    /// costs nothing every CPU is tried.
    fn yields(&mut self, at: usize) {
        if self.merger.is_some() {
            self.stack[at].below.yields = true;
        }
        for at in 0..=at {
            let node = &self.stack[at];
            let free = each(node.enabled)
                .filter(|it| self.lanes.is_cpu(*it) && node.cost(self.lanes, *it) == 0);
            let free = free.fold(0, |set, it| set | bit(it));
            self.ask(at, free);
        }
    }

    /// The last choice of a turn that began at `begin`, before choice `before`, at which the CPU waited:
    /// leaving it was free there.
    fn pause_in(&self, begin: usize, before: usize) -> Option<usize> {
        let waits = |at: &usize| {
            let node = &self.stack[*at];
            let able = node.enabled | node.interrupted;
            node.last_cpu.is_some_and(|cpu| able & bit(cpu) == 0)
        };
        (begin + 1..before).rev().find(waits)
    }

    fn try_at(&mut self, at: usize, initials: LaneSet, lane: Lane) {
        let enabled = self.stack[at].enabled;
        let can = if enabled & bit(lane) != 0 {
            bit(lane)
        } else {
            initials & enabled
        };
        self.ask(at, if can != 0 { can } else { enabled });
    }

    /// The first step of the CPU that was going at `at`.
    fn turn_began(&self, at: usize) -> usize {
        let cpu = if self.lanes.is_cpu(self.stack[at].chosen) {
            Some(self.stack[at].chosen)
        } else {
            self.stack[at].last_cpu
        };
        self.turn_of(at + 1, cpu)
    }

    /// Where the turn of `cpu` began that goes on before choice number `before`.
    fn turn_of(&self, before: usize, cpu: Option<Lane>) -> usize {
        (0..before)
            .rev()
            .find(|&it| Some(self.stack[it].chosen) == cpu && self.stack[it].last_cpu != cpu)
            .unwrap_or(0)
    }

    /// A choice that was not made before; `false` if nothing here needs to be looked at.
    fn grow(&mut self, choice: &Choice<'_>) -> bool {
        let Some(mut node) = self.node_for(choice) else {
            return false;
        };
        if let Some(merger) = &self.merger {
            let (turn, preemptions) = match self.bound {
                Some(_) => (node.last_cpu, node.preemptions),
                None => (None, 0),
            };
            node.state = merger.state(turn, choice.violated);
            let earlier = self.known.find(node.state, preemptions);
            let met = earlier.or_else(|| self.fresh.find(node.state, preemptions));
            if let Some(summary) = met.cloned() {
                self.merge(&summary, &node);
                return false;
            }
        }
        let awake = node.enabled & !node.asleep();
        let free = each(awake).filter(|lane| {
            let dear = self
                .bound
                .is_some_and(|most| node.preemptions + node.cost(self.lanes, *lane) > most);
            !dear
        });
        // What holds up the CPU whose turn it is goes before all that could as well come after.
        let held_up = node
            .last_cpu
            .filter(|last| node.interrupted & bit(*last) != 0);
        let preferred = |lane: &Lane| {
            let goes_on = node.last_cpu == Some(*lane)
                || held_up.is_some_and(|cpu| self.lanes.holds_up(*lane, cpu));
            (!goes_on, node.cost(self.lanes, *lane), *lane)
        };
        let Some(chosen) = free.min_by_key(preferred) else {
            return false;
        };
        node.chosen = chosen;
        node.below = self.spare.take();
        node.backtrack = match self.reduction {
            Reduction::Dpor | Reduction::Merge => bit(chosen),
            Reduction::None => node.enabled,
        };
        self.stack.push(node);
        true
    }

    fn node_for(&mut self, choice: &Choice<'_>) -> Option<Node> {
        let mut enabled = 0;
        for actor in choice.enabled {
            let Some(lane) = self.lanes.of(*actor) else {
                self.crowded = true;
                return None;
            };
            enabled |= bit(lane);
        }
        let set = |actors: &[ActorId]| {
            let lanes = actors.iter().filter_map(|it| self.lanes.of(*it));
            lanes.fold(0, |set, lane| set | bit(lane))
        };
        let (interrupted, masked) = (set(choice.interrupted), set(choice.masked));
        let (preemptions, last_cpu) = match self.stack.last() {
            None => (0, None),
            Some(parent) => (
                parent.preemptions + parent.cost(self.lanes, parent.chosen),
                if self.lanes.is_cpu(parent.chosen) {
                    Some(parent.chosen)
                } else {
                    parent.last_cpu
                },
            ),
        };
        Some(Node {
            chosen: 0,
            enabled,
            interrupted,
            masked,
            backtrack: 0,
            done: 0,
            preemptions,
            last_cpu,
            shared: false,
            sleep: self.sleepers(choice.touched),
            slept: Vec::new(),
            state: 0,
            below: Summary::default(),
            turn: 0,
            partial: false,
        })
    }

    /// Those who slept before the last step and whom it did not wake.
    fn sleepers(&self, touched: &[(Object, Touch)]) -> Vec<Sleeper> {
        let Some(parent) = self.stack.last() else {
            return Vec::new();
        };
        if parent.sleep.is_empty() && parent.slept.is_empty() {
            return Vec::new();
        }
        let mut step = Vec::new();
        once_each(touched, &mut step);
        let all = parent.sleep.iter().chain(&parent.slept);
        all.filter(|it| it.lane != parent.chosen && !conflict(&it.footprint, &step))
            .cloned()
            .collect()
    }

    /// The run is over: what still waited takes part in the races.
    pub fn ended(&mut self, end: &End<'_>) {
        if self.redundant {
            return;
        }
        self.step_done(end.touched);
        if self.reduction == Reduction::None {
            return;
        }
        let length = self.trace.len();
        for (actor, request) in end.pending {
            if let (
                Some(lane),
                Request {
                    object,
                    access,
                    want: Want::Lock(_),
                    ..
                },
            ) = (self.lanes.of(*actor), request)
            {
                let touched = [(*object, Touch::from(*access))];
                self.race(lane, &touched, Waited::Lock, None);
                self.trace.truncate(length);
                if let Some(last) = self.stack.len().checked_sub(1) {
                    self.note_below(last, lane, &touched, Waited::Lock);
                }
            }
        }
    }

    /// Puts the next schedule on the stack; `false` when there is none, or others have to come to
    /// their end first ([`Dfs::waits`]).
    pub fn advance(&mut self) -> bool {
        while self.stack.len() > self.root {
            if self.next_choice() {
                return true;
            }
            if self.stack[self.stack.len() - 1].shared {
                return false;
            }
            self.leave();
        }
        false
    }

    /// The states that were met in this round; it is over.
    pub fn take_fresh(&mut self) -> Visited {
        self.known = Arc::default();
        std::mem::take(&mut self.fresh)
    }

    /// Whether choices that others try can ask for more here.
    pub fn waits(&self) -> bool {
        self.stack.len() > self.root
    }

    /// The state at the top was gone on from to the end.
    fn leave(&mut self) {
        let Some(node) = self.stack.pop() else {
            return;
        };
        if self.merger.is_none() {
            return;
        }
        if let Some(parent) = self.stack.len().checked_sub(1) {
            self.stack[parent].below.add_touches(&node.below);
            self.stack[parent].partial |= node.partial;
            for turn in &node.below.turns {
                self.note_turn(parent, node.turn, *turn);
            }
        }
        if !node.partial {
            let preemptions = self.bound.map_or(0, |_| node.preemptions);
            self.fresh.insert(node.state, preemptions, &node.below);
        }
        self.spare.give(node.below);
    }

    fn next_choice(&mut self) -> bool {
        let at = self.stack.len() - 1;
        let step = self.may_sleep(at);
        let (lanes, bound) = (self.lanes, self.bound);
        let node = &mut self.stack[at];
        if let Some(footprint) = step {
            node.slept.push(Sleeper {
                lane: node.chosen,
                footprint,
            });
        }
        node.done |= bit(node.chosen);
        self.trace.truncate(at);
        if let Some(merger) = &mut self.merger {
            merger.truncate(at);
        }
        let node = &mut self.stack[at];
        let open = node.backtrack & node.enabled & !node.done & !node.asleep();
        for lane in each(open) {
            if bound.is_some_and(|most| node.preemptions + node.cost(lanes, lane) > most) {
                self.cut = true;
                continue;
            }
            node.chosen = lane;
            return true;
        }
        false
    }

    /// What the chosen step touched, if later choices can let it sleep.
    pub fn may_sleep(&self, at: usize) -> Option<Footprint> {
        let lane = self.stack[at].chosen;
        let may = self.reduction == Reduction::Dpor
            && at < self.trace.len()
            && (self.bound.is_none() || self.lanes.is_device(lane));
        may.then(|| self.trace.footprint(at))
    }

    /// What is left of the search below its root, roughly: the part of
    /// the tree that has been seen.
    pub fn seen(&self) -> f64 {
        let (mut seen, mut share) = (0.0, 1.0);
        for node in &self.stack[self.root..] {
            let all = f64::from((node.backtrack & !node.asleep()).count_ones().max(1));
            seen += share * f64::from(node.done.count_ones()) / all;
            share /= all;
        }
        seen.min(1.0)
    }
}

/// What a request waits for, as far as races go.
pub(crate) fn waited(want: Want) -> Waited {
    match want {
        Want::Touch => Waited::No,
        Want::Lock(_) => Waited::Lock,
        Want::Zero(_) | Want::Wake => Waited::Others,
        Want::Event(_) => Waited::Event,
    }
}

/// What happens before whatever a lane does below a state: clocks, a row a lane.
#[derive(Default)]
struct Order {
    stride: usize,
    /// Lanes that can go on there, or are only held up by their CPU.
    able: LaneSet,
    /// Of those, with what lets them go on; of others, without.
    own: Vec<u32>,
    /// Of the lanes that are not `able`, with what lets them go on.
    waiting: Vec<u32>,
    least: Vec<u32>,
}

impl Order {
    fn find(&mut self, dfs: &Dfs, node: &Node) {
        self.stride = dfs.trace.stride();
        self.able = node.enabled | node.interrupted | node.masked;
        self.own.clear();
        self.own.resize(MOST_LANES * self.stride, 0);
        for lane in 0..MOST_LANES as Lane {
            if let Some(clock) = dfs.trace.clock_of(lane) {
                self.own[row(lane, self.stride)].copy_from_slice(clock);
            }
        }
        self.least.clear();
        for lane in each(self.able) {
            let clock = &mut self.own[row(lane, self.stride)];
            // What its CPU holds back may have waited for long, or not wait yet.
            if !dfs.lanes.is_cpu(lane)
                && node.enabled & bit(lane) != 0
                && let Some(event) = dfs.enabler(lane)
            {
                dfs.trace.join_event(clock, event);
            }
            if self.least.is_empty() {
                self.least.extend_from_slice(clock);
            } else {
                let both = self.least.iter_mut().zip(clock);
                both.for_each(|(one, other)| *one = (*one).min(*other));
            }
        }
        // Who can do nothing yet waits for one of those, whichever it is.
        self.waiting.clone_from(&self.own);
        for lane in 0..MOST_LANES as Lane {
            join(&mut self.waiting[row(lane, self.stride)], &self.least);
        }
    }

    fn before(&self, lane: Lane, waited: Waited) -> &[u32] {
        let able = self.able & bit(lane) != 0;
        match (able, waited) {
            (false, Waited::No) => &self.waiting[row(lane, self.stride)],
            // Who waited could have come before what it waits for.
            _ => &self.own[row(lane, self.stride)],
        }
    }
}

fn row(lane: Lane, stride: usize) -> std::ops::Range<usize> {
    let from = usize::from(lane) * stride;
    from..from + stride
}
