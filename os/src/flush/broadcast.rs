//! `broadcast`: the CPU that flushes says so to all TLBs by an instruction, and waits until they have
//! done it; no CPU is interrupted, so none can hold it off. As ARM's TLBI with the barriers around it.

use devices::Vector;
use emu::{Access, Code, CpuId, Kind, Object, Request};

use super::{FlushPolicy, FlushRange, flush_now};
use crate::Cx;
use crate::mm::MmId;

pub struct Broadcast;

impl FlushPolicy for Broadcast {
    fn name(&self) -> &'static str {
        "broadcast"
    }

    fn about(&self) -> &'static str {
        "an instruction that reaches every TLB; nobody is interrupted"
    }

    fn flush<'w>(&self, cx: Cx<'w>, _: MmId, range: FlushRange) -> Code<'w> {
        Box::pin(async move {
            for cpu in 0..cx.machine.size().cpus {
                let object = Object::new(Kind::Tlb, u64::from(cpu));
                let request = Request::touch(object, Access::Update, cx.machine.costs().l2);
                cx.machine
                    .step(request, |_| flush_now(cx, CpuId(cpu), range))
                    .await;
            }
        })
    }

    fn interrupt<'w>(&self, _: Cx<'w>, _: CpuId, vector: Vector) -> Code<'w> {
        unreachable!("broadcast sends no {vector}")
    }
}
