//! The list of reproducers and loads.

use crate::Reproducer;
use crate::repro::{
    dio_batches, dio_crossed, dio_exit, dio_fork, dio_rev, dirty_loss, dma_thread, exclusive,
    fork_cost, fork_list, fork_pressure, fork_write, forkscrew, forkscrew_reverse, huge, huge_file,
    ksm, lost_update, page_batch, pin_read, poke, snap, soft_dirty, swap_count, swap_entry,
    swap_fork, swap_ro, takeover, vendor_512,
};

/// Everything there is, in the order of the record.
pub const CATALOGUE: &[&dyn Reproducer] = &[
    &forkscrew::Forkscrew,
    &dma_thread::DmaThread,
    &forkscrew_reverse::ForkscrewReverse,
    &vendor_512::Vendor512,
    &lost_update::LostUpdate,
    &fork_write::ForkWrite,
    &huge::Huge,
    &takeover::Takeover,
    &swap_ro::SwapRo,
    &swap_count::SwapCount,
    &swap_entry::SwapEntry,
    &swap_fork::SwapFork,
    &dirty_loss::DirtyLoss,
    &page_batch::PageBatch,
    &dio_fork::DioFork,
    &dio_rev::DioRev,
    &dio_crossed::DioCrossed,
    &dio_batches::DioBatches,
    &dio_exit::DioExit,
    &fork_list::ForkList,
    &fork_pressure::ForkPressure,
    &snap::Snap,
    &fork_cost::ForkCost,
    &huge_file::HugeFile,
    &ksm::Ksm,
    &poke::Poke,
    &soft_dirty::SoftDirty,
    &exclusive::Exclusive,
    &pin_read::PinRead,
];
