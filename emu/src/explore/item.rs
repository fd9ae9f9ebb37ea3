//! A piece of a search: the stack below a prefix of choices, as it is kept between rounds.

use serde::{Deserialize, Serialize};

use super::Reduction;
use super::dfs::{Dfs, Node, Sleeper};
use super::lanes::{Lane, LaneSet, Lanes, Touched, bit, each};
use super::visited::{Known, Summary};

/// The stack of a depth-first search, on disk and in memory the same.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Item {
    nodes: Vec<SavedNode>,
    /// Choices before this one are tried by other items.
    root: usize,
    /// It is done but for what others ask for.
    waits: bool,
    /// The part of the whole tree below its root, roughly.
    pub share: f64,
    /// The part of that which has been seen.
    pub seen: f64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct SavedNode {
    chosen: Lane,
    enabled: u64,
    interrupted: u64,
    masked: u64,
    backtrack: u64,
    done: u64,
    preemptions: u32,
    last_cpu: Option<Lane>,
    shared: bool,
    sleep: Vec<SavedSleeper>,
    slept: Vec<SavedSleeper>,
    /// What the chosen step touched, if it is known and may sleep elsewhere.
    step: Option<Vec<Touched>>,
    state: u64,
    below: Summary,
    turn: usize,
    partial: bool,
}

type SavedSleeper = (Lane, Vec<Touched>);

fn save(all: &[Sleeper]) -> Vec<SavedSleeper> {
    all.iter()
        .map(|it| (it.lane, it.footprint.to_vec()))
        .collect()
}

fn load(all: &[SavedSleeper]) -> Vec<Sleeper> {
    all.iter()
        .map(|(lane, footprint)| Sleeper {
            lane: *lane,
            footprint: footprint.as_slice().into(),
        })
        .collect()
}

impl Item {
    /// The whole tree.
    pub fn root() -> Item {
        Item {
            nodes: Vec::new(),
            root: 0,
            waits: false,
            share: 1.0,
            seen: 0.0,
        }
    }

    /// Whether it is the whole tree, and not begun.
    pub fn is_root(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether it is done but for what others ask for.
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// Whether there is nothing that it could do now.
    pub fn stuck(&self, lanes: Lanes, bound: Option<u32>) -> bool {
        let top = self.nodes.last();
        self.waits && top.is_some_and(|it| it.shared && it.open(lanes, bound).is_none())
    }

    /// The search goes on from here.
    pub fn resume(
        &self,
        lanes: Lanes,
        bound: Option<u32>,
        reduction: Reduction,
        known: &Known,
    ) -> Dfs {
        let mut dfs = Dfs::new(lanes, bound, reduction, known);
        dfs.root = self.root;
        dfs.stack = self
            .nodes
            .iter()
            .map(|it| Node {
                chosen: it.chosen,
                enabled: it.enabled,
                interrupted: it.interrupted,
                masked: it.masked,
                backtrack: it.backtrack,
                done: it.done,
                preemptions: it.preemptions,
                last_cpu: it.last_cpu,
                shared: it.shared,
                sleep: load(&it.sleep),
                slept: load(&it.slept),
                state: it.state,
                below: it.below.clone(),
                turn: it.turn,
                partial: it.partial,
            })
            .collect();
        dfs
    }

    /// What is left of a search, after [`Dfs::advance`]; `None` if nothing is.
    pub fn of(dfs: &Dfs, more: bool, share: f64) -> Option<Item> {
        if !more && !dfs.waits() {
            return None;
        }
        let nodes = dfs.stack.iter().enumerate();
        let nodes = nodes.map(|(at, it)| SavedNode {
            chosen: it.chosen,
            enabled: it.enabled,
            interrupted: it.interrupted,
            masked: it.masked,
            backtrack: it.backtrack,
            done: it.done,
            preemptions: it.preemptions,
            last_cpu: it.last_cpu,
            shared: it.shared,
            sleep: save(&it.sleep),
            slept: save(&it.slept),
            step: dfs.may_sleep(at).map(|it| it.to_vec()),
            state: it.state,
            below: it.below.clone(),
            turn: it.turn,
            partial: it.partial,
        });
        Some(Item {
            nodes: nodes.collect(),
            root: dfs.root,
            waits: !more,
            share,
            seen: dfs.seen(),
        })
    }

    /// Gives one choice at the first node that has any to another item; `None` if there are none.
    ///
    /// What this item is going through there sleeps for the other.
    pub fn split(&mut self, lanes: Lanes, bound: Option<u32>) -> Option<Item> {
        for at in self.root..self.nodes.len() {
            let node = &mut self.nodes[at];
            let Some(lane) = node.open(lanes, bound) else {
                continue;
            };
            node.done |= bit(lane);
            node.shared = true;
            node.partial = true;
            let mut nodes = self.nodes[..=at].to_vec();
            let first = &mut nodes[at];
            if let Some(step) = first.step.take() {
                first.slept.push((first.chosen, step));
            }
            first.chosen = lane;
            self.share /= 2.0;
            return Some(Item {
                root: nodes.len(),
                nodes,
                waits: false,
                share: self.share,
                seen: 0.0,
            });
        }
        None
    }

    /// Whether `other` tries a choice that was given to it at node `at` of this item.
    fn gave(&self, at: usize, other: &Item) -> bool {
        other.root > at && self.leads_to(at, other)
    }

    /// Whether node `at` is the same in both.
    fn leads_to(&self, at: usize, other: &Item) -> bool {
        at < self.nodes.len()
            && at < other.nodes.len()
            && self.nodes[..at]
                .iter()
                .zip(&other.nodes)
                .all(|(one, same)| one.chosen == same.chosen)
    }
}

/// Items that are done but for what others ask for need no longer wait when those are done.
pub(crate) fn release(items: &mut [Item]) {
    for place in 0..items.len() {
        for at in items[place].root..items[place].nodes.len() {
            let item = &items[place];
            let shared = item.nodes[at].shared
                && items
                    .iter()
                    .enumerate()
                    .any(|(other, it)| other != place && item.gave(at, it));
            items[place].nodes[at].shared = shared;
        }
    }
}

/// Tells the item whose node it is that lanes are to be tried at node `at` on the way to `asker`.
pub(crate) fn deliver(items: &mut [Item], asker: &Item, at: usize, lanes: LaneSet) {
    let owner = items
        .iter_mut()
        .find(|it| it.root <= at && it.leads_to(at, asker));
    let owner = owner.expect("an item does not leave a node below which others search");
    owner.nodes[at].backtrack |= lanes;
}

impl SavedNode {
    /// A choice that is to be tried and was not.
    fn open(&self, lanes: Lanes, bound: Option<u32>) -> Option<Lane> {
        let asleep = self.sleep.iter().fold(0, |set, it| set | bit(it.0));
        let open = self.backtrack & self.enabled & !self.done & !bit(self.chosen) & !asleep;
        each(open).find(|lane| bound.is_none_or(|most| self.dearness(lanes, *lane) <= most))
    }

    fn dearness(&self, lanes: Lanes, lane: Lane) -> u32 {
        let leaves = self
            .last_cpu
            .is_some_and(|last| last != lane && (self.enabled | self.interrupted) & bit(last) != 0);
        self.preemptions + u32::from(lanes.is_cpu(lane) && leaves)
    }
}
