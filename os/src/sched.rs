//! Run queues, the scheduler's loop, wake-ups and time slices.

use std::collections::VecDeque;

use emu::{Access, ContextId, CpuId, Kind, Leave, Object, Request, ThreadId, Touch};

use crate::irq::{RESCHEDULE_VECTOR, TIMER_VECTOR};
use crate::task::TaskState;
use crate::{Cx, Kernel, context};

/// A CPU's run queue. Changed only by steps on [`Kind::RunQueue`].
#[derive(Clone, Default)]
pub struct RunQueue {
    /// Who wants to run here, in order.
    pub queue: VecDeque<ThreadId>,
    /// Whether the CPU halts, or is about to.
    pub idle: bool,
}

fn rq_request(cx: Cx<'_>, cpu: CpuId) -> Request {
    let object = Object::new(Kind::RunQueue, u64::from(cpu.0));
    Request::touch(object, Access::Update, cx.machine.costs().l1)
}

/// What a CPU does for ever: take the next task, switch to it, run it until it leaves.
pub async fn schedule(cx: Cx<'_>, cpu: CpuId) {
    loop {
        let next = cx
            .machine
            .step(rq_request(cx, cpu), |_| cx.pick_next_task(cpu))
            .await;
        let next = match next {
            Some(thread) => thread,
            None => match pull_task(cx, cpu).await {
                Some(thread) => thread,
                None => {
                    context::enter_lazy_tlb(cx, cpu);
                    cx.machine.halt().await;
                    continue;
                }
            },
        };
        context::switch_to(cx, cpu, next).await;
        cx.machine.set_need_resched(cpu, false);
        cx.arm_slice(cpu);
        let why = cx.machine.run_thread(next).await;
        cx.machine.set_need_resched(cpu, false);
        match why {
            Leave::Block => {}
            Leave::Preempt => {
                cx.machine
                    .step(rq_request(cx, cpu), |_| {
                        cx.rq(cpu).borrow_mut().queue.push_back(next);
                    })
                    .await;
            }
            Leave::End => cx.forget_task(next),
        }
    }
}

/// An idle CPU takes a task from the busiest one, if that has more than it can run (timed runs
/// only: without time there is no reason to move a task).
async fn pull_task(cx: Cx<'_>, cpu: CpuId) -> Option<ThreadId> {
    if !cx.machine.timed() {
        return None;
    }
    let busiest = (0..cx.machine.size().cpus)
        .map(CpuId)
        .filter(|other| *other != cpu && cx.load(*other) > 1)
        .max_by_key(|other| (cx.load(*other), std::cmp::Reverse(other.0)))?;
    let pulled = cx
        .machine
        .step(rq_request(cx, busiest), |_| {
            cx.rq(busiest).borrow_mut().queue.pop_back()
        })
        .await;
    let found = match pulled {
        Some(thread) => Some(thread),
        // Somebody may have been queued here meanwhile, without an interrupt to say so.
        None => {
            cx.machine
                .step(rq_request(cx, cpu), |_| cx.pick_next_task(cpu))
                .await
        }
    };
    if found.is_some() {
        cx.rq(cpu).borrow_mut().idle = false;
    }
    found
}

/// Makes a task that sleeps in `what` runnable, and tells a CPU. Somebody else may have been
/// faster, and the task may sleep elsewhere by now: then nothing happens.
pub async fn try_to_wake_up(cx: Cx<'_>, thread: ThreadId, what: &'static str) {
    let task = Object::new(Kind::Task, u64::from(thread.0));
    cx.machine.touch(task, Touch::Read);
    let Some(last) = cx.task_of(thread, |task| task.cpu) else {
        return;
    };
    let target = cx.select_task_rq(last);
    enqueue(cx, thread, target, TaskState::Sleeping(what)).await;
}

/// Puts a new task on a run queue (`wake_up_new_task`).
pub async fn wake_up_new_task(cx: Cx<'_>, thread: ThreadId) {
    let target = cx.select_task_rq(cx.machine.cpu());
    enqueue(cx, thread, target, TaskState::New).await;
}

/// Puts a task on the queue of `target`, if it is still in the state `from`.
async fn enqueue(cx: Cx<'_>, thread: ThreadId, target: CpuId, from: TaskState) {
    let (mut queued, mut was_idle) = (false, false);
    cx.machine
        .step(rq_request(cx, target), |_| {
            cx.change_task(thread, |task| {
                if task.state == from {
                    task.state = TaskState::Runnable;
                    task.cpu = target;
                    queued = true;
                }
            });
            if queued {
                let mut rq = cx.rq(target).borrow_mut();
                rq.queue.push_back(thread);
                was_idle = std::mem::replace(&mut rq.idle, false);
            }
            queued
        })
        .await;
    if !queued {
        return;
    }
    if !was_idle && !cx.spins(target) {
        return cx.arm_slice(target);
    }
    if target == cx.machine.cpu() {
        return cx.machine.wake_cpu(target);
    }
    let costs = cx.machine.costs();
    let object = Object::new(Kind::Irq, u64::from(target.0));
    cx.machine
        .step(
            Request::touch(object, Access::Write, costs.ipi_send),
            |acting| {
                acting.send(target, RESCHEDULE_VECTOR);
            },
        )
        .await;
    cx.count("reschedule interrupts", 1);
}

/// What a task sleeps in that waits for nothing but its end.
pub const PAUSE: &str = "pause";

/// Sleeps until a signal ends the process: what a program does that has done its part, so that
/// how tasks end is none of its story.
pub async fn pause(cx: Cx<'_>) {
    let thread = cx.current_thread();
    let object = Object::new(Kind::Task, u64::from(thread.0));
    let request = Request::touch(object, Access::Write, cx.machine.costs().l1);
    let sleeps = cx
        .machine
        .step(request, |_| {
            let killed = cx.task_of(thread, |task| task.killed) == Some(true);
            if !killed {
                cx.set_sleeping(thread, PAUSE);
            }
            !killed
        })
        .await;
    if sleeps {
        block(cx).await;
    }
}

/// Computes without touching memory, and without a step, as long as nobody else wants the CPU;
/// then [`pause`]s. A program that has done its part leaves the scheduler out of its story so.
pub async fn spin(cx: Cx<'_>) {
    loop {
        let cpu = cx.machine.cpu();
        cx.percpu[cpu.0 as usize]
            .spinner
            .set(cx.machine.running(cpu));
        cx.touch_queue(cpu);
        if !cx.rq(cpu).borrow().queue.is_empty() {
            return pause(cx).await;
        }
        cx.machine.spin().await;
    }
}

/// The current task, which has marked itself asleep in its last step, leaves its CPU until
/// somebody wakes it.
pub async fn block(cx: Cx<'_>) {
    match cx.machine.context() {
        ContextId::Thread(_) => cx.machine.leave(Leave::Block).await,
        other => unreachable!("{other} cannot sleep; the context oracle spoke before"),
    }
}

impl Kernel<'_> {
    fn pick_next_task(&self, cpu: CpuId) -> Option<ThreadId> {
        let mut rq = self.rq(cpu).borrow_mut();
        let next = rq.queue.pop_front();
        rq.idle = next.is_none();
        next
    }

    /// Where a task should run: where it ran last if that CPU is idle, else on the next idle one,
    /// else on the shortest queue.
    pub(crate) fn select_task_rq(&self, last: CpuId) -> CpuId {
        self.touch_queue(last);
        if self.rq(last).borrow().idle {
            return last;
        }
        let cpus = self.machine.size().cpus;
        let all = || (0..cpus).map(|offset| CpuId((last.0 + offset) % cpus));
        all().for_each(|cpu| self.touch_queue(cpu));
        all()
            .find(|cpu| self.rq(*cpu).borrow().idle)
            .or_else(|| all().min_by_key(|cpu| (self.load(*cpu), *cpu != last)))
            .expect("there is a CPU")
    }

    /// Whether a CPU idles, and how long its queue is, was looked at without its lock.
    fn touch_queue(&self, cpu: CpuId) {
        let queue = Object::new(Kind::RunQueue, u64::from(cpu.0));
        self.machine.touch(queue, Touch::Read);
        self.machine.touch(emu::readiness_object(cpu), Touch::Read);
    }

    /// Whether what runs on a CPU gives way to anybody.
    fn spins(&self, cpu: CpuId) -> bool {
        self.machine.touch(emu::readiness_object(cpu), Touch::Read);
        let running = self.machine.running(cpu);
        running.is_some() && running == self.percpu[cpu.0 as usize].spinner.get()
    }

    /// Tasks that run or want to run on a CPU.
    fn load(&self, cpu: CpuId) -> usize {
        self.rq(cpu).borrow().queue.len() + usize::from(self.machine.running(cpu).is_some())
    }

    /// A time slice ends only when somebody else wants to run.
    pub(crate) fn arm_slice(&self, cpu: CpuId) {
        if !self.machine.timed() || self.rq(cpu).borrow().queue.is_empty() {
            return;
        }
        let end = &self.percpu[cpu.0 as usize].slice_end;
        if end.get() <= self.machine.now() {
            let slice = self
                .machine
                .costs()
                .cycles_from_ms(self.machine.costs().slice_ms);
            end.set(self.machine.now() + slice);
            self.machine.raise_at(cpu, TIMER_VECTOR, end.get());
        }
    }
}
