//! The programs, one file each.

pub mod dio_batches;
pub mod dio_crossed;
pub mod dio_exit;
pub mod dio_fork;
pub mod dio_rev;
pub mod dirty_loss;
pub mod dma_thread;
pub mod fork_cost;
pub mod fork_list;
pub mod fork_pressure;
pub mod fork_write;
pub mod forkscrew;
pub mod forkscrew_reverse;
pub mod huge;
pub mod ksm;
pub mod lost_update;
pub mod page_batch;
pub mod poke;
pub mod snap;
pub mod soft_dirty;
pub mod swap_count;
pub mod swap_entry;
pub mod swap_fork;
pub mod swap_ro;
pub mod takeover;
pub mod vendor_512;
