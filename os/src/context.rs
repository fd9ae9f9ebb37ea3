//! Switching address spaces: root tables, lazy TLBs, the mask of CPUs that may hold translations.

use emu::{Access, CpuId, Kind, Object, Request, ThreadId, Touch};

use crate::Cx;
use crate::mm::MmId;

/// The object that stands for an address space in traces.
pub fn mm_object(cx: Cx<'_>, mm: MmId) -> Object {
    Object::new(Kind::Mm, u64::from(cx.pid_of(mm)))
}

/// Which address space a CPU runs, and whether lazily: what the flush interrupt asks.
pub fn local_object(cpu: CpuId) -> Object {
    Object::new(Kind::Tlb, 1 << 16 | u64::from(cpu.0))
}

/// The TLB of a CPU.
pub fn tlb_object(cpu: CpuId) -> Object {
    Object::new(Kind::Tlb, u64::from(cpu.0))
}

/// Who may hold translations of an address space, apart from the rest of it: every CPU changes
/// its own bit.
pub fn cpumask_object(cx: Cx<'_>, mm: MmId) -> Object {
    Object::new(Kind::Mm, 1 << 32 | u64::from(cx.pid_of(mm)))
}

/// `context_switch`: the address space, then the registers.
pub async fn switch_to(cx: Cx<'_>, cpu: CpuId, thread: ThreadId) {
    let mm = cx.task_of(thread, |task| task.mm).flatten();
    cx.change_task(thread, |task| task.cpu = cpu);
    let same = cx.percpu[cpu.0 as usize].last_thread.replace(Some(thread)) == Some(thread);
    if !same {
        cx.machine
            .spend(u64::from(cx.machine.costs().context_switch));
        cx.count("context switches", 1);
    }
    match mm {
        Some(mm) => switch_mm(cx, cpu, mm).await,
        None => enter_lazy_tlb(cx, cpu),
    }
}

/// The CPU runs nobody's program: it keeps the address space it had, lazily.
pub fn enter_lazy_tlb(cx: Cx<'_>, cpu: CpuId) {
    cx.machine.touch(local_object(cpu), Touch::Write);
    cx.percpu[cpu.0 as usize].lazy.set(true);
}

/// Loads `next`, unless it is loaded and was not left meanwhile. Without address-space numbers
/// a load flushes the TLB.
async fn switch_mm(cx: Cx<'_>, cpu: CpuId, next: MmId) {
    let here = &cx.percpu[cpu.0 as usize];
    cx.machine.touch(local_object(cpu), Touch::Write);
    let prev = here.active_mm.get();
    here.lazy.set(false);
    if prev == Some(next) && cx.mms.borrow()[next].cpumask.contains(cpu) {
        return;
    }
    if let Some(prev) = prev.filter(|prev| *prev != next) {
        clear_cpumask(cx, prev, cpu).await;
    }
    let request = Request::touch(mm_object(cx, next), Access::Update, cx.machine.costs().l1);
    cx.machine
        .step(request, |acting| {
            acting.narrow(cpumask_object(cx, next), Touch::Adjust);
            cx.mms.borrow_mut()[next].cpumask.insert(cpu);
            cx.machine.touch(local_object(cpu), Touch::Write);
            here.active_mm.set(Some(next));
        })
        .await;
    load_cr3(cx, cpu, Some(next)).await;
}

async fn clear_cpumask(cx: Cx<'_>, mm: MmId, cpu: CpuId) {
    if !cx.mms.borrow().contains_key(mm) {
        return;
    }
    let request = Request::touch(mm_object(cx, mm), Access::Update, cx.machine.costs().l1);
    cx.machine
        .step(request, |acting| {
            acting.narrow(cpumask_object(cx, mm), Touch::Adjust);
            if let Some(mm) = cx.mms.borrow_mut().get_mut(mm) {
                mm.cpumask.remove(cpu);
            }
        })
        .await;
}

/// A CPU in lazy-TLB mode gives the address space up (`leave_mm`).
pub async fn leave_mm(cx: Cx<'_>, cpu: CpuId) {
    let here = &cx.percpu[cpu.0 as usize];
    cx.machine.touch(local_object(cpu), Touch::Write);
    if let Some(mm) = here.active_mm.get() {
        clear_cpumask(cx, mm, cpu).await;
        here.active_mm.set(None);
    }
    load_cr3(cx, cpu, None).await;
}

async fn load_cr3(cx: Cx<'_>, cpu: CpuId, mm: Option<MmId>) {
    let root = mm.map(|mm| cx.mm(mm).root);
    let object = Object::new(Kind::Tlb, u64::from(cpu.0));
    let request = Request::touch(object, Access::Write, cx.machine.costs().cr3_flush);
    cx.machine
        .step(request, |_| {
            cx.machine.set_root(cpu, root, 0);
            cx.machine.tlb(cpu).flush_all();
            cx.machine.walk_cache(cpu).flush();
        })
        .await;
}
