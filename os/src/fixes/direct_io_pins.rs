//! Direct I/O takes pins too, so that what guards pins guards it.
//!
//! Who: David Howells, mainline a7e689dd1c06 and 1ccf164ec866, v6.5; row U22, fourteen years after the
//! report. Breaks: nothing known; other users of plain references are as open as before. Costs: nothing
//! to speak of.

use crate::patch::{DmaPins, Patch};

pub struct DirectIoPins;

impl Patch for DirectIoPins {
    fn name(&self) -> &'static str {
        "direct-io-pins"
    }

    fn about(&self) -> &'static str {
        "direct I/O takes pins, not references"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["dma-pins"]
    }

    fn dma_pins(&self) -> Option<DmaPins> {
        Some(DmaPins::DirectIo)
    }
}
