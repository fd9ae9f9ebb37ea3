//! What happened in the execution at hand: who touched what, what happened before what, and which
//! pairs of steps race.
//!
//! An event's clock tells, for each lane, the last of its events that happens before it (vector
//! clocks). Two steps race if they conflict and nothing between them puts the one before the other.

use super::lanes::{Footprint, Lane, LaneSet, Lanes, Touched, bit};
use super::table::Table;
use crate::Touch as How;

/// A touch of an object by an event.
#[derive(Clone, Copy)]
struct Touch {
    object: u32,
    event: u32,
    how: How,
    /// The touch of the same object before this one, and the last before it that does not commute
    /// with it; 0 for none, else its number and one.
    prev: u32,
    prev_other: u32,
}

#[derive(Clone, Copy)]
struct Event {
    lane: Lane,
    first_touch: u32,
    /// The lane's event before this one, and one; 0 for none.
    prev: u32,
}

/// What a step waited for, as far as races go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) enum Waited {
    /// Nothing.
    No,
    /// A spinlock: it cannot come between another's taking and releasing it.
    Lock,
    /// Something that only others can bring about: it cannot come before that.
    Others,
    /// An event: it cannot come before that has happened, and could come before all that followed.
    Event,
}

/// A step that could have come before an earlier one.
pub(crate) struct Race {
    /// The earlier event.
    pub first: usize,
    /// Lanes whose next step before `first` would begin the reversal.
    pub initials: LaneSet,
}

/// The events of an execution. Memory grows with its length.
pub(crate) struct Trace {
    lanes: Lanes,
    /// Lanes that clocks cover.
    stride: usize,
    events: Vec<Event>,
    clocks: Vec<u32>,
    touches: Vec<Touch>,
    objects: Table<u64, u32>,
    names: Vec<u64>,
    /// The last touch of each object, and one.
    heads: Vec<u32>,
    /// The last event of each lane, and one.
    last: Vec<u32>,
    base: Vec<u32>,
    joined: Vec<u32>,
    /// Whether a step that waited races with what let it go on, too: whoever waits gives its CPU
    /// up for nothing, which matters when preemptions are counted.
    bounded: bool,
}

impl Trace {
    pub fn new(lanes: Lanes, bounded: bool) -> Trace {
        let stride = lanes.processors() + 2;
        Trace {
            lanes,
            stride,
            events: Vec::new(),
            clocks: Vec::new(),
            touches: Vec::new(),
            objects: Table::default(),
            names: Vec::new(),
            heads: Vec::new(),
            last: vec![0; stride],
            base: Vec::new(),
            joined: Vec::new(),
            bounded,
        }
    }

    pub fn len(&self) -> usize {
        self.events.len()
    }

    fn clock(&self, event: usize) -> &[u32] {
        &self.clocks[event * self.stride..][..self.stride]
    }

    /// Whether one event happens before another.
    pub fn before(&self, one: usize, other: usize) -> bool {
        covers(self.clock(other), self.events[one].lane, one)
    }

    /// Lanes that clocks cover.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The clock of the last event of a lane: what happens before all that the lane does next.
    /// `None` if it did nothing yet.
    pub fn clock_of(&self, lane: Lane) -> Option<&[u32]> {
        let last = self.last.get(usize::from(lane))?.checked_sub(1)?;
        Some(self.clock(last as usize))
    }

    /// What happens before an event, and the event itself, joined to a clock.
    pub fn join_event(&self, clock: &mut [u32], event: usize) {
        join(clock, self.clock(event));
    }

    /// Whether an event of another lane that `base` does not cover conflicts with this touch.
    pub fn rivals(&self, lane: Lane, (object, how): Touched, base: &[u32]) -> bool {
        let Some(object) = self.objects.get(object) else {
            return false;
        };
        let mut any = false;
        let mut at = self.heads[object as usize];
        while at != 0 && !any {
            let touch = self.touches[at as usize - 1];
            let who = self.events[touch.event as usize].lane;
            let known = base[usize::from(who)] > touch.event;
            any = who != lane && !known && !touch.how.commutes(how);
            // What came before one that is known is known too, if they conflict.
            at = if known && !touch.how.commutes(touch.how) {
                0
            } else {
                touch.prev
            };
        }
        any
    }

    /// What an event touched, for sleep sets.
    pub fn footprint(&self, event: usize) -> Footprint {
        let from = self.events[event].first_touch as usize;
        let to = self
            .events
            .get(event + 1)
            .map_or(self.touches.len(), |next| next.first_touch as usize);
        let touches = self.touches[from..to].iter();
        touches
            .map(|it| (self.names[it.object as usize], it.how))
            .collect()
    }

    /// Clocks grow when a device comes that was not there before.
    fn make_room(&mut self, lane: Lane) {
        let need = usize::from(lane) + 1;
        if need <= self.stride {
            return;
        }
        let stride = need.next_multiple_of(4);
        let mut clocks = vec![0; self.events.len() * stride];
        for event in 0..self.events.len() {
            clocks[event * stride..][..self.stride].copy_from_slice(self.clock(event));
        }
        self.clocks = clocks;
        self.stride = stride;
        self.last.resize(stride, 0);
    }

    /// Forgets the events from number `len` on.
    pub fn truncate(&mut self, len: usize) {
        while self.events.len() > len {
            let event = self.events.pop().expect("there are more than `len`");
            while self.touches.len() > event.first_touch as usize {
                let touch = self.touches.pop().expect("there are more");
                self.heads[touch.object as usize] = touch.prev;
            }
            self.last[usize::from(event.lane)] = event.prev;
        }
        self.clocks.truncate(len * self.stride);
    }

    /// Adds a step, and tells its races with earlier ones. `before` tells who could go on before an
    /// event, and whom its own CPU held back.
    pub fn push(
        &mut self,
        lane: Lane,
        touched: &[Touched],
        waited: Waited,
        later: Option<&[u32]>,
        before: &dyn Fn(usize) -> (LaneSet, LaneSet),
        races: &mut Vec<Race>,
    ) {
        self.make_room(lane);
        let number = self.events.len();
        let prev = self.last[usize::from(lane)];
        let mut base = std::mem::take(&mut self.base);
        base.clear();
        match prev {
            0 => base.resize(self.stride, 0),
            prev => base.extend_from_slice(self.clock(prev as usize - 1)),
        }
        if let Some(later) = later {
            join(&mut base, later);
        }
        let mut joined = std::mem::take(&mut self.joined);
        joined.clone_from(&base);
        let mut rivals: Vec<usize> = Vec::new();
        let mut lock_rival = None;
        for one in touched {
            let Some(object) = self.objects.get(one.0) else {
                continue;
            };
            match waited {
                Waited::Lock => lock_rival = self.last_taken(object),
                Waited::No | Waited::Others | Waited::Event => {}
            }
            self.conflicting(object, one.1, |event| rivals.push(event));
        }
        rivals.sort_unstable_by(|one, other| other.cmp(one));
        rivals.dedup();
        let mut found: Vec<usize> = Vec::new();
        if let Some(rival) = lock_rival
            && self.events[rival].lane != lane
            && !covers(&base, self.events[rival].lane, rival)
        {
            found.push(rival);
        }
        for &rival in &rivals {
            let who = self.events[rival].lane;
            if covers(&joined, who, rival) {
                continue;
            }
            if who == lane {
                continue;
            }
            let could = match waited {
                Waited::No => true,
                Waited::Lock | Waited::Others => Some(who) == self.lanes.sibling(lane),
                // Whether it waited is known of the very step.
                Waited::Event => later.is_some() || !waits(rival, lane, prev, before),
            };
            if could {
                found.push(rival);
            } else if self.bounded && before(rival).0 & bit(lane) != 0 {
                // It could have come as far as to wait, and given its CPU up for nothing.
                races.push(Race {
                    first: rival,
                    initials: bit(lane),
                });
            }
            join(&mut joined, self.clock(rival));
        }
        joined[usize::from(lane)] = number as u32 + 1;
        let first_touch = self.touches.len() as u32;
        self.clocks.extend_from_slice(&joined);
        self.events.push(Event {
            lane,
            first_touch,
            prev,
        });
        for rival in &mut found {
            *rival = self.began(*rival, lane, before);
        }
        found.dedup();
        for rival in found {
            if later.is_some() && before(rival).0 & bit(lane) == 0 {
                // Who could begin the reversal is not known.
                races.push(Race {
                    first: rival,
                    initials: before(rival).0,
                });
            }
            if let Some(race) = self.race(rival, number, &base, touched, before) {
                races.push(race);
            }
        }
        for one in touched {
            self.note(*one, number as u32);
        }
        self.last[usize::from(lane)] = number as u32 + 1;
        self.base = base;
        self.joined = joined;
    }

    /// The first step of the handler that `event` is part of, if it is one on top of the CPU `lane`,
    /// which cannot go on before the handler is over; else `event`.
    fn began(
        &self,
        mut event: usize,
        lane: Lane,
        before: &dyn Fn(usize) -> (LaneSet, LaneSet),
    ) -> usize {
        let handler = self.events[event].lane;
        if !self.lanes.is_cpu(lane) || self.lanes.sibling(lane) != Some(handler) {
            return event;
        }
        // A handler holds back interrupts, its own among them, until it is over.
        while before(event).1 & bit(handler) != 0 {
            match self.events[event].prev {
                0 => break,
                prev => event = prev as usize - 1,
            }
        }
        event
    }

    /// The race of event `number` with `rival` or, where nobody could have gone before that, with
    /// the nearest earlier conflicting event that somebody could have gone before.
    fn race(
        &self,
        rival: usize,
        number: usize,
        base: &[u32],
        touched: &[Touched],
        before: &dyn Fn(usize) -> (LaneSet, LaneSet),
    ) -> Option<Race> {
        let lane = self.events[number].lane;
        let mut first = rival;
        loop {
            let (enabled, masked) = before(first);
            // What comes after a step of the same CPU cannot take away what held the other back.
            let held =
                self.lanes.same_cpu(self.events[first].lane, lane) && masked & bit(lane) != 0;
            let can = if held {
                0
            } else {
                self.initials(first, number) & enabled
            };
            if can != 0 {
                return Some(Race {
                    first,
                    initials: can,
                });
            }
            let earlier = if self.lanes.same_cpu(self.events[first].lane, lane) {
                self.events[first].prev.checked_sub(1).map(|it| it as usize)
            } else {
                (0..first).rev().find(|&event| {
                    !self.lanes.same_cpu(self.events[event].lane, lane)
                        && self.touches_of(event, touched)
                })
            };
            first = earlier.filter(|&event| !covers(base, self.events[event].lane, event))?;
        }
    }

    fn touches_of(&self, event: usize, touched: &[Touched]) -> bool {
        let from = self.events[event].first_touch as usize;
        let to = self
            .events
            .get(event + 1)
            .map_or(self.touches.len(), |next| next.first_touch as usize);
        self.touches[from..to.max(from)].iter().any(|touch| {
            touched.iter().any(|one| {
                self.objects.get(one.0) == Some(touch.object)
                    && !one.1.commutes(touch.how)
                    && touch.how != How::Unlock
            })
        })
    }

    /// Lanes whose first step among those that `first` does not have to precede, up to `number`,
    /// needs none of the others.
    fn initials(&self, first: usize, number: usize) -> LaneSet {
        let lane = self.events[first].lane;
        let mut initials = 0;
        let mut seen: LaneSet = 0;
        let mut firsts = [0u32; super::lanes::MOST_LANES];
        for event in first + 1..=number {
            let clock = self.clock(event);
            let who = self.events[event].lane;
            // The reversal puts `number` itself before `first`, whatever orders them now.
            if (event != number && covers(clock, lane, first)) || seen & bit(who) != 0 {
                continue;
            }
            let needs = super::lanes::each(seen)
                .any(|other| clock[usize::from(other)] > firsts[usize::from(other)]);
            if !needs {
                initials |= bit(who);
            }
            seen |= bit(who);
            firsts[usize::from(who)] = event as u32;
        }
        initials
    }

    /// Earlier events that conflict with a touch: the last that does not commute with it, and
    /// those before that commute with that one.
    fn conflicting(&self, object: u32, how: How, mut take: impl FnMut(usize)) {
        let mut at = self.heads[object as usize];
        if at != 0 && self.touches[at as usize - 1].how.commutes(how) {
            at = self.touches[at as usize - 1].prev_other;
        }
        while at != 0 {
            let touch = self.touches[at as usize - 1];
            take(touch.event as usize);
            let before = touch.prev;
            let goes_on = before != 0 && self.touches[before as usize - 1].how.commutes(touch.how);
            at = if goes_on { before } else { 0 };
        }
    }

    /// The last event that touched a lock otherwise than by releasing it.
    fn last_taken(&self, object: u32) -> Option<usize> {
        let mut at = self.heads[object as usize];
        while at != 0 {
            let touch = self.touches[at as usize - 1];
            if touch.how != How::Unlock {
                return Some(touch.event as usize);
            }
            at = touch.prev;
        }
        None
    }

    fn note(&mut self, one: Touched, event: u32) {
        let object = self.objects.get(one.0).unwrap_or_else(|| {
            let next = self.names.len() as u32;
            self.objects.set(one.0, next);
            self.heads.push(0);
            self.names.push(one.0);
            next
        });
        let prev = self.heads[object as usize];
        let prev_other = match prev {
            0 => 0,
            prev => {
                let before = self.touches[prev as usize - 1];
                if before.how.commutes(one.1) {
                    before.prev_other
                } else {
                    prev
                }
            }
        };
        self.touches.push(Touch {
            object,
            event,
            how: one.1,
            prev,
            prev_other,
        });
        self.heads[object as usize] = self.touches.len() as u32;
    }
}

/// Whether a lane whose event before this one is `prev`, less one, waited before event `rival`.
fn waits(
    rival: usize,
    lane: Lane,
    prev: u32,
    before: &dyn Fn(usize) -> (LaneSet, LaneSet),
) -> bool {
    let (enabled, masked) = before(rival);
    prev as usize <= rival && (enabled | masked) & bit(lane) == 0
}

fn covers(clock: &[u32], lane: Lane, event: usize) -> bool {
    clock[usize::from(lane)] > event as u32
}

pub(super) fn join(into: &mut [u32], other: &[u32]) {
    for (one, other) in into.iter_mut().zip(other) {
        *one = (*one).max(*other);
    }
}
