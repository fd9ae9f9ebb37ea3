//! Steps: the only places where an actor can be suspended.
//!
//! A step is a future without state of its own: when its actor has been granted the step it acts,
//! else it announces. So after a handler or a task switch an interrupted step announces again,
//! and what it touches is looked up afresh.

use std::cell::{Cell, RefMut};
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use devices::Vector;
use mmu::{PhysAddr, PhysMemory, Pte};

use crate::{Access, CpuId, LockId, Machine, Object, Part, Touch, Word};

/// What must hold before a step can be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// Nothing.
    Touch,
    /// The spinlock is free.
    Lock(LockId),
    /// The counter is zero ([`Machine::counter`]).
    Zero(u32),
    /// The event has happened, as the guest has it ([`Guest::happened`](crate::Guest::happened)).
    Event(u32),
    /// The CPU has been woken from its halt.
    Wake,
}

/// An announcement: what an actor will touch next, and what it costs.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// What must hold.
    pub want: Want,
    /// What is touched. For [`Kind::User`](crate::Kind::User), the address: its frame is looked
    /// up when the step is chosen.
    pub object: Object,
    /// How.
    pub access: Access,
    /// Whether it is an instruction of user mode, between which a CPU may switch tasks.
    pub user: bool,
    /// Cycles, before line transfers and jitter.
    pub cost: u32,
    /// The earliest time, for devices; no jitter is added to it.
    pub not_before: Option<u64>,
    /// The word of the object, where store buffers tell words apart.
    pub part: Part,
    /// It only puts a write into the CPU's store buffer.
    pub(crate) buffered: bool,
}

impl Request {
    /// Touches `object` at `cost` cycles.
    #[inline]
    pub const fn touch(object: Object, access: Access, cost: u32) -> Request {
        Request {
            want: Want::Touch,
            object,
            access,
            user: false,
            cost,
            not_before: None,
            part: Part::WHOLE,
            buffered: false,
        }
    }

    /// An instruction of user mode at virtual address `va`.
    #[inline]
    pub const fn user(va: u64, access: Access, cost: u32) -> Request {
        Request {
            user: true,
            ..Request::touch(Object::new(crate::Kind::User, va), access, cost)
        }
    }

    /// The same, when `want` holds.
    #[inline]
    pub const fn when(self, want: Want) -> Request {
        Request { want, ..self }
    }

    /// Only this word of the object.
    #[inline]
    pub const fn part(self, part: Part) -> Request {
        Request { part, ..self }
    }

    /// The same, not before `time`.
    #[inline]
    pub const fn not_before(self, time: u64) -> Request {
        Request {
            not_before: Some(time),
            ..self
        }
    }
}

/// The right to touch what a step announced, while it acts. Nothing else runs meanwhile.
pub struct Acting<'m, 'w> {
    machine: &'m Machine<'w>,
    object: Cell<Object>,
    extra: Cell<u64>,
}

impl<'m, 'w> Acting<'m, 'w> {
    pub(crate) fn on(machine: &'m Machine<'w>, object: Object) -> Acting<'m, 'w> {
        Acting {
            machine,
            object: Cell::new(object),
            extra: Cell::new(0),
        }
    }

    /// The CPU that acts; for devices, CPU 0.
    #[inline]
    pub fn cpu(&self) -> CpuId {
        self.machine.cpu()
    }

    /// The clock, in cycles.
    #[inline]
    pub fn now(&self) -> u64 {
        self.machine.now()
    }

    /// The number of this step.
    #[inline]
    pub fn step(&self) -> u64 {
        self.machine.steps()
    }

    /// The step turns out to touch this: the frame behind an address.
    #[inline]
    pub fn resolve(&self, object: Object) {
        self.object.set(object);
    }

    /// Of what was announced, only this matters to others: what an exploration takes the step for.
    #[inline]
    pub fn narrow(&self, object: Object, touch: Touch) {
        if self.machine.tracking() {
            self.machine.engine.narrowed.set(Some((object, touch)));
        }
    }

    /// The step turns out to cost this much more.
    #[inline]
    pub fn charge(&self, cycles: u64) {
        self.extra.set(self.extra.get() + cycles);
    }

    /// Checks that `object` is what was announced, or what it was resolved to.
    #[inline]
    #[track_caller]
    pub fn covers(&self, object: Object) {
        debug_assert!(
            self.object.get() == object,
            "a step that announced {} touches {object}",
            self.object.get()
        );
    }

    /// Physical memory: the sector or entry announced, and whatever is private to the step.
    #[inline]
    pub fn memory(&self) -> RefMut<'m, PhysMemory> {
        self.machine.memory_mut()
    }

    /// Reads the announced entry.
    #[inline]
    pub fn read_pte(&self, at: PhysAddr) -> Pte {
        self.covers(Object::pte(at));
        Pte::from_raw(self.memory().read_u64(at))
    }

    /// Writes the announced entry.
    #[inline]
    pub fn write_pte(&self, at: PhysAddr, pte: Pte) {
        self.covers(Object::pte(at));
        self.memory().write_u64(at, pte.raw());
    }

    /// Sends `vector` to `target`; it arrives when the wire has carried it.
    pub fn send(&self, target: CpuId, vector: Vector) {
        self.machine.send(target, vector);
    }

    /// Adds to a counter that CPUs spin on; those who wait for zero go on when it is.
    pub fn add_counter(&self, counter: u32, change: i64) {
        self.machine.add_counter(counter, change);
    }
}

/// A step, waiting to be chosen. Made by [`Machine::step`].
#[must_use = "a step does nothing until it is awaited"]
pub struct Step<'w, F> {
    machine: &'w Machine<'w>,
    request: Request,
    at: &'static Location<'static>,
    act: Option<F>,
}

impl<F> Unpin for Step<'_, F> {}

impl<'w, F, R> Future for Step<'w, F>
where
    F: FnOnce(&Acting<'w, 'w>) -> R,
    R: Word,
{
    type Output = R;

    #[inline]
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<R> {
        let this = self.get_mut();
        let machine = this.machine;
        if !machine.engine.granted.replace(false) && !machine.announce(&this.request) {
            return Poll::Pending;
        }
        let act = this
            .act
            .take()
            .expect("a step is not polled after it acted");
        machine.note_wait(&this.request);
        let acting = Acting::on(machine, this.request.object);
        let result = act(&acting);
        machine.taken(
            acting.object.get(),
            this.request.access,
            result.word(),
            acting.extra.get(),
            this.at,
        );
        Poll::Ready(result)
    }
}

impl<'w> Machine<'w> {
    /// Announces `request`; when it is chosen, `act` runs and nothing else does.
    #[track_caller]
    #[inline]
    pub fn step<F, R>(&'w self, request: Request, act: F) -> Step<'w, F>
    where
        F: FnOnce(&Acting<'w, 'w>) -> R,
        R: Word,
    {
        Step {
            machine: self,
            request,
            at: Location::caller(),
            act: Some(act),
        }
    }
}
