//! `never`: no flush at all, not even of the CPU's own TLB. The negative control: the
//! `tlb-coherence` oracle must catch it.

use devices::Vector;
use emu::{Code, CpuId};

use super::{FlushPolicy, FlushRange};
use crate::Cx;
use crate::mm::MmId;

pub struct Never;

impl FlushPolicy for Never {
    fn name(&self) -> &'static str {
        "never"
    }

    fn about(&self) -> &'static str {
        "no flush at all: the negative control"
    }

    fn flush<'w>(&self, _: Cx<'w>, _: MmId, _: FlushRange) -> Code<'w> {
        Box::pin(async {})
    }

    fn interrupt<'w>(&self, _: Cx<'w>, _: CpuId, vector: Vector) -> Code<'w> {
        unreachable!("never sends no {vector}")
    }
}
