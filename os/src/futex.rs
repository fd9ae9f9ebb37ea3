//! Futex-like waiting: sleep while a word of user memory holds a value, until somebody wakes.

use emu::{Access, Kind, Object, Request, ThreadId, Touch};
use mmu::VirtAddr;

use crate::mm::MmId;
use crate::{Cx, Errno, sched, uaccess};

fn key_object(cx: Cx<'_>, mm: MmId, at: VirtAddr) -> Object {
    Object::new(Kind::Wait, u64::from(cx.pid_of(mm)) << 40 ^ at.get())
}

/// Queues the current task on the word, unless it no longer holds `value`, until it is woken.
pub async fn futex_wait(cx: Cx<'_>, at: VirtAddr, value: u32) -> Result<(), Errno> {
    let _span = cx.machine.span("futex_wait");
    loop {
        match wait_once(cx, at, value).await {
            // Woken late, for another word: whoever stays queued would swallow a wake.
            Ok(()) if unqueue(cx, at).await => {}
            done => return done,
        }
    }
}

/// Takes the current task off the word's queue; `false` if a waker did.
async fn unqueue(cx: Cx<'_>, at: VirtAddr) -> bool {
    let (mm, thread) = (cx.current_mm(), cx.current_thread());
    let place = || {
        let all = cx.futexes.borrow();
        let queue = all.get(&(mm, at.get()))?;
        queue.iter().position(|one| *one == thread)
    };
    let bucket = key_object(cx, mm, at);
    cx.machine.touch(bucket, Touch::Read);
    if place().is_none() {
        return false;
    }
    let request = Request::touch(bucket, Access::Update, cx.machine.costs().l1);
    cx.machine
        .step(request, |_| {
            let place = place()?;
            cx.futexes
                .borrow_mut()
                .get_mut(&(mm, at.get()))?
                .remove(place)
        })
        .await
        .is_some()
}

/// Sleeps once, if the word holds `value`.
async fn wait_once(cx: Cx<'_>, at: VirtAddr, value: u32) -> Result<(), Errno> {
    let mm = cx.current_mm();
    let thread = cx.current_thread();
    // The bucket first, then the word: a waker changes the word before it looks at the bucket.
    let request = Request::touch(
        key_object(cx, mm, at),
        Access::Update,
        cx.machine.costs().l1,
    );
    cx.machine
        .step(request, |_| {
            cx.futexes
                .borrow_mut()
                .entry((mm, at.get()))
                .or_default()
                .push_back(thread);
        })
        .await;
    let now = uaccess::get_user_u32(cx, at).await;
    let request = Request::touch(
        key_object(cx, mm, at),
        Access::Update,
        cx.machine.costs().l1,
    );
    let still = now == Ok(value);
    let asleep = cx
        .machine
        .step(request, |_| {
            let mut all = cx.futexes.borrow_mut();
            let queue = all.entry((mm, at.get())).or_default();
            let queued = queue.iter().position(|one| *one == thread);
            match queued {
                Some(_) if still => {
                    cx.set_sleeping(thread, "futex_wait");
                    true
                }
                Some(at) => {
                    queue.remove(at);
                    false
                }
                // Woken before it fell asleep.
                None => false,
            }
        })
        .await;
    if asleep {
        sched::block(cx).await;
        return Ok(());
    }
    match now {
        Ok(now) if now == value => Ok(()),
        Ok(_) => Err(Errno::EAGAIN),
        Err(error) => Err(error),
    }
}

/// Wakes up to `count` tasks that wait on the word.
pub async fn futex_wake(cx: Cx<'_>, at: VirtAddr, count: u32) -> u32 {
    let _span = cx.machine.span("futex_wake");
    let mm = cx.current_mm();
    let mut woken: Vec<ThreadId> = Vec::new();
    let request = Request::touch(
        key_object(cx, mm, at),
        Access::Update,
        cx.machine.costs().l1,
    );
    cx.machine
        .step(request, |_| {
            let mut all = cx.futexes.borrow_mut();
            if let Some(queue) = all.get_mut(&(mm, at.get())) {
                let take = queue.len().min(count as usize);
                woken.extend(queue.drain(..take));
                if queue.is_empty() {
                    all.remove(&(mm, at.get()));
                }
            }
        })
        .await;
    let total = woken.len() as u32;
    for thread in woken {
        sched::try_to_wake_up(cx, thread, "futex_wait").await;
    }
    total
}
