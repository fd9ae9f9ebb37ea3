//! States that were gone on from to the end, and what was touched below each.

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::lanes::{Lane, LaneSet, Touched, each};
use super::merge::mix;
use super::table::Table;
use super::trace::Waited;

/// Bytes for what is remembered, roughly; then all is forgotten, which loses merges and no state.
const MOST_BYTES: usize = 512 << 20;
/// Bytes for what one item remembers in one round.
const MOST_FRESH: usize = 16 << 20;
/// Bytes that a table takes for each summary beside the summary.
const PLACE: usize = 64;

/// A touch by a lane below a state.
pub(crate) type Below = (Lane, Touched, Waited);

/// A reversal that may begin where the turn of the CPU began, before the state.
pub(crate) type Turn = (Lane, LaneSet);

/// What happens below a state: numbers of touches as a bit set, and reversals of its turn.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Summary {
    touches: Vec<u64>,
    pub turns: Vec<Turn>,
    /// Whether a reversal may be free if a CPU's turn ends where the CPU waits.
    pub yields: bool,
}

impl Summary {
    pub fn add(&mut self, number: u32) {
        let word = number as usize / 64;
        if word >= self.touches.len() {
            self.touches.resize(word + 1, 0);
        }
        self.touches[word] |= 1 << (number % 64);
    }

    fn clear(&mut self) {
        self.touches.clear();
        self.turns.clear();
        self.yields = false;
    }

    pub fn add_turn(&mut self, turn: Turn) {
        if let Err(place) = self.turns.binary_search(&turn) {
            self.turns.insert(place, turn);
        }
    }

    pub fn add_touches(&mut self, other: &Summary) {
        if other.touches.len() > self.touches.len() {
            self.touches.resize(other.touches.len(), 0);
        }
        for (word, more) in self.touches.iter_mut().zip(&other.touches) {
            *word |= more;
        }
        self.yields |= other.yields;
    }

    /// Bytes that it takes in a table, roughly: what is remembered must not depend on which touch
    /// has which number, so it is not the length of the set.
    fn bytes(&self) -> usize {
        let plain = size_of::<Summary>() + PLACE;
        let touches: u32 = self.touches.iter().map(|it| it.count_ones()).sum();
        plain + touches as usize + size_of_val(&self.turns[..])
    }

    fn hash(&self) -> u64 {
        let yields = u64::from(self.yields) + 1;
        let touches = self
            .touches
            .iter()
            .fold(yields, |hash, word| mix(hash, *word));
        let turns = self.turns.iter();
        turns.fold(touches, |hash, (lane, initials)| {
            mix(mix(hash, u64::from(*lane)), *initials)
        })
    }

    /// The numbers of its touches.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        let words = self.touches.iter().enumerate();
        words.flat_map(|(at, word)| each(*word).map(move |it| at as u32 * 64 + u32::from(it)))
    }
}

/// Summaries that are not used any more, whose memory others can use.
#[derive(Default)]
pub(crate) struct Spare(Vec<Summary>);

impl Spare {
    /// An empty summary.
    pub fn take(&mut self) -> Summary {
        self.0.pop().unwrap_or_default()
    }

    pub fn give(&mut self, mut summary: Summary) {
        summary.clear();
        self.0.push(summary);
    }
}

/// Touches and their numbers.
#[derive(Clone, Default, Debug)]
struct Numbered {
    all: Vec<Below>,
    by_touch: Table<(u64, u16), u32>,
}

impl Numbered {
    fn number(&mut self, below: Below) -> u32 {
        self.by_touch.get(packed(below)).unwrap_or_else(|| {
            let next = self.all.len() as u32;
            self.by_touch.set(packed(below), next);
            self.all.push(below);
            next
        })
    }
}

fn packed((lane, (object, touch), waited): Below) -> (u64, u16) {
    let how = u16::from(lane) << 4 | (touch as u16) << 2 | waited as u16;
    (object, how)
}

/// Touches numbered alike for all workers. Who comes first gets the lower number; nothing depends
/// on which that is.
#[derive(Clone, Default, Debug)]
pub(crate) struct Numbers {
    shared: Arc<Mutex<Numbered>>,
    /// What this worker knows of it.
    known: Numbered,
}

impl Numbers {
    pub fn number(&mut self, below: Below) -> u32 {
        match self.known.by_touch.get(packed(below)) {
            Some(number) => number,
            None => {
                let mut shared = self.shared.lock().expect("nobody panics with it");
                let number = shared.number(below);
                self.known.clone_from(&shared);
                number
            }
        }
    }

    pub fn below(&mut self, number: u32) -> Below {
        if number as usize >= self.known.all.len() {
            let shared = self.shared.lock().expect("nobody panics with it");
            self.known.clone_from(&shared);
        }
        self.known.all[number as usize]
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    state: u64,
    preemptions: u32,
    summary: u32,
    /// The entry of the same state before this one, and one.
    next: u32,
}

/// See the module.
#[derive(Clone, Default, Debug)]
pub(crate) struct Visited {
    /// For each state the last of its entries, and one: open addressing.
    slots: Vec<u32>,
    states: usize,
    entries: Vec<Entry>,
    summaries: Vec<Arc<Summary>>,
    /// Summaries by what they say: open addressing, numbers and one.
    by_summary: Vec<u32>,
    /// Bytes of the summaries.
    summed: usize,
}

impl Visited {
    /// What is below a state that was met with as few preemptions.
    pub fn find(&self, state: u64, preemptions: u32) -> Option<&Arc<Summary>> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.slots[self.slot(state)];
        while at != 0 {
            let entry = &self.entries[at as usize - 1];
            if entry.preemptions <= preemptions {
                return Some(&self.summaries[entry.summary as usize]);
            }
            at = entry.next;
        }
        None
    }

    /// A state was gone on from to the end, in this round.
    pub fn insert(&mut self, state: u64, preemptions: u32, summary: &Summary) {
        if self.bytes() < MOST_FRESH {
            let number = self.number(summary, || Arc::new(summary.clone()));
            self.add(state, preemptions, number);
        }
    }

    /// What an item met in a round is known to all in the next.
    pub fn learn(&mut self, fresh: Visited) {
        if self.bytes() + fresh.bytes() > MOST_BYTES {
            *self = Visited::default();
        }
        for entry in &fresh.entries {
            let summary = &fresh.summaries[entry.summary as usize];
            let number = self.number(summary, || Arc::clone(summary));
            self.add(entry.state, entry.preemptions, number);
        }
    }

    /// Bytes that it takes, roughly; the same for every number of workers and after reading back, so
    /// that it forgets at the same time.
    fn bytes(&self) -> usize {
        size_of_val(&self.slots[..]) + size_of_val(&self.entries[..]) + self.summed
    }

    fn add(&mut self, state: u64, preemptions: u32, summary: u32) {
        if (self.states + 1) * 2 > self.slots.len() {
            self.grow();
        }
        let at = self.slot(state);
        self.states += usize::from(self.slots[at] == 0);
        self.entries.push(Entry {
            state,
            preemptions,
            summary,
            next: self.slots[at],
        });
        self.slots[at] = self.entries.len() as u32;
    }

    /// Equal summaries are kept once.
    fn number(&mut self, summary: &Summary, keep: impl FnOnce() -> Arc<Summary>) -> u32 {
        if (self.summaries.len() + 1) * 2 > self.by_summary.len() {
            self.by_summary = vec![0; (self.by_summary.len() * 2).max(64)];
            for number in 0..self.summaries.len() {
                let place = self.place(&self.summaries[number]);
                self.by_summary[place] = number as u32 + 1;
            }
        }
        let place = self.place(summary);
        if self.by_summary[place] == 0 {
            self.summed += summary.bytes();
            self.summaries.push(keep());
            self.by_summary[place] = self.summaries.len() as u32;
        }
        self.by_summary[place] - 1
    }

    /// Where a summary's number is, or could be put.
    fn place(&self, summary: &Summary) -> usize {
        let mask = self.by_summary.len() - 1;
        let mut at = summary.hash() as usize & mask;
        while let Some(number) = self.by_summary[at].checked_sub(1) {
            if *self.summaries[number as usize] == *summary {
                break;
            }
            at = (at + 1) & mask;
        }
        at
    }

    fn slot(&self, state: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = mix(state, 11) as usize & mask;
        while self.slots[at] != 0 && self.entries[self.slots[at] as usize - 1].state != state {
            at = (at + 1) & mask;
        }
        at
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![0; (old.len() * 2).max(1024)];
        for entry in old.into_iter().filter(|it| *it != 0) {
            let at = self.slot(self.entries[entry as usize - 1].state);
            self.slots[at] = entry;
        }
    }
}

/// What is known between two rounds, as a checkpoint holds it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Saved {
    touches: Vec<Below>,
    summaries: Vec<Summary>,
    /// State, preemptions, summary.
    entries: Vec<(u64, u32, u32)>,
}

/// States and the numbers that their summaries are written in.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub(crate) struct Known {
    pub numbers: Numbers,
    pub visited: Arc<Visited>,
}

impl From<Known> for Saved {
    fn from(known: Known) -> Saved {
        let shared = known.numbers.shared.lock().expect("nobody panics with it");
        let visited = known.visited;
        let entries = visited.entries.iter();
        Saved {
            touches: shared.all.clone(),
            summaries: visited
                .summaries
                .iter()
                .map(|it| Summary::clone(it))
                .collect(),
            entries: entries
                .map(|it| (it.state, it.preemptions, it.summary))
                .collect(),
        }
    }
}

impl From<Saved> for Known {
    fn from(saved: Saved) -> Known {
        let mut table = Numbered::default();
        for below in saved.touches {
            table.number(below);
        }
        let summaries: Vec<_> = saved.summaries.into_iter().map(Arc::new).collect();
        let mut visited = Visited::default();
        for (state, preemptions, summary) in saved.entries {
            if let Some(summary) = summaries.get(summary as usize) {
                let number = visited.number(summary, || Arc::clone(summary));
                visited.add(state, preemptions, number);
            }
        }
        Known {
            numbers: Numbers {
                shared: Arc::new(Mutex::new(table.clone())),
                known: table,
            },
            visited: Arc::new(visited),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Touch;

    fn summary(numbers: &[u32]) -> Summary {
        let mut summary = Summary::default();
        numbers.iter().for_each(|it| summary.add(*it));
        summary
    }

    #[test]
    fn a_state_is_known_again_after_growing_if_it_was_met_with_as_few_preemptions() {
        let mut visited = Visited::default();
        for state in 0..5000 {
            assert!(visited.find(mix(state, 1), 9).is_none());
            visited.insert(mix(state, 1), 1, &summary(&[state as u32 % 7]));
        }
        for state in 0..5000 {
            let known = visited.find(mix(state, 1), 2).expect("met with fewer");
            assert_eq!(**known, summary(&[state as u32 % 7]));
            assert!(visited.find(mix(state, 1), 0).is_none());
        }
    }

    #[test]
    fn a_touch_keeps_its_number_for_every_worker_and_after_reading_back() {
        let mut one = Numbers::default();
        let mut other = one.clone();
        let below = |object| (2, (object, Touch::Write), Waited::No);
        let numbers: Vec<_> = (0..100).map(|it| one.number(below(it))).collect();
        assert_eq!(other.number(below(40)), numbers[40]);
        assert_eq!(other.below(numbers[99]), below(99));
        let visited = Arc::default();
        let known = Known {
            numbers: one,
            visited,
        };
        let text = serde_json::to_string(&known).expect("plain");
        let mut back: Known = serde_json::from_str(&text).expect("just written");
        assert_eq!(back.numbers.below(numbers[7]), below(7));
    }

    #[test]
    fn the_numbers_of_a_summary_are_those_that_were_added() {
        let mut all = summary(&[0, 63, 64, 200]);
        all.add_touches(&summary(&[1]));
        assert_eq!(all.numbers().collect::<Vec<_>>(), [0, 1, 63, 64, 200]);
    }
}
