//! One-shot timers, in the order in which they expire.

use std::collections::BTreeMap;

/// Armed timers, ordered by deadline; of two with the same deadline the one armed first
/// expires first.
///
/// ```
/// let mut timers = devices::Timers::new();
/// let tick = timers.arm(2_000, 7);
/// timers.arm(1_000, 8);
/// assert_eq!(timers.next_deadline(), Some(1_000));
/// assert_eq!(timers.pop(Some(999)), None);
/// assert_eq!(timers.pop(Some(1_500)), Some(8));
/// assert_eq!(timers.cancel(tick), Some(7));
/// assert_eq!(timers.pop(None), None);
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Timers {
    /// (deadline, sequence) to token.
    armed: BTreeMap<(u64, u64), u64>,
    next_sequence: u64,
}

/// One arming of a timer. Sequence numbers are never used twice, so the id of a timer that has
/// expired names nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TimerId {
    deadline: u64,
    sequence: u64,
}

impl TimerId {
    /// When it expires, in cycles.
    #[inline]
    pub fn deadline(self) -> u64 {
        self.deadline
    }
}

impl Timers {
    /// No timer armed.
    pub fn new() -> Timers {
        Timers::default()
    }

    /// Arms a timer that expires at `deadline` cycles; `token` is handed back then.
    pub fn arm(&mut self, deadline: u64, token: u64) -> TimerId {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.armed.insert((deadline, sequence), token);
        TimerId { deadline, sequence }
    }

    /// Disarms a timer and hands back its token; `None` when it has expired or was cancelled.
    pub fn cancel(&mut self, timer: TimerId) -> Option<u64> {
        self.armed.remove(&(timer.deadline, timer.sequence))
    }

    /// The earliest deadline, in cycles.
    #[inline]
    pub fn next_deadline(&self) -> Option<u64> {
        self.armed
            .first_key_value()
            .map(|(&(deadline, _), _)| deadline)
    }

    /// Takes the token of the earliest timer that has expired by `now`; with `None`, of the
    /// earliest timer whatever its deadline.
    pub fn pop(&mut self, now: Option<u64>) -> Option<u64> {
        let first = self.armed.first_entry()?;
        let expired = now.is_none_or(|now| first.key().0 <= now);
        expired.then(|| first.remove())
    }

    /// (deadline, token) of every armed timer, in the order in which they expire.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.armed
            .iter()
            .map(|(&(deadline, _), &token)| (deadline, token))
    }

    /// True when nothing is armed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.armed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_deadlines_expire_in_the_order_of_arming() {
        let mut timers = Timers::new();
        timers.arm(5, 30);
        timers.arm(5, 10);
        timers.arm(4, 20);
        timers.arm(5, 10);
        assert_eq!(
            timers.iter().collect::<Vec<_>>(),
            [(4, 20), (5, 30), (5, 10), (5, 10)]
        );
        let order: Vec<_> = std::iter::from_fn(|| timers.pop(None)).collect();
        assert_eq!(order, [20, 30, 10, 10]);
        assert!(timers.is_empty());
    }

    #[test]
    fn a_timer_expires_at_its_deadline_and_not_before() {
        let mut timers = Timers::new();
        timers.arm(100, 1);
        assert_eq!(timers.pop(Some(99)), None);
        assert_eq!(timers.next_deadline(), Some(100));
        assert_eq!(timers.pop(Some(100)), Some(1));
        assert_eq!(timers.next_deadline(), None);
    }

    #[test]
    fn cancelling_an_expired_timer_leaves_a_later_one_with_the_same_deadline() {
        let mut timers = Timers::new();
        let first = timers.arm(100, 1);
        assert_eq!(timers.pop(None), Some(1));
        let second = timers.arm(100, 2);
        assert_eq!(timers.cancel(first), None);
        assert_eq!(timers.cancel(second), Some(2));
        assert_eq!(timers.cancel(second), None);
    }
}
