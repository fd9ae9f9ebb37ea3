//! Ends of tasks, processes and address spaces, and waiting for them.

use emu::{Access, Kind, Object, Request};
use mmu::{Pfn, Pte, VirtAddr, walk};

use crate::flush::{FlushRange, Revoked};
use crate::huge::{huge_ptep_set_wrprotect, unmap_hugepage};
use crate::lock::{down_write, up_write};
use crate::mm::{Found, MmId, VmFlags, Vma, find_any, read_pte, set_pte_at, update_pte};
use crate::page::page_remove_rmap;
use crate::rmap::anon_vma_unlink;
use crate::swap::free_swap_and_cache;
use crate::task::{ExitStatus, Pid, ProcessId, TaskState};
use crate::{Cx, Errno, context, event, sched};

pub(crate) fn process_object(cx: Cx<'_>, process: ProcessId) -> Object {
    let pid = cx.processes.borrow().get(process).map_or(0, |it| it.pid);
    pid_object(pid)
}

fn pid_object(pid: Pid) -> Object {
    Object::new(Kind::Task, 1 << 32 | u64::from(pid))
}

fn process_request(cx: Cx<'_>, process: ProcessId) -> Request {
    Request::touch(
        process_object(cx, process),
        Access::Update,
        cx.machine.costs().l1,
    )
}

/// The whole process ends: its other tasks leave at their next return to user mode.
pub async fn do_group_exit(cx: Cx<'_>, status: ExitStatus) {
    let _span = cx.machine.span("do_group_exit");
    let me = cx.current();
    let process = cx.tasks.borrow()[me].process;
    let mut asleep = Vec::new();
    cx.machine
        .step(process_request(cx, process), |_| {
            let mut processes = cx.processes.borrow_mut();
            let it = &mut processes[process];
            if it.exit.is_some() {
                return;
            }
            it.exit = Some(status);
            for other in it.tasks.iter().filter(|task| **task != me) {
                let mut tasks = cx.tasks.borrow_mut();
                let task = &mut tasks[*other];
                // It may leave before any of its steps.
                cx.machine
                    .touch(emu::cpu_object(task.cpu), emu::Touch::Write);
                if !std::mem::replace(&mut task.killed, true) {
                    cx.kills_pending.set(cx.kills_pending.get() + 1);
                }
                asleep.push(task.thread);
            }
        })
        .await;
    for thread in asleep {
        wake_if_interruptible(cx, thread).await;
    }
    do_exit(cx, status).await;
}

/// A killed task wakes from the sleeps that a signal ends; others it finishes first.
async fn wake_if_interruptible(cx: Cx<'_>, thread: emu::ThreadId) {
    let task = Object::new(Kind::Task, u64::from(thread.0));
    cx.machine.touch(task, emu::Touch::Read);
    let state = cx.task_of(thread, |task| task.state);
    for what in [
        "futex_wait",
        sched::PAUSE,
        "hrtimer_nanosleep",
        "wait4",
        "dio_range_wait",
        "pipe_wait",
    ] {
        if state == Some(TaskState::Sleeping(what)) {
            cx.futexes
                .borrow_mut()
                .values_mut()
                .for_each(|queue| queue.retain(|one| *one != thread));
            return sched::try_to_wake_up(cx, thread, what).await;
        }
    }
}

/// Part of a step: whether a signal waits for the current task.
pub(crate) fn signal_pending(cx: Cx<'_>) -> bool {
    let task = &cx.tasks.borrow()[cx.current()];
    cx.machine
        .touch(process_object(cx, task.process), Access::Read);
    task.killed
}

/// The current task ends; the last of a process leaves a zombie for its parent.
pub async fn do_exit(cx: Cx<'_>, status: ExitStatus) {
    let _span = cx.machine.span("do_exit");
    let me = cx.current();
    let (process, mm) = {
        let mut tasks = cx.tasks.borrow_mut();
        (tasks[me].process, tasks[me].mm.take())
    };
    if let Some(mm) = mm {
        context::enter_lazy_tlb(cx, cx.machine.cpu());
        mmput(cx, mm).await;
    }
    let lent = {
        let it = &cx.processes.borrow()[process];
        it.vforked.then_some(it.pid)
    };
    if let Some(pid) = lent {
        event::signal(cx, event::vfork_done(pid)).await;
    }
    let mut waiters = Vec::new();
    let mut notify = None;
    cx.machine
        .step(process_request(cx, process), |_| {
            let mut processes = cx.processes.borrow_mut();
            let it = &mut processes[process];
            it.tasks.retain(|task| *task != me);
            if !it.tasks.is_empty() {
                return;
            }
            let status = *it.exit.get_or_insert(status);
            it.zombie = true;
            notify = it.parent;
            if it.main {
                cx.exit_status.set(Some(status.code()));
            }
        })
        .await;
    if let Some(parent) = notify {
        cx.machine
            .step(process_request(cx, parent), |_| {
                if let Some(it) = cx.processes.borrow_mut().get_mut(parent) {
                    waiters = std::mem::take(&mut it.waiters);
                }
            })
            .await;
    }
    for thread in waiters {
        sched::try_to_wake_up(cx, thread, "wait4").await;
    }
}

/// Waits for a child to end (`wait4`); `None` takes any.
pub async fn do_wait(cx: Cx<'_>, pid: Option<Pid>) -> Result<(Pid, ExitStatus), Errno> {
    let _span = cx.machine.span("do_wait");
    let thread = cx.current_thread();
    let me = cx.tasks.borrow()[cx.current()].process;
    loop {
        let mut found = None;
        let mut any = false;
        cx.machine
            .step(process_request(cx, me), |_| {
                let mut processes = cx.processes.borrow_mut();
                let child = processes
                    .iter()
                    .filter(|(_, it)| it.parent == Some(me) && pid.is_none_or(|pid| pid == it.pid))
                    .inspect(|(_, it)| {
                        any = true;
                        cx.machine.touch(pid_object(it.pid), emu::Touch::Read);
                    })
                    .find(|(_, it)| it.zombie)
                    .map(|(id, _)| id);
                if let Some(child) = child {
                    let it = processes.remove(child).expect("it was just found");
                    found = Some((it.pid, it.exit.unwrap_or(ExitStatus::Exited(0))));
                } else if any {
                    processes[me].waiters.push(thread);
                    cx.set_sleeping(thread, "wait4");
                }
            })
            .await;
        match found {
            Some(child) => return Ok(child),
            None if !any => return Err(Errno::ECHILD),
            None => sched::block(cx).await,
        }
        if signal_pending(cx) {
            return Err(Errno::EINTR);
        }
    }
}

/// One user of an address space fewer; the last one takes it down.
pub async fn mmput(cx: Cx<'_>, mm: MmId) {
    let request = Request::touch(
        context::mm_object(cx, mm),
        Access::Update,
        cx.machine.costs().l1,
    );
    let left = cx
        .machine
        .step(request, |_| {
            let mut mms = cx.mms.borrow_mut();
            mms[mm].users -= 1;
            mms[mm].users
        })
        .await;
    if left == 0 {
        cx.machine.may_sleep("mmput");
        exit_mmap(cx, mm).await;
    }
}

/// Takes an address space down: entries, flush, frames, tables.
async fn exit_mmap(cx: Cx<'_>, mm: MmId) {
    let _span = cx.machine.span("exit_mmap");
    let vmas: Vec<Vma> = cx.mms.borrow()[mm].vmas.values().cloned().collect();
    cx.oracles.address_space_gone(cx, mm);
    let mut revoked = Revoked::new(mm, FlushRange::All);
    for vma in &vmas {
        zap_pte_range(cx, mm, vma.start, vma.end, &mut revoked).await;
    }
    revoked.finish(cx).await;
    anon_vma_unlink(cx, mm).await;
    free_pgtables(cx, mm).await;
    let it = cx
        .mms
        .borrow_mut()
        .remove(mm)
        .expect("an address space ends once");
    cx.machine.destroy_lock(it.mmap_sem);
    cx.machine.destroy_lock(it.ptl);
}

/// Clears the entries from `start` to `end`.
pub async fn zap_pte_range(
    cx: Cx<'_>,
    mm: MmId,
    start: VirtAddr,
    end: VirtAddr,
    revoked: &mut Revoked,
) {
    let _span = cx.machine.span("zap_pte_range");
    let mut va = start;
    while va < end {
        let table_end = VirtAddr::new((va.get() | (mmu::LARGE_PAGE_SIZE as u64 - 1)) + 1);
        let stop = table_end.min(end);
        let found = find_any(cx, mm, va).await;
        if let Some(Found::Huge(at, _)) = found {
            let ptl = cx.machine.spin_lock(cx.mm(mm).ptl).await;
            unmap_hugepage(cx, mm, va, at, revoked).await;
            ptl.unlock().await;
        }
        if let Some(Found::Small(first)) = found {
            let ptl = cx.machine.spin_lock(cx.mm(mm).ptl).await;
            for page in 0..(stop - va) / mmu::PAGE_SIZE as u64 {
                let at = first + page * 8;
                let here = va + page * mmu::PAGE_SIZE as u64;
                if read_pte(cx, at).await.is_none() {
                    continue;
                }
                let old = set_pte_at(cx, mm, here, at, Pte::NONE).await;
                if !old.present() {
                    free_swap_and_cache(cx, old).await;
                } else if old.pfn() != cx.zero_page {
                    page_remove_rmap(cx, old.pfn()).await;
                    revoked.push(old.pfn());
                }
            }
            ptl.unlock().await;
        }
        va = stop;
    }
}

/// Frees the page tables, when no CPU translates through them any more.
async fn free_pgtables(cx: Cx<'_>, mm: MmId) {
    let mut tables: Vec<Pfn> = Vec::new();
    walk::for_each_table(&cx.machine.memory(), cx.mm(mm).root, |pfn, _| {
        tables.push(pfn)
    });
    for pfn in tables {
        let request = Request::touch(
            Object::new(Kind::Zone, 0),
            Access::Update,
            cx.machine.costs().l2,
        );
        cx.machine.step(request, |_| cx.free_frame(pfn)).await;
    }
}

/// Removes the mappings from `start` to `end`.
pub async fn do_munmap(cx: Cx<'_>, start: VirtAddr, end: VirtAddr) {
    let _span = cx.machine.span("do_munmap");
    let mm = cx.current_mm();
    let sem = cx.mm(mm).mmap_sem;
    down_write(cx, sem).await;
    {
        let mut mms = cx.mms.borrow_mut();
        for at in mms[mm].carve(start, end) {
            mms[mm].vmas.remove(&at);
        }
    }
    cx.oracles.unmapped(cx, mm, start, end - start);
    let mut revoked = Revoked::new(mm, FlushRange::Range { start, end });
    zap_pte_range(cx, mm, start, end, &mut revoked).await;
    revoked.finish(cx).await;
    up_write(cx, sem).await;
}

/// Drops the contents from `start` to `end` (`MADV_DONTNEED`): zeros at the next touch.
pub async fn madvise_dontneed(cx: Cx<'_>, start: VirtAddr, end: VirtAddr) {
    let _span = cx.machine.span("madvise_dontneed");
    let mm = cx.current_mm();
    let sem = cx.mm(mm).mmap_sem;
    crate::lock::down_read(cx, sem).await;
    cx.oracles.dontneed(cx, mm, start, end - start);
    let mut revoked = Revoked::new(mm, FlushRange::Range { start, end });
    zap_pte_range(cx, mm, start, end, &mut revoked).await;
    revoked.finish(cx).await;
    crate::lock::up_read(cx, sem).await;
}

/// Changes flags of the mappings from `start` to `end`.
pub async fn change_vm_flags(
    cx: Cx<'_>,
    start: VirtAddr,
    end: VirtAddr,
    change: impl Fn(&mut VmFlags),
) -> Result<(), Errno> {
    let mm = cx.current_mm();
    let sem = cx.mm(mm).mmap_sem;
    down_write(cx, sem).await;
    let covered = {
        let mut mms = cx.mms.borrow_mut();
        let starts = mms[mm].carve(start, end);
        let mut covered = 0;
        for at in &starts {
            let vma = mms[mm].vmas.get_mut(at).expect("carve returns mappings");
            covered += vma.end - vma.start;
            change(&mut vma.flags);
        }
        covered
    };
    up_write(cx, sem).await;
    if covered == end - start {
        Ok(())
    } else {
        Err(Errno::ENOMEM)
    }
}

/// Takes the permission to write away from the entries, or leaves it to the next fault to give
/// it back (`mprotect`).
pub async fn mprotect(
    cx: Cx<'_>,
    start: VirtAddr,
    end: VirtAddr,
    writable: bool,
) -> Result<(), Errno> {
    let _span = cx.machine.span("mprotect_fixup");
    change_vm_flags(cx, start, end, |flags| flags.set(VmFlags::WRITE, writable)).await?;
    if writable {
        return Ok(());
    }
    let mm = cx.current_mm();
    let sem = cx.mm(mm).mmap_sem;
    down_write(cx, sem).await;
    let mut va = start;
    while va < end {
        let found = find_any(cx, mm, va).await;
        let mut size = mmu::PAGE_SIZE as u64;
        if let Some(Found::Small(at)) = found {
            let ptl = cx.machine.spin_lock(cx.mm(mm).ptl).await;
            if read_pte(cx, at).await.present() {
                update_pte(cx, mm, va, at, |pte| pte.without(mmu::PteFlags::W)).await;
            }
            ptl.unlock().await;
        }
        if let Some(Found::Huge(at, _)) = found {
            let ptl = cx.machine.spin_lock(cx.mm(mm).ptl).await;
            huge_ptep_set_wrprotect(cx, mm, va, at).await;
            ptl.unlock().await;
            size = mmu::LARGE_PAGE_SIZE as u64;
        }
        va = va + size;
    }
    crate::flush::flush_tlb_mm(cx, mm, FlushRange::Range { start, end }).await;
    up_write(cx, sem).await;
    Ok(())
}
