//! A piece of a search: the stack below a prefix of choices, as it is kept between rounds.

use serde::{Deserialize, Serialize};

use super::Reduction;
use super::dfs::{Dfs, Node, Sleeper};
use super::lanes::{Lane, Lanes, Touched, bit, each};

/// The stack of a depth-first search, on disk and in memory the same.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Item {
    nodes: Vec<SavedNode>,
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
    frozen: bool,
    sleep: Vec<SavedSleeper>,
    slept: Vec<SavedSleeper>,
    /// What the chosen step touched, if it is known and may sleep elsewhere.
    step: Option<Vec<Touched>>,
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
            share: 1.0,
            seen: 0.0,
        }
    }

    /// The search goes on from here.
    pub fn resume(&self, lanes: Lanes, bound: Option<u32>, reduction: Reduction) -> Dfs {
        let mut dfs = Dfs::new(lanes, bound, reduction);
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
                frozen: it.frozen,
                sleep: load(&it.sleep),
                slept: load(&it.slept),
            })
            .collect();
        dfs
    }

    /// What is left of a search, after [`Dfs::advance`].
    pub fn of(dfs: &Dfs, share: f64) -> Item {
        Item {
            nodes: dfs
                .stack
                .iter()
                .enumerate()
                .map(|(at, it)| SavedNode {
                    chosen: it.chosen,
                    enabled: it.enabled,
                    interrupted: it.interrupted,
                    masked: it.masked,
                    backtrack: it.backtrack,
                    done: it.done,
                    preemptions: it.preemptions,
                    last_cpu: it.last_cpu,
                    frozen: it.frozen,
                    sleep: save(&it.sleep),
                    slept: save(&it.slept),
                    step: dfs.may_sleep(at).map(|it| it.to_vec()),
                })
                .collect(),
            share,
            seen: dfs.seen(),
        }
    }

    /// Splits off the other choices at the first node that has any: all of them, since races
    /// found below in this item are not told to the other any more. `None` if there are none.
    ///
    /// What this item is going through there counts as tried for the other, and sleeps there.
    pub fn split(&mut self, lanes: Lanes, bound: Option<u32>) -> Option<Item> {
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            if node.frozen {
                continue;
            }
            let asleep = node.sleep.iter().fold(0, |set, it| set | bit(it.0));
            let tried = node.done | bit(node.chosen);
            let open = node.enabled & !tried & !asleep;
            let within = each(open)
                .filter(|lane| bound.is_none_or(|most| node.dearness(lanes, *lane) <= most))
                .fold(0, |set, lane| set | bit(lane));
            if within == 0 {
                self.nodes[at].frozen = true;
                continue;
            }
            let mut nodes = self.nodes[..=at].to_vec();
            for node in &mut nodes[..at] {
                node.frozen = true;
            }
            let rest = &mut nodes[at];
            rest.done = tried;
            rest.backtrack = rest.enabled;
            if let Some(step) = rest.step.take() {
                rest.slept.push((rest.chosen, step));
            }
            rest.chosen = within.trailing_zeros() as Lane;
            for node in &mut self.nodes[..=at] {
                node.frozen = true;
            }
            self.share /= 2.0;
            return Some(Item {
                nodes,
                share: self.share,
                seen: 0.0,
            });
        }
        None
    }
}

impl SavedNode {
    fn dearness(&self, lanes: Lanes, lane: Lane) -> u32 {
        let leaves = self
            .last_cpu
            .is_some_and(|last| last != lane && (self.enabled | self.interrupted) & bit(last) != 0);
        self.preemptions + u32::from(lanes.is_cpu(lane) && leaves)
    }
}
