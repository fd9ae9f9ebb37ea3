//! Events between processes: what a pipe of which nobody reads the bytes is for.

use std::collections::BTreeMap;

use emu::{Access, Kind, Object, Request, ThreadId, Want};

use crate::{Cx, Kernel, direct_io, sched};

/// An event.
#[derive(Default)]
pub(crate) struct Event {
    happened: bool,
    waiters: Vec<ThreadId>,
}

/// The events of a machine, made when first named.
pub(crate) type Events = BTreeMap<u32, Event>;

/// The event that the child `pid` has let go of the address space that it was lent.
pub(crate) fn vfork_done(pid: u32) -> u32 {
    1 << 31 | pid
}

/// The event that the asynchronous request `number` is over.
const REQUEST: u32 = 1 << 30;

/// Whether an event has happened.
pub(crate) fn happened(cx: &Kernel<'_>, event: u32) -> bool {
    match event.checked_sub(REQUEST).filter(|it| *it < REQUEST) {
        Some(number) => cx.requests.borrow().is_done(number),
        None => cx.events.borrow().get(&event).is_some_and(|it| it.happened),
    }
}

fn event_step(cx: Cx<'_>, event: u32) -> Request {
    let object = Object::new(Kind::Wait, 1 << 55 | u64::from(event));
    Request::touch(object, Access::Update, cx.machine.costs().l1)
}

/// Sleeps until the event has happened.
pub(crate) async fn wait(cx: Cx<'_>, event: u32) {
    let thread = cx.current_thread();
    let asleep = cx
        .machine
        .step(event_step(cx, event), |_| {
            let mut events = cx.events.borrow_mut();
            let event = events.entry(event).or_default();
            if !event.happened {
                event.waiters.push(thread);
                cx.set_sleeping(thread, "pipe_wait");
            }
            !event.happened
        })
        .await;
    if asleep {
        sched::block(cx).await;
    }
}

/// Spins until the event has happened: on a flag in memory, of whose polling only the end is a step.
pub(crate) async fn poll(cx: Cx<'_>, event: u32) {
    spin(cx, event_step(cx, event), event).await;
}

/// Spins until the asynchronous request `number` is over, on the ring of what is complete.
pub(crate) async fn poll_request(cx: Cx<'_>, number: u32) {
    spin(cx, direct_io::request_step(cx, number), REQUEST | number).await;
}

async fn spin(cx: Cx<'_>, look: Request, event: u32) {
    let mut look = look.when(Want::Event(event));
    (look.access, look.user) = (Access::Read, true);
    cx.machine.step(look, |_| ()).await;
}

/// A request is over, of which somebody may poll.
pub(crate) fn request_done(cx: Cx<'_>, number: u32) {
    cx.machine.event_happened(REQUEST | number);
}

/// The event has happened.
pub(crate) async fn signal(cx: Cx<'_>, number: u32) {
    let mut woken = Vec::new();
    cx.machine
        .step(event_step(cx, number), |_| {
            let mut events = cx.events.borrow_mut();
            let event = events.entry(number).or_default();
            event.happened = true;
            woken = std::mem::take(&mut event.waiters);
            drop(events);
            cx.machine.event_happened(number);
        })
        .await;
    for thread in woken {
        sched::try_to_wake_up(cx, thread, "pipe_wait").await;
    }
}
