//! The search: rounds of items, on as many workers as there are.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};

use serde::{Deserialize, Serialize};

use super::dfs::{Dfs, Way};
use super::item::{self, Item};
use super::lanes::{LaneSet, Lanes};
use super::visited::{Known, Visited};
use super::{Outcome, Program, Reduction, Runner, Schedule};
use crate::{ActorId, Choice, Chooser, End};

/// Steps in which a search stays one item at each bound: what is split is searched in part twice,
/// since nobody knows what the others' steps touch, so small searches do better alone.
const ALONE: u64 = 1 << 20;
/// Schedules that an item makes in the first round; more later.
const FIRST_QUOTA: u64 = 256;
/// And at most.
const MOST_QUOTA: u64 = 1 << 12;
/// Items that a round has, if the search can be split into so many.
const ITEMS: usize = 16;

/// A search, between two rounds: what a checkpoint holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Search {
    cpus: u16,
    reduction: Reduction,
    /// The most preemptions, of the whole search and of the part at hand.
    most: Option<u32>,
    bound: Option<u32>,
    quota: u64,
    items: Vec<Item>,
    /// A choice was left out at the present bound.
    cut: bool,
    found: Found,
    known: Known,
}

/// What a search has found so far.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Found {
    /// Schedules run to their end, over all bounds.
    pub schedules: u64,
    /// Runs that were left when it turned out that others go where they go.
    pub redundant: u64,
    /// Schedules that failed.
    pub failing: u64,
    /// Steps taken.
    pub steps: u64,
    /// Verdict words of first violations.
    pub words: BTreeSet<String>,
    /// The first failing schedule: its number, its preemptions, its choices.
    pub first: Option<(u64, u32, Schedule)>,
    /// The bound that is wholly searched; `None` before the first, or when there is none.
    pub bound: Option<u32>,
    /// Everything was searched that was to be.
    pub complete: bool,
    /// No choice was left out: it is every interleaving, whatever the bound.
    pub exhaustive: bool,
    /// A run was given up because it took too many steps.
    pub given_up: bool,
    /// Hashes of final states, if they were asked for.
    pub states: BTreeSet<u64>,
}

/// How far a search is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// What has been found.
    pub found: &'a Found,
    /// The bound at hand.
    pub bound: Option<u32>,
    /// The part of the tree at hand that has been seen, roughly: 0 to 1.
    pub seen: f64,
}

/// What an item gave in a round.
struct Part {
    item: Option<Item>,
    /// What it asks of the items that it came from, and its way there.
    asks: Vec<(usize, LaneSet)>,
    path: Item,
    fresh: Visited,
    found: Found,
    cut: bool,
    crowded: bool,
}

impl Search {
    /// A search of everything (`most` is `None`), or of what takes at most so many preemptions,
    /// from none up. The error says what the machine has too many of.
    pub fn new(cpus: u16, most: Option<u32>, reduction: Reduction) -> Result<Search, String> {
        if Lanes::new(cpus).is_none() {
            return Err(format!(
                "an exhaustive search tells 28 CPUs apart, and this machine has {cpus}"
            ));
        }
        Ok(Search {
            cpus,
            reduction,
            most,
            bound: most.map(|_| 0),
            quota: FIRST_QUOTA,
            items: vec![Item::root()],
            cut: false,
            found: Found::default(),
            known: Known::default(),
        })
    }

    /// What has been found so far.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// The most preemptions; `None` for a search of everything.
    pub fn most(&self) -> Option<u32> {
        self.most
    }

    /// How it leaves out schedules.
    pub fn reduction(&self) -> Reduction {
        self.reduction
    }

    /// Goes on for at most `runs` more, on `jobs` workers. `after_round` sees the state
    /// between rounds, and says whether to go on.
    pub fn run(
        &mut self,
        program: &dyn Program,
        jobs: usize,
        runs: u64,
        states: bool,
        after_round: &mut dyn FnMut(&Search, Progress<'_>) -> bool,
    ) -> Result<(), String> {
        let budget = self.found.runs().saturating_add(runs);
        let crew = Crew::new();
        std::thread::scope(|scope| {
            for _ in 0..jobs.max(1) {
                scope.spawn(|| program.on_worker(&mut |runner| crew.work(runner)));
            }
            let result = self.rounds(&crew, budget, states, after_round);
            crew.dismiss();
            result
        })
    }

    fn rounds(
        &mut self,
        crew: &Crew,
        budget: u64,
        states: bool,
        after_round: &mut dyn FnMut(&Search, Progress<'_>) -> bool,
    ) -> Result<(), String> {
        while !self.found.complete && self.found.runs() < budget {
            self.round(crew, budget, states)?;
            if self.items.is_empty() {
                self.next_bound();
            }
            let seen = self
                .items
                .iter()
                .fold(1.0, |seen, it| seen - it.share * (1.0 - it.seen));
            let progress = Progress {
                found: &self.found,
                bound: self.bound,
                seen,
            };
            if !after_round(self, progress) {
                break;
            }
        }
        Ok(())
    }

    /// Nothing is left at this bound.
    fn next_bound(&mut self) {
        self.found.bound = self.bound;
        self.found.exhaustive = !self.cut && !self.found.given_up;
        match (self.bound, self.most) {
            (Some(bound), Some(most)) if bound < most && self.cut => {
                self.bound = Some(bound + 1);
                self.items = vec![Item::root()];
                self.quota = FIRST_QUOTA;
                self.cut = false;
                self.known = Known::default();
            }
            _ => {
                self.found.bound = self.most;
                self.found.complete = !self.found.given_up;
            }
        }
    }

    fn round(&mut self, crew: &Crew, budget: u64, states: bool) -> Result<(), String> {
        let mut left = budget - self.found.runs();
        let mut orders = Vec::new();
        let lanes = Lanes::new(self.cpus).expect("checked by new");
        for (place, item) in self.items.iter().enumerate() {
            let alone = item.is_root();
            let quota = match item.stuck(lanes, self.bound) {
                true => 0,
                false if alone => left,
                false => self.quota.min(left),
            };
            left -= quota;
            orders.push(Order {
                place,
                item: item.clone(),
                quota,
                steps: if alone { ALONE } else { u64::MAX },
                lanes,
                bound: self.bound,
                reduction: self.reduction,
                known: self.known.clone(),
                states,
            });
        }
        let Some(parts) = crew.do_all(orders) else {
            return Err("a worker ended early".to_string());
        };
        let mut items = Vec::new();
        let mut asked = Vec::new();
        let mut fresh = Vec::new();
        for part in parts {
            if part.crowded {
                return Err(
                    "the machine has more transfers in flight than a search can tell apart"
                        .to_string(),
                );
            }
            self.found.add(part.found);
            self.cut |= part.cut;
            asked.push((part.path, part.asks));
            fresh.push(part.fresh);
            items.extend(part.item);
        }
        for (path, asks) in asked {
            for (at, lanes) in asks {
                item::deliver(&mut items, &path, at, lanes);
            }
        }
        let visited = Arc::make_mut(&mut self.known.visited);
        for fresh in fresh {
            visited.learn(fresh);
        }
        item::release(&mut items);
        self.items = items;
        self.split();
        self.quota = (self.quota * 2).min(MOST_QUOTA);
        Ok(())
    }

    /// Splits items, the largest first, until there are enough for many workers.
    fn split(&mut self) {
        let lanes = Lanes::new(self.cpus).expect("checked by new");
        let mut at = 0;
        while at < self.items.len() && self.items.len() < ITEMS {
            match self.items[at].split(lanes, self.bound) {
                Some(rest) => {
                    self.items.insert(at + 1, rest);
                    at += 2;
                }
                None => at += 1,
            }
        }
    }
}

impl Found {
    /// Runs made, whole or left.
    pub fn runs(&self) -> u64 {
        self.schedules + self.redundant
    }

    fn add(&mut self, part: Found) {
        if self.first.is_none()
            && let Some((number, preemptions, schedule)) = part.first
        {
            self.first = Some((self.schedules + number, preemptions, schedule));
        }
        self.schedules += part.schedules;
        self.redundant += part.redundant;
        self.failing += part.failing;
        self.steps += part.steps;
        self.words.extend(part.words);
        self.given_up |= part.given_up;
        self.states.extend(part.states);
    }
}

/// An item, and how far to take it.
struct Order {
    place: usize,
    item: Item,
    quota: u64,
    /// It makes no further schedule when it has taken so many.
    steps: u64,
    lanes: Lanes,
    bound: Option<u32>,
    reduction: Reduction,
    known: Known,
    states: bool,
}

/// What a worker sends: an order's place and what it gave, or that the worker is no more.
type Delivery = Option<(usize, Part)>;

/// Tells the search of a worker's panic, which is passed on when the crew is dismissed.
struct Alarm<'a>(&'a mpsc::Sender<Delivery>);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.send(None);
        }
    }
}

/// Workers, and what is between them and the search.
struct Crew {
    orders: Mutex<mpsc::Receiver<Order>>,
    give: Mutex<Option<mpsc::Sender<Order>>>,
    parts: Mutex<mpsc::Receiver<Delivery>>,
    take: Mutex<mpsc::Sender<Delivery>>,
}

impl Crew {
    fn new() -> Crew {
        let (give, orders) = mpsc::channel();
        let (take, parts) = mpsc::channel();
        Crew {
            orders: Mutex::new(orders),
            give: Mutex::new(Some(give)),
            parts: Mutex::new(parts),
            take: Mutex::new(take),
        }
    }

    fn work(&self, runner: &mut dyn Runner) {
        let take = self.take.lock().expect("no worker panics with it").clone();
        let _alarm = Alarm(&take);
        loop {
            let order = self.orders.lock().expect("no worker panics with it").recv();
            let Ok(order) = order else { break };
            let place = order.place;
            if take.send(Some((place, order.carry_out(runner)))).is_err() {
                break;
            }
        }
    }

    fn do_all(&self, orders: Vec<Order>) -> Option<Vec<Part>> {
        let count = orders.len();
        {
            let give = self.give.lock().expect("only the search gives");
            let give = give.as_ref().expect("the crew is there until dismissed");
            for order in orders {
                give.send(order).expect("workers take until dismissed");
            }
        }
        let parts = self.parts.lock().expect("only the search takes");
        let mut done = Vec::new();
        for _ in 0..count {
            done.push(parts.recv().ok()??);
        }
        done.sort_by_key(|it: &(usize, Part)| it.0);
        Some(done.into_iter().map(|it| it.1).collect())
    }

    fn dismiss(&self) {
        self.give.lock().expect("only the search gives").take();
    }
}

impl Order {
    fn carry_out(self, runner: &mut dyn Runner) -> Part {
        let mut dfs = self
            .item
            .resume(self.lanes, self.bound, self.reduction, &self.known);
        drop(self.known);
        let mut found = Found::default();
        let mut more = !self.item.waits() || dfs.advance();
        let dfs = Rc::new(RefCell::new(dfs));
        while more && found.runs() < self.quota && found.steps <= self.steps {
            dfs.borrow_mut().begin();
            let outcome = runner.run(Box::new(Pilot(Rc::clone(&dfs))));
            let mut dfs = dfs.borrow_mut();
            found.note(&dfs, outcome, self.states);
            more = !dfs.crowded && dfs.advance();
        }
        let mut dfs = dfs.borrow_mut();
        Part {
            item: Item::of(&dfs, more, self.item.share),
            asks: std::mem::take(&mut dfs.asks),
            fresh: dfs.take_fresh(),
            path: self.item,
            found,
            cut: dfs.cut,
            crowded: dfs.crowded,
        }
    }
}

impl Found {
    fn note(&mut self, dfs: &Dfs, outcome: Outcome, states: bool) {
        self.steps += outcome.steps;
        if dfs.way() == Way::Redundant {
            self.redundant += 1;
            return;
        }
        self.schedules += 1;
        self.given_up |= !outcome.whole;
        if states {
            self.states.insert(outcome.state);
        }
        if outcome.violation.is_none() {
            return;
        }
        self.failing += 1;
        self.words
            .extend(outcome.words.iter().map(ToString::to_string));
        if self.first.is_none() {
            self.first = Some((self.schedules, dfs.preemptions(), dfs.schedule()));
        }
    }
}

/// The chooser that a search drives.
struct Pilot(Rc<RefCell<Dfs>>);

impl Chooser for Pilot {
    fn choose(&mut self, choice: &Choice<'_>) -> Result<ActorId, String> {
        self.0.borrow_mut().choose(choice)
    }

    fn reseed(&mut self, _seed: u64) {}

    fn lead(&self, all: &mut Vec<ActorId>) {
        self.0.borrow().lead(all);
    }

    fn tracks(&self) -> bool {
        true
    }

    fn ended(&mut self, end: &End<'_>) -> Result<(), String> {
        self.0.borrow_mut().ended(end);
        Ok(())
    }
}

/// The chooser of a search's first schedule: a CPU goes on for as long as it can.
///
/// # Panics
///
/// When there are more CPUs than a search can tell apart.
pub fn first_schedule(cpus: u16) -> Box<dyn Chooser> {
    Box::new(super::Follow::new([], cpus, Rc::default()))
}
