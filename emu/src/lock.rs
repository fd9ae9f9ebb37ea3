//! Locks: spinning ones that CPUs wait at, sleeping ones with fair queues, the order they are
//! taken in, and who waits for whom.
//!
//! The mechanism is here; the guest kernel has the classes, and wakes the sleepers.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;

use rand_chacha::ChaCha8Rng;
use rand_core::RngCore;

use crate::report::Waiting;
use crate::{Access, ContextId, Kind, LockId, Machine, Object, Request, ThreadId, Want, Word};

/// A class of locks: what they guard, and how one waits for them.
#[derive(PartialEq, Eq, Debug)]
pub struct LockClass {
    /// Its name in messages.
    pub name: &'static str,
    /// Whether one sleeps while waiting; else one spins.
    pub sleeps: bool,
}

/// How a sleeping lock is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Alone.
    Exclusive,
    /// With others that share it.
    Shared,
}

struct Lock {
    class: &'static LockClass,
    exclusive: Option<ContextId>,
    shared: Vec<ContextId>,
    queue: VecDeque<(ThreadId, Mode)>,
    spinners: Vec<usize>,
    /// Locks that were taken while this one was held.
    before: Vec<LockId>,
    /// Whether it is in the `before` of another.
    follows: bool,
}

impl Lock {
    /// Ends a hold of `owner`; tells whether there was one.
    fn let_go(&mut self, mode: Mode, owner: ContextId) -> bool {
        match mode {
            Mode::Exclusive => self.exclusive.take_if(|holder| *holder == owner).is_some(),
            Mode::Shared => {
                let at = self.shared.iter().position(|holder| *holder == owner);
                at.map(|at| self.shared.remove(at)).is_some()
            }
        }
    }
}

/// All locks of a machine.
#[derive(Default)]
pub(crate) struct LockTable {
    locks: Vec<Lock>,
    free: Vec<LockId>,
    class_order: Vec<(&'static str, &'static str)>,
    remembered: (usize, Vec<LockId>),
}

impl LockTable {
    fn of(&self, id: LockId) -> &Lock {
        &self.locks[id.0 as usize]
    }

    fn of_mut(&mut self, id: LockId) -> &mut Lock {
        &mut self.locks[id.0 as usize]
    }

    #[inline]
    pub(crate) fn is_free(&self, id: LockId) -> bool {
        let lock = self.of(id);
        lock.exclusive.is_none() && lock.shared.is_empty()
    }

    pub(crate) fn add_spinner(&mut self, id: LockId, slot: usize) {
        let spinners = &mut self.of_mut(id).spinners;
        if !spinners.contains(&slot) {
            spinners.push(slot);
        }
    }

    /// One of those that spin for `id`, at random among the ones that `can` take it now.
    pub(crate) fn pick_spinner(
        &mut self,
        id: LockId,
        rng: &RefCell<ChaCha8Rng>,
        can: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let spinners = &mut self.of_mut(id).spinners;
        let count = spinners.len();
        if count == 0 {
            return None;
        }
        let start = match count {
            1 => 0,
            _ => ((u64::from(rng.borrow_mut().next_u32()) * count as u64) >> 32) as usize,
        };
        let at = (0..count)
            .map(|offset| (start + offset) % count)
            .find(|at| can(spinners[*at]))?;
        Some(spinners.swap_remove(at))
    }

    fn create(&mut self, class: &'static LockClass) -> LockId {
        let lock = Lock {
            class,
            exclusive: None,
            shared: Vec::new(),
            queue: VecDeque::new(),
            spinners: Vec::new(),
            before: Vec::new(),
            follows: false,
        };
        if let Some(id) = self.free.pop() {
            self.locks[id.0 as usize] = lock;
            return id;
        }
        self.locks.push(lock);
        LockId(self.locks.len() as u32 - 1)
    }

    /// The locks of now are those that [`LockTable::reset`] leaves, free.
    pub(crate) fn remember(&mut self) {
        self.remembered = (self.locks.len(), self.free.clone());
    }

    pub(crate) fn reset(&mut self) {
        self.locks.truncate(self.remembered.0);
        for lock in &mut self.locks {
            lock.exclusive = None;
            lock.shared.clear();
            lock.queue.clear();
            lock.spinners.clear();
            lock.before.clear();
            lock.follows = false;
        }
        self.free.clone_from(&self.remembered.1);
        self.class_order.clear();
    }

    fn destroy(&mut self, id: LockId) {
        if self.of(id).follows {
            for lock in &mut self.locks {
                lock.before.retain(|after| *after != id);
            }
        }
        self.of_mut(id).before.clear();
        self.free.push(id);
    }

    /// Whether a chain of "taken before" leads from one lock to another.
    fn precedes(&self, first: LockId, last: LockId) -> bool {
        let mut seen = vec![first];
        let mut next = 0;
        while let Some(&lock) = seen.get(next) {
            next += 1;
            for &after in &self.of(lock).before {
                if after == last {
                    return true;
                }
                if !seen.contains(&after) {
                    seen.push(after);
                }
            }
        }
        false
    }

    /// Notes that `taken` is taken under `held`; tells if that inverts the order.
    fn order(&mut self, held: LockId, taken: LockId) -> Option<Inversion> {
        if self.of(held).before.contains(&taken) {
            return None;
        }
        let inverted = held != taken && self.precedes(taken, held);
        self.of_mut(held).before.push(taken);
        self.of_mut(taken).follows = true;
        let classes = (self.of(held).class.name, self.of(taken).class.name);
        let class_inverted = classes.0 != classes.1
            && !self.class_order.contains(&classes)
            && self.class_order.contains(&(classes.1, classes.0));
        if !self.class_order.contains(&classes) {
            self.class_order.push(classes);
        }
        match (inverted, class_inverted) {
            (true, _) => Some(Inversion::Instances),
            (false, true) => Some(Inversion::Classes),
            _ => None,
        }
    }

    fn holders(&self, id: LockId) -> impl Iterator<Item = ContextId> + '_ {
        let lock = self.of(id);
        lock.exclusive.iter().chain(&lock.shared).copied()
    }
}

enum Inversion {
    Instances,
    Classes,
}

/// Which numbers locks have: who comes first gets the lower one.
pub const LOCK_NUMBERS: Object = Object::new(Kind::Lock, 1 << 48);

impl<'w> Machine<'w> {
    /// A new lock, free.
    pub fn new_lock(&self, class: &'static LockClass) -> LockId {
        self.touch(LOCK_NUMBERS, crate::Touch::Write);
        self.locks.borrow_mut().create(class)
    }

    /// A lock is no more. One that is held or waited for is an error of the guest's: `lifetime`.
    pub fn destroy_lock(&self, id: LockId) {
        self.touch(LOCK_NUMBERS, crate::Touch::Write);
        let (free, name) = {
            let locks = self.locks.borrow();
            (
                locks.is_free(id) && locks.of(id).queue.is_empty(),
                locks.of(id).class.name,
            )
        };
        if !free {
            let message = format!(
                "{} destroyed the {name} lock {} while it was held or waited for",
                self.name_of(self.context()),
                id.0
            );
            let focus = vec![lock_object(id)];
            return self.violate("lifetime", "UAF", message, focus, 0);
        }
        self.locks.borrow_mut().destroy(id);
    }

    /// Takes a spinlock, when it is free.
    #[track_caller]
    pub fn spin_lock(&'w self, id: LockId) -> impl Future<Output = SpinGuard<'w>> + use<'w> {
        self.spin_lock_how(id, false)
    }

    /// The same under another lock of its class; the caller vouches for their order
    /// (`spin_lock_nested`).
    #[track_caller]
    pub fn spin_lock_nested(&'w self, id: LockId) -> impl Future<Output = SpinGuard<'w>> + use<'w> {
        self.spin_lock_how(id, true)
    }

    #[track_caller]
    fn spin_lock_how(
        &'w self,
        id: LockId,
        nested: bool,
    ) -> impl Future<Output = SpinGuard<'w>> + use<'w> {
        let request =
            Request::touch(lock_object(id), Access::Lock, self.costs.l1).when(Want::Lock(id));
        self.step(request, move |_| {
            if !nested {
                self.check_nesting(id);
            }
            self.take(id, Mode::Exclusive);
            SpinGuard {
                machine: self,
                lock: id,
                context: self.context(),
            }
        })
    }

    /// Whether the lock is free: a look for assertions.
    pub fn is_free(&self, id: LockId) -> bool {
        self.locks.borrow().is_free(id)
    }

    /// Part of a step that takes a sleeping lock if it is free and nobody queues for it. Who only
    /// tries cannot wait: the locks that it holds come before this one in no order.
    pub fn try_take(&self, id: LockId, mode: Mode) -> bool {
        let can = {
            let locks = self.locks.borrow();
            let lock = locks.of(id);
            lock.exclusive.is_none()
                && lock.queue.is_empty()
                && (mode == Mode::Shared || lock.shared.is_empty())
        };
        if can {
            self.get_hold(id, mode);
        }
        can
    }

    /// Part of a step that takes a sleeping lock or, if it must wait, queues `thread` for it.
    pub fn take_or_queue(&self, id: LockId, mode: Mode, thread: ThreadId) -> bool {
        self.note_order(id);
        if self.try_take(id, mode) {
            return true;
        }
        self.locks
            .borrow_mut()
            .of_mut(id)
            .queue
            .push_back((thread, mode));
        self.with_context(ContextId::Thread(thread), |state| {
            state.waits_for.set(Some(id));
        });
        self.check_cycle(ContextId::Thread(thread));
        false
    }

    /// Part of a step that releases a sleeping lock that `owner` holds, which need not be who
    /// releases it. The next in the queue get it; they are returned to be woken.
    pub fn release(&self, id: LockId, mode: Mode, owner: ContextId) -> Vec<ThreadId> {
        self.let_go(id, mode, owner);
        self.admit(id)
    }

    /// Part of a step on the lock: `owner`, who holds it alone, shares it from now on. Returns who
    /// shares it too.
    pub fn downgrade(&self, id: LockId, owner: ContextId) -> Vec<ThreadId> {
        self.let_go(id, Mode::Exclusive, owner);
        hold(&mut self.locks.borrow_mut(), id, Mode::Shared, owner);
        self.with_context(owner, |state| state.held.borrow_mut().push(id));
        self.admit(id)
    }

    /// Lets in those at the head of the queue who can be.
    fn admit(&self, id: LockId) -> Vec<ThreadId> {
        let mut woken = Vec::new();
        loop {
            let next = {
                let locks = self.locks.borrow();
                let lock = locks.of(id);
                match lock.queue.front() {
                    Some(&(thread, mode))
                        if lock.exclusive.is_none()
                            && (mode == Mode::Shared || lock.shared.is_empty()) =>
                    {
                        (thread, mode)
                    }
                    _ => break,
                }
            };
            let mut locks = self.locks.borrow_mut();
            locks.of_mut(id).queue.pop_front();
            hold(&mut locks, id, next.1, ContextId::Thread(next.0));
            drop(locks);
            self.with_context(ContextId::Thread(next.0), |state| {
                state.waits_for.set(None);
                state.held.borrow_mut().push(id);
            });
            woken.push(next.0);
        }
        woken
    }

    /// Part of a step on the lock: `from` holds it and hands it to `to`, a transfer for instance.
    /// Nobody who waits can tell.
    pub fn pass_lock(&self, id: LockId, mode: Mode, from: ContextId, to: ContextId) {
        self.touch(lock_object(id), Access::Update);
        {
            let mut locks = self.locks.borrow_mut();
            let lock = locks.of_mut(id);
            let holder = match mode {
                Mode::Exclusive => lock.exclusive.as_mut(),
                Mode::Shared => lock.shared.iter_mut().find(|holder| **holder == from),
            };
            *holder.expect("who hands a lock on holds it") = to;
        }
        self.with_context(from, |state| {
            let mut held = state.held.borrow_mut();
            if let Some(at) = held.iter().rposition(|lock| *lock == id) {
                held.remove(at);
            }
        });
        self.with_context(to, |state| state.held.borrow_mut().push(id));
    }

    /// Who holds the lock.
    pub fn holders(&self, id: LockId) -> Vec<ContextId> {
        self.locks.borrow().holders(id).collect()
    }

    fn take(&self, id: LockId, mode: Mode) {
        self.note_order(id);
        self.get_hold(id, mode);
    }

    fn get_hold(&self, id: LockId, mode: Mode) {
        let context = self.context();
        hold(&mut self.locks.borrow_mut(), id, mode, context);
        self.with_context(context, |state| state.held.borrow_mut().push(id));
    }

    fn let_go(&self, id: LockId, mode: Mode, owner: ContextId) {
        let mut locks = self.locks.borrow_mut();
        let lock = locks.of_mut(id);
        let held = lock.let_go(mode, owner);
        // A semaphore is a number: whoever held it otherwise does no longer.
        let other = match mode {
            Mode::Exclusive => Mode::Shared,
            Mode::Shared => Mode::Exclusive,
        };
        let lost = held || lock.let_go(other, owner);
        let name = lock.class.name;
        drop(locks);
        if !held {
            let message = format!(
                "{} released the {name} lock {}, which {} does not hold",
                self.name_of(self.context()),
                id.0,
                self.name_of(owner)
            );
            self.violate("assertion", "BUG", message, vec![lock_object(id)], 0);
        }
        if !lost {
            return;
        }
        self.with_context(owner, |state| {
            let mut held = state.held.borrow_mut();
            if let Some(at) = held.iter().rposition(|lock| *lock == id) {
                held.remove(at);
            }
        });
    }

    fn note_order(&self, id: LockId) {
        let context = self.context();
        let found = self.with_context(context, |state| {
            let held = state.held.borrow();
            if held.is_empty() {
                return Vec::new();
            }
            let mut locks = self.locks.borrow_mut();
            held.iter()
                .filter_map(|&held| locks.order(held, id).map(|inversion| (held, inversion)))
                .collect()
        });
        for (held, inversion) in found {
            self.report_inversion(held, id, inversion);
        }
    }

    /// Two locks of one class, and nobody said that they nest: no error yet, since a class says
    /// nothing of the order of its locks.
    fn check_nesting(&self, id: LockId) {
        let context = self.context();
        let same = self.with_context(context, |state| {
            let held = state.held.borrow();
            let locks = self.locks.borrow();
            held.iter()
                .any(|held| std::ptr::eq(locks.of(*held).class, locks.of(id).class))
        });
        if same {
            self.warn(format!(
                "{} takes a {} lock while it holds another, and does not say that they nest",
                self.name_of(context),
                self.locks.borrow().of(id).class.name
            ));
        }
    }

    /// The context maps a page through a slot of its CPU, and may not sleep until it unmaps it
    /// (`kmap_atomic`).
    pub fn map_atomic(&self) {
        self.with_context(self.context(), |state| {
            state.atomic_mappings.set(state.atomic_mappings.get() + 1);
        });
    }

    /// Ends [`Machine::map_atomic`].
    pub fn unmap_atomic(&self) {
        self.with_context(self.context(), |state| {
            let mapped = state.atomic_mappings.get();
            assert!(mapped > 0, "what is unmapped was mapped");
            state.atomic_mappings.set(mapped - 1);
        });
    }

    #[cold]
    fn report_inversion(&self, held: LockId, taken: LockId, inversion: Inversion) {
        let (held_class, class) = {
            let locks = self.locks.borrow();
            (locks.of(held).class.name, locks.of(taken).class.name)
        };
        let who = self.name_of(self.context());
        match inversion {
            Inversion::Instances => {
                let message = format!(
                    "{who} takes the {class} lock {} while it holds the {held_class} lock {}, \
                     and the opposite order was taken before",
                    taken.0, held.0
                );
                let focus = vec![lock_object(held), lock_object(taken)];
                self.violate("lock-order", "INVERT", message, focus, 0);
            }
            Inversion::Classes => self.warn(format!(
                "{who} takes a {class} lock under a {held_class} lock; other instances were \
                 taken in the opposite order"
            )),
        }
    }

    /// The `context` oracle: asked by everything that may sleep.
    pub fn may_sleep(&self, what: &str) {
        let context = self.context();
        let why = match context {
            ContextId::Handler(..) => "in an interrupt handler".to_string(),
            _ if !self.irqs_enabled(self.cpu()) => "with interrupts off".to_string(),
            _ => {
                let locks = self.locks.borrow();
                let spinning = self.with_context(context, |state| {
                    let held = state.held.borrow();
                    held.iter().copied().find(|id| !locks.of(*id).class.sleeps)
                });
                let mapped = self.with_context(context, |state| state.atomic_mappings.get());
                match spinning {
                    Some(id) => format!(
                        "with the {} spinlock {} held",
                        locks.of(id).class.name,
                        id.0
                    ),
                    None if mapped > 0 => {
                        format!("with pages mapped that only this CPU can see: {mapped}")
                    }
                    None => return,
                }
            }
        };
        let message = format!("{} may sleep in {what} {why}", self.name_of(context));
        self.violate("context", "ATOMIC", message, Vec::new(), self.steps());
    }

    /// A CPU has to spin: does the holder wait for it?
    pub(crate) fn check_spin_deadlock(&self, slot: usize, id: LockId) {
        let announced = self.engine.announced[slot].get();
        let context = announced.expect("who spins has announced it").context;
        self.with_context(context, |state| state.waits_for.set(Some(id)));
        self.check_cycle(context);
        self.with_context(context, |state| state.waits_for.set(None));
    }

    /// The `wait-graph` oracle: follows "waits for" and "held by" from `start` back to it.
    fn check_cycle(&self, start: ContextId) {
        let mut path = vec![start];
        if !self.cycle_from(start, start, &mut path) {
            return;
        }
        let mut focus = Vec::new();
        let steps: Vec<String> = path
            .iter()
            .map(|&context| {
                let id = self.with_context(context, |state| state.waits_for.get());
                let id = id.expect("everybody in the cycle waits");
                focus.push(lock_object(id));
                let class = self.locks.borrow().of(id).class.name;
                format!(
                    "{} waits for the {class} lock {}",
                    self.name_of(context),
                    id.0
                )
            })
            .collect();
        let message = format!(
            "a cycle of waits, each for the next and the last for the first: {}",
            steps.join("; ")
        );
        self.violate("wait-graph", "DEADLOCK", message, focus, 0);
    }

    fn cycle_from(&self, at: ContextId, start: ContextId, path: &mut Vec<ContextId>) -> bool {
        let Some(lock) = self.with_context(at, |state| state.waits_for.get()) else {
            return false;
        };
        for holder in self.holders(lock) {
            if holder == start {
                return true;
            }
            if path.contains(&holder) {
                continue;
            }
            path.push(holder);
            if self.cycle_from(holder, start, path) {
                return true;
            }
            path.pop();
        }
        false
    }

    /// Everybody who waits when nothing can go on.
    pub(crate) fn waiting(&self) -> Vec<Waiting> {
        let mut all = Vec::new();
        let threads = self.threads_made.get() as u32;
        for thread in (0..threads).map(ThreadId) {
            if !self.alive(thread) {
                continue;
            }
            let context = ContextId::Thread(thread);
            let lock = self.with_context(context, |state| state.waits_for.get());
            let what = match lock {
                Some(id) => Some(self.describe_lock(id)),
                None => self.guest().sleeping(thread),
            };
            if let Some(what) = what {
                all.push(Waiting {
                    who: self.name_of(context),
                    what,
                });
            }
        }
        for slot in 0..2 * self.cpus.len() {
            if let Some(it) = self.engine.announced[slot].get() {
                let what = match it.request.want {
                    Want::Lock(id) => self.describe_lock(id),
                    Want::Zero(_) => "other CPUs to acknowledge".to_string(),
                    Want::Event(event) => format!("event {event}"),
                    Want::Touch | Want::Wake => continue,
                };
                all.push(Waiting {
                    who: self.name_of(it.context),
                    what,
                });
            }
        }
        all
    }

    fn describe_lock(&self, id: LockId) -> String {
        let holders: Vec<String> = self
            .holders(id)
            .into_iter()
            .map(|holder| self.name_of(holder))
            .collect();
        let class = self.locks.borrow().of(id).class.name;
        match holders.is_empty() {
            true => format!("the {class} lock {}, which nobody holds", id.0),
            false => format!(
                "the {class} lock {}, held by {}",
                id.0,
                holders.join(" and ")
            ),
        }
    }

    /// One line for each lock that is held or waited for, for dumps.
    pub fn dump_locks(&self) -> Vec<String> {
        let count = self.locks.borrow().locks.len() as u32;
        (0..count)
            .map(LockId)
            .filter_map(|id| {
                let locks = self.locks.borrow();
                let lock = locks.of(id);
                if locks.is_free(id) && lock.queue.is_empty() {
                    return None;
                }
                let queue: Vec<String> = lock
                    .queue
                    .iter()
                    .map(|(thread, mode)| format!("{} ({mode:?})", ContextId::Thread(*thread)))
                    .collect();
                let how = if lock.exclusive.is_some() {
                    "exclusive"
                } else {
                    "shared"
                };
                let holders: Vec<String> =
                    locks.holders(id).map(|holder| holder.to_string()).collect();
                Some(format!(
                    "{} {}: {how} by {}; queue [{}]",
                    lock.class.name,
                    id.0,
                    holders.join(", "),
                    queue.join(", ")
                ))
            })
            .collect()
    }
}

fn hold(locks: &mut LockTable, id: LockId, mode: Mode, context: ContextId) {
    let lock = locks.of_mut(id);
    match mode {
        Mode::Exclusive => lock.exclusive = Some(context),
        Mode::Shared => lock.shared.push(context),
    }
}

/// The object that stands for a lock in traces.
pub fn lock_object(id: LockId) -> Object {
    Object::new(Kind::Lock, u64::from(id.0))
}

/// A spinlock that is held. Releasing it is a step, since a try-lock elsewhere can tell: a guard
/// that is merely dropped is a bug of the emulator.
#[must_use = "a spinlock is released by unlock().await"]
pub struct SpinGuard<'w> {
    machine: &'w Machine<'w>,
    lock: LockId,
    context: ContextId,
}

impl Word for SpinGuard<'_> {
    fn word(&self) -> u64 {
        u64::from(self.lock.0)
    }
}

impl<'w> SpinGuard<'w> {
    /// Releases the lock.
    #[track_caller]
    pub fn unlock(self) -> impl Future<Output = ()> + use<'w> {
        let machine = self.machine;
        let request = Request::touch(lock_object(self.lock), Access::Unlock, machine.costs.l1);
        machine.step(request, move |_| {
            machine.let_go(self.lock, Mode::Exclusive, self.context);
            machine.wake_spinners(Want::Lock(self.lock));
            std::mem::forget(self);
        })
    }

    /// Which lock it is.
    pub fn id(&self) -> LockId {
        self.lock
    }
}

impl Drop for SpinGuard<'_> {
    fn drop(&mut self) {
        assert!(
            self.machine.dying.get() || std::thread::panicking(),
            "the guard of lock {} was dropped while the lock is held",
            self.lock.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SEM: LockClass = LockClass {
        name: "sem",
        sleeps: true,
    };

    #[test]
    fn a_hold_ends_whichever_way_it_is_let_go_and_only_once() {
        let me = ContextId::Thread(ThreadId(1));
        let mut lock = LockTable::default();
        let id = lock.create(&SEM);
        hold(&mut lock, id, Mode::Exclusive, me);
        assert!(!lock.of_mut(id).let_go(Mode::Shared, me));
        assert!(lock.of_mut(id).let_go(Mode::Exclusive, me));
        assert!(!lock.of_mut(id).let_go(Mode::Exclusive, me));
        hold(&mut lock, id, Mode::Shared, me);
        hold(&mut lock, id, Mode::Shared, me);
        assert!(lock.of_mut(id).let_go(Mode::Shared, me));
        assert!(lock.of_mut(id).let_go(Mode::Shared, me));
        assert_eq!(lock.holders(id).count(), 0);
    }
}
