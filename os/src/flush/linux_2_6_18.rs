//! `linux-2.6.18`: eight vectors, a slot each (slot = CPU mod 8). The initiator takes the slot's
//! lock, publishes what to flush and for whom, sends the interrupt and spins until the mask is
//! empty. A range of more than one page is a full flush.

use devices::Vector;
use emu::{Access, Code, CpuId, Kind, Object, Request, Touch, Want};

use super::{CALL_SLOTS, FlushPolicy, FlushRange, flush_local, slot_object};
use crate::Cx;
use crate::context::{cpumask_object, leave_mm, local_object, mm_object, tlb_object};
use crate::cpuset::CpuSet;
use crate::irq::INVALIDATE_VECTOR;
use crate::mm::MmId;

pub struct Linux2618;

impl FlushPolicy for Linux2618 {
    fn name(&self) -> &'static str {
        "linux-2.6.18"
    }

    fn about(&self) -> &'static str {
        "an interrupt to every CPU in mm_cpumask, eight slots, full flush for more than a page"
    }

    fn flush<'w>(&self, cx: Cx<'w>, mm: MmId, range: FlushRange) -> Code<'w> {
        Box::pin(flush(cx, mm, range))
    }

    fn declares_all(&self) -> bool {
        true
    }

    fn interrupt<'w>(&self, cx: Cx<'w>, cpu: CpuId, vector: Vector) -> Code<'w> {
        declare_interrupt(cx, cpu, vector);
        Box::pin(smp_invalidate_interrupt(cx, vector))
    }
}

/// What the interrupt will touch of what its CPU's own steps touch.
fn declare_interrupt(cx: Cx<'_>, cpu: CpuId, vector: Vector) {
    cx.machine.touch(tlb_object(cpu), Touch::Write);
    let lazy = cx.percpu[cpu.0 as usize].lazy.get();
    let touch = if lazy { Touch::Write } else { Touch::Read };
    cx.machine.touch(local_object(cpu), touch);
    let index = usize::from(vector.0 - INVALIDATE_VECTOR.0);
    cx.machine.touch(what_object(index), Touch::Read);
    let (what, pending) = {
        let slots = cx.call_slots.borrow();
        (slots[index].what, slots[index].pending)
    };
    let counter = Object::new(Kind::Counter, u64::from(pending));
    cx.machine.touch(counter, Touch::Adjust);
    if let Some((mm, _)) = what {
        cx.machine.touch(cpumask_object(cx, mm), Touch::Adjust);
    }
}

async fn flush(cx: Cx<'_>, mm: MmId, range: FlushRange) {
    let here = &cx.percpu[cx.machine.cpu().0 as usize];
    let me = cx.machine.cpu();
    let request = Request::touch(mm_object(cx, mm), Access::Read, cx.machine.costs().l1);
    let mut others = CpuSet::EMPTY;
    cx.machine
        .step(request, |acting| {
            acting.narrow(cpumask_object(cx, mm), Touch::Read);
            cx.machine.touch(local_object(me), Touch::Read);
            others = cx.mms.borrow()[mm].cpumask;
            others.remove(me);
            u64::from(others.len())
        })
        .await;
    if here.active_mm.get() == Some(mm) {
        flush_local(cx, range).await;
    }
    if !others.is_empty() {
        flush_tlb_others(cx, others, mm, range).await;
    }
}

/// What a slot asks for, apart from who has acknowledged.
fn what_object(index: usize) -> Object {
    Object::new(Kind::Call, 1 << 16 | index as u64)
}

/// Asks `cpus` and waits for all of them.
async fn flush_tlb_others(cx: Cx<'_>, cpus: CpuSet, mm: MmId, range: FlushRange) {
    let _span = cx.machine.span("flush_tlb_others");
    let costs = cx.machine.costs();
    let index = usize::from(cx.machine.cpu().0) % CALL_SLOTS;
    let (lock, pending) = {
        let slots = cx.call_slots.borrow();
        (slots[index].lock, slots[index].pending)
    };
    cx.machine.spend(u64::from(costs.call_overhead));
    let guard = cx.machine.spin_lock(lock).await;
    let publish = Request::touch(slot_object(index), Access::Write, costs.l1);
    cx.machine
        .step(publish, |acting| {
            acting.narrow(what_object(index), Touch::Write);
            let slot = &mut cx.call_slots.borrow_mut()[index];
            slot.what = Some((mm, range));
            slot.mask = cpus;
            acting.add_counter(pending, i64::from(cpus.len()));
        })
        .await;
    let send = costs.ipi_send + costs.ipi_next_target * (cpus.len() - 1);
    let first = cpus.iter().next().map_or(0, |cpu| u64::from(cpu.0));
    let object = Object::new(Kind::Irq, first);
    cx.machine
        .step(Request::touch(object, Access::Write, send), |acting| {
            for cpu in cpus.iter() {
                acting.send(cpu, Vector(INVALIDATE_VECTOR.0 + index as u8));
            }
            u64::from(cpus.len())
        })
        .await;
    cx.count("flush interrupts", u64::from(cpus.len()));
    let all_done = Request::touch(slot_object(index), Access::Read, costs.l1);
    cx.machine
        .step(all_done.when(Want::Zero(pending)), |acting| {
            acting.narrow(Object::new(Kind::Counter, u64::from(pending)), Touch::Read);
        })
        .await;
    guard.unlock().await;
}

/// The receiving side: flush if this CPU runs that address space, leave it if lazily, and
/// acknowledge.
async fn smp_invalidate_interrupt(cx: Cx<'_>, vector: Vector) {
    let _span = cx.machine.span("smp_invalidate_interrupt");
    let index = usize::from(vector.0 - INVALIDATE_VECTOR.0);
    let cpu = cx.machine.cpu();
    let costs = cx.machine.costs();
    let mut what = None;
    let look = Request::touch(slot_object(index), Access::Read, costs.l1);
    cx.machine
        .step(look, |acting| {
            acting.narrow(what_object(index), Touch::Read);
            let slot = &cx.call_slots.borrow()[index];
            what = slot.what.filter(|_| slot.mask.contains(cpu));
        })
        .await;
    let Some((mm, range)) = what else { return };
    let here = &cx.percpu[cpu.0 as usize];
    if here.active_mm.get() == Some(mm) {
        if here.lazy.get() {
            leave_mm(cx, cpu).await;
        } else {
            flush_local(cx, range).await;
        }
    }
    let acknowledge = Request::touch(slot_object(index), Access::Update, costs.l1);
    cx.machine
        .step(acknowledge, |acting| {
            let slot = &mut cx.call_slots.borrow_mut()[index];
            slot.mask.remove(cpu);
            let pending = slot.pending;
            acting.narrow(
                Object::new(Kind::Counter, u64::from(pending)),
                Touch::Adjust,
            );
            acting.add_counter(pending, -1);
        })
        .await;
}
