//! Registrations of memory take pins instead of references, and the lockless way: a pin adds 1,024 to
//! the count, and the address space remembers that it ever pinned. Nothing asks for it yet.
//!
//! Who: John Hubbard, mainline eddb1c228f79 (v5.6) and 3faa52c03f44 (v5.7); row U09. Breaks: alone, all
//! that broke before; 1,024 references look like a pin. Costs: nothing to speak of.

use crate::patch::{DmaPins, Patch};

pub struct DmaPinsOwn;

impl Patch for DmaPinsOwn {
    fn name(&self) -> &'static str {
        "dma-pins"
    }

    fn about(&self) -> &'static str {
        "registrations take pins, which are counted apart from references"
    }

    fn dma_pins(&self) -> Option<DmaPins> {
        Some(DmaPins::Registrations)
    }
}
