//! Store buffers: what a CPU writes may be seen by others later than it goes on. Off unless
//! [`Size::store_buffers`](crate::Size::store_buffers).
//!
//! A buffer is an actor beside its CPU. [`Machine::write_later`] puts a write in, and the buffer does
//! the writes in their order, a step each. A CPU that reads what waits in its own buffer waits until
//! it is empty, and so does one that writes in any other way, whose turn would come after. That
//! leaves one thing to be seen out of order, a read that passes an earlier write of another word:
//! what barriers are for, and all that a machine with total store order shows.

use std::collections::VecDeque;
use std::mem::ManuallyDrop;

use crate::id::FIRST_BUFFER;
use crate::{Access, Acting, ActorId, CpuId, Kind, Machine, Object, Request, Touch};

/// A part of an object that is a word of its own, as seen by store buffers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Part(u8);

impl Part {
    /// All of it.
    pub const WHOLE: Part = Part(0);

    /// One word of it, by a number from 1.
    pub const fn of(word: u8) -> Part {
        Part(word)
    }

    fn overlaps(self, other: Part) -> bool {
        self == Part::WHOLE || other == Part::WHOLE || self == other
    }
}

type Write<'w> = Box<dyn FnOnce(&Acting<'w, 'w>) + 'w>;

struct Waiting<'w> {
    request: Request,
    // It may borrow the machine that holds it.
    write: ManuallyDrop<Write<'w>>,
}

/// What waits to be written, the oldest first.
#[derive(Default)]
pub(crate) struct StoreBuffer<'w>(VecDeque<Waiting<'w>>);

impl StoreBuffer<'_> {
    /// Forgets what waits.
    pub fn clear(&mut self) {
        for waiting in self.0.drain(..) {
            drop(ManuallyDrop::into_inner(waiting.write));
        }
    }
}

fn buffer_object(cpu: CpuId) -> Object {
    Object::new(Kind::StoreBuffer, u64::from(cpu.0))
}

impl<'w> Machine<'w> {
    /// A write that others may see later. Without store buffers, and on behalf of a device, it is a
    /// step like any other.
    #[track_caller]
    pub fn write_later(
        &'w self,
        request: Request,
        write: impl FnOnce(&Acting<'w, 'w>) + 'w,
    ) -> impl Future<Output = ()> {
        let mut write = Some(write);
        let buffered = self.size.store_buffers && self.actor().on_cpu().is_some();
        let issue = match buffered {
            true => Request {
                object: buffer_object(self.cpu()),
                buffered,
                ..request
            },
            false => request,
        };
        self.step(issue, move |acting| {
            let write = write.take().expect("a step acts once");
            if buffered {
                self.put_in(acting.cpu(), request, Box::new(write));
            } else {
                write(acting);
            }
        })
    }

    /// Waits until what this CPU has written is there for all to see: a full barrier.
    pub fn barrier(&'w self) -> impl Future<Output = ()> {
        let object = buffer_object(self.cpu());
        self.step(
            Request::touch(object, Access::Update, self.costs.l1),
            |_| (),
        )
    }

    fn put_in(&'w self, cpu: CpuId, request: Request, write: Write<'w>) {
        let buffer = &self.buffers[cpu.0 as usize];
        let first = buffer.borrow().0.is_empty();
        buffer.borrow_mut().0.push_back(Waiting {
            request,
            write: ManuallyDrop::new(write),
        });
        if first {
            let slot = self.slot_of_buffer(cpu);
            self.transfers[slot].set(Some(ManuallyDrop::new(Box::pin(drain(self, cpu)))));
            let line = u64::from(self.costs.line_far);
            self.start_device(slot, &request.not_before(self.now() + line));
        }
    }

    fn slot_of_buffer(&self, cpu: CpuId) -> usize {
        FIRST_BUFFER + usize::from(cpu.0)
    }

    fn write_oldest(&'w self, cpu: CpuId, acting: &Acting<'w, 'w>) {
        let waiting = self.buffers[cpu.0 as usize].borrow_mut().0.pop_front();
        let waiting = waiting.expect("a buffer acts only while something waits");
        ManuallyDrop::into_inner(waiting.write)(acting);
        self.touch(buffer_object(cpu), Touch::Write);
        self.rekey_cpu(cpu);
        self.rekey_irq(cpu);
    }

    /// Whether a step need not wait for what its CPU has written: it does if it writes, or reads what
    /// waits.
    pub(crate) fn ordered(&self, actor: ActorId, request: &Request) -> bool {
        let Some(cpu) = actor.on_cpu() else {
            return true;
        };
        let buffer = self.buffers[cpu.0 as usize].borrow();
        let reads = |it: &Waiting<'_>| {
            it.request.object == request.object && it.request.part.overlaps(request.part)
        };
        request.buffered
            || buffer.0.is_empty()
            || !request.access.writes() && !buffer.0.iter().any(reads)
    }

    /// A step acts: if it is one that waits for the buffer, it has looked at it.
    #[inline]
    pub(crate) fn note_wait(&self, request: &Request) {
        if self.size.store_buffers
            && !request.buffered
            && request.access.writes()
            && let Some(cpu) = self.actor().on_cpu()
        {
            self.touch(buffer_object(cpu), Touch::Read);
        }
    }
}

/// The code of a buffer: a write a step, until none waits.
async fn drain<'w>(machine: &'w Machine<'w>, cpu: CpuId) {
    loop {
        let next = machine.buffers[cpu.0 as usize]
            .borrow()
            .0
            .front()
            .map(|it| it.request);
        let Some(request) = next else { return };
        machine
            .step(request, |acting| machine.write_oldest(cpu, acting))
            .await;
    }
}
