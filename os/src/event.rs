//! Events between processes: what a pipe of which nobody reads the bytes is for.

use std::collections::BTreeMap;

use emu::{Access, Kind, Object, Request, ThreadId};

use crate::{Cx, sched};

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

/// The event has happened.
pub(crate) async fn signal(cx: Cx<'_>, event: u32) {
    let mut woken = Vec::new();
    cx.machine
        .step(event_step(cx, event), |_| {
            let mut events = cx.events.borrow_mut();
            let event = events.entry(event).or_default();
            event.happened = true;
            woken = std::mem::take(&mut event.waiters);
        })
        .await;
    for thread in woken {
        sched::try_to_wake_up(cx, thread, "pipe_wait").await;
    }
}
