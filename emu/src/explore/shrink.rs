//! Shrinking: from a failing schedule to one with fewer preemptions, then fewer steps.
//!
//! Every candidate is run: failures are not monotonic, so what was left out before may be needed
//! again. A candidate counts if the same oracle tells the same two sides.

use std::rc::Rc;

use super::schedule::{Follow, Followed};
use super::{Outcome, Runner, Schedule};
use crate::{ActorId, Violation};

/// A failing schedule, cut down.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// Who takes the steps, up to the violation; after that the CPU that is going goes on.
    pub schedule: Schedule,
    /// Preemptions up to the violation.
    pub preemptions: u32,
    /// What fails.
    pub violation: Violation,
    /// Runs that were made.
    pub runs: u64,
}

/// Cuts `schedule` down with at most so many runs. `None` if it does not fail as `like` does.
pub fn shrink(
    runner: &mut dyn Runner,
    cpus: u16,
    schedule: &Schedule,
    like: &Violation,
    most_runs: u64,
) -> Option<Shrunk> {
    let mut best = attempt(runner, cpus, schedule.turns().collect(), like)?;
    best.runs = 1;
    // Many turns at a time, as long as that helps.
    let mut size = best.schedule.turns().count() / 2;
    while size > 1 {
        let mut end = best.schedule.turns().count();
        while end >= size && best.runs < most_runs {
            let turns: Vec<_> = best.schedule.turns().collect();
            end = end.min(turns.len());
            let from = end.saturating_sub(size);
            let without = [&turns[..from], &turns[end..]].concat();
            best.runs += 1;
            best = better(attempt(runner, cpus, without, like), best);
            end = from;
        }
        size /= 2;
    }
    let mut at = best.schedule.turns().count();
    let mut improved = false;
    // From the last turn to the first, and again until nothing gets better.
    while at > 0 || std::mem::take(&mut improved) {
        let turns: Vec<_> = best.schedule.turns().collect();
        at = at.checked_sub(1).unwrap_or(turns.len()).min(turns.len());
        let Some(turn) = turns.get(at) else { continue };
        let mut longer = turns.clone();
        longer[at] = (turn.0, u32::MAX);
        let without = [&turns[..at], &turns[at + 1..]].concat();
        for candidate in [turns[..at].to_vec(), without, longer] {
            if best.runs >= most_runs {
                return Some(best);
            }
            best.runs += 1;
            let before = best.measure();
            best = better(attempt(runner, cpus, candidate, like), best);
            if best.measure() < before {
                improved = true;
                break;
            }
        }
    }
    Some(best)
}

/// What was found, if it is better than the best so far.
fn better(found: Option<Shrunk>, best: Shrunk) -> Shrunk {
    match found {
        Some(found) if found.measure() < best.measure() => Shrunk {
            runs: best.runs,
            ..found
        },
        _ => best,
    }
}

impl Shrunk {
    fn measure(&self) -> (u32, u64) {
        (self.preemptions, self.violation.step)
    }
}

fn attempt(
    runner: &mut dyn Runner,
    cpus: u16,
    turns: Vec<(ActorId, u32)>,
    like: &Violation,
) -> Option<Shrunk> {
    let (outcome, followed) = follow(runner, cpus, turns);
    let violation = outcome.violation.filter(|it| same(it, like))?;
    let steps = (violation.step as usize).min(followed.actors.len());
    Some(Shrunk {
        schedule: Schedule::of(followed.actors[..steps].iter().copied()),
        preemptions: steps
            .checked_sub(1)
            .map_or(0, |last| followed.preemptions[last]),
        violation,
        runs: 0,
    })
}

/// A run that follows these turns, and what it did.
pub(crate) fn follow(
    runner: &mut dyn Runner,
    cpus: u16,
    turns: Vec<(ActorId, u32)>,
) -> (Outcome, Followed) {
    let log = Rc::default();
    let outcome = runner.run(Box::new(Follow::new(turns, cpus, Rc::clone(&log))));
    let followed = std::mem::take(&mut *log.borrow_mut());
    (outcome, followed)
}

/// The same oracle and the same two sides: the sentences differ in nothing but numbers.
fn same(one: &Violation, other: &Violation) -> bool {
    let sides = |it: &Violation| -> String {
        it.message
            .chars()
            .filter(|it| !it.is_ascii_digit())
            .collect()
    };
    one.oracle == other.oracle && one.word == other.word && sides(one) == sides(other)
}
