//! Interrupt vectors and who serves them.

use devices::Vector;
use emu::{Code, CpuId, Leave};

use slotmap::{Key, KeyData};

use crate::task::TaskId;
use crate::{Cx, bio, sched};

/// Another CPU queued a task here.
pub const RESCHEDULE_VECTOR: Vector = Vector(0xfd);
/// A timer or the end of a time slice.
pub const TIMER_VECTOR: Vector = Vector(0xef);
/// The disk finished a request.
pub const DISK_VECTOR: Vector = Vector(0x31);
/// The first of the eight vectors that ask for TLB flushes.
pub const INVALIDATE_VECTOR: Vector = Vector(0xf0);

/// The sleepers whom a CPU's timer wakes.
fn timers_object(cpu: CpuId) -> emu::Object {
    emu::Object::new(emu::Kind::Cpu, 2 << 16 | u64::from(cpu.0))
}

/// Whether the handler of a vector shares nothing with the steps of its CPU but what both declare.
pub fn declares_all(cx: &crate::Kernel<'_>, vector: Vector) -> bool {
    match vector {
        RESCHEDULE_VECTOR | TIMER_VECTOR | DISK_VECTOR => true,
        other => is_flush(other) && cx.flush.declares_all(),
    }
}

/// Whether a vector asks for a TLB flush.
pub fn is_flush(vector: Vector) -> bool {
    let slots = crate::flush::CALL_SLOTS as u8;
    (INVALIDATE_VECTOR.0..INVALIDATE_VECTOR.0 + slots).contains(&vector.0)
}

/// The code that serves `vector`.
pub fn handler<'w>(cx: Cx<'w>, cpu: CpuId, vector: Vector) -> Code<'w> {
    cx.count("interrupts taken", 1);
    cx.machine.spend(u64::from(cx.machine.costs().irq_handler));
    match vector {
        RESCHEDULE_VECTOR => Box::pin(async move {
            // Who idles looks for a task anyway.
            if cx.machine.running(cpu).is_some() {
                cx.machine.set_need_resched(cpu, true);
            }
            cx.machine.wake_cpu(cpu);
        }),
        TIMER_VECTOR => Box::pin(timer_interrupt(cx, cpu)),
        DISK_VECTOR => Box::pin(bio::disk_interrupt(cx)),
        other => cx.flush.interrupt(cx, cpu, other),
    }
}

/// Wakes whom the time has come for; ends a slice.
async fn timer_interrupt(cx: Cx<'_>, cpu: CpuId) {
    let _span = cx.machine.span("timer_interrupt");
    let here = &cx.percpu[cpu.0 as usize];
    let now = cx.machine.timed().then(|| cx.machine.now());
    loop {
        cx.machine.touch(timers_object(cpu), emu::Touch::Write);
        let due = here.timers.borrow_mut().pop(now);
        let Some(token) = due else { break };
        // A task that was killed in its sleep may be gone.
        let task = TaskId::from(KeyData::from_ffi(token));
        let thread = cx.tasks.borrow().get(task).map(|task| task.thread);
        if let Some(thread) = thread {
            sched::try_to_wake_up(cx, thread, "hrtimer_nanosleep").await;
        }
        if now.is_none() {
            break;
        }
    }
    if let Some(next) = here.timers.borrow().next_deadline() {
        cx.machine.raise_at(cpu, TIMER_VECTOR, next);
    }
    let slice_over = now.is_some_and(|now| here.slice_end.get() <= now);
    if slice_over && !cx.rq(cpu).borrow().queue.is_empty() {
        cx.machine.set_need_resched(cpu, true);
    } else if here.slice_end.get() > cx.machine.now() {
        cx.machine.raise_at(cpu, TIMER_VECTOR, here.slice_end.get());
    }
}

/// Sleeps for so many cycles; idle time jumps.
pub async fn sleep_cycles(cx: Cx<'_>, cycles: u64) {
    let thread = cx.current_thread();
    let request = emu::Request::touch(
        emu::Object::new(emu::Kind::Task, u64::from(thread.0)),
        emu::Access::Write,
        cx.machine.costs().l1,
    );
    cx.machine
        .step(request, |acting| {
            cx.set_sleeping(thread, "hrtimer_nanosleep");
            let cpu = acting.cpu();
            let deadline = acting.now() + cycles;
            cx.machine.touch(timers_object(cpu), emu::Touch::Write);
            cx.percpu[cpu.0 as usize]
                .timers
                .borrow_mut()
                .arm(deadline, cx.current().data().as_ffi());
            cx.machine.raise_at(cpu, TIMER_VECTOR, deadline);
        })
        .await;
    cx.machine.leave(Leave::Block).await;
}
