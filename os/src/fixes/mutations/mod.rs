//! Mutations: patches that take one necessary step out of a fix, one a file, listed in [`ALL`]. Each
//! turns red the clean rows that it guards, so that a clean row is known to look where the step is.

mod batch_undrained;
mod busy_lock_copies;
mod clear_refs_forgets;
mod completes_early;
mod count_untested;
mod fork_copies_foreign;
mod fork_copies_none;
mod fork_sem_to_submit;
mod fork_shares_writable;
mod looks_unlocked;
mod new_pages_unmarked;
mod no_dirty_at_unpin;
mod no_flush_before_copy;
mod no_fork_barrier;
mod no_pin_barrier;
mod no_pin_mark;
mod no_recheck;
mod no_share_barriers;
mod page_lock_at_submit;
mod page_sem_at_submit;
mod page_sem_to_first;
mod pinned_get_slots;
mod pins_not_looked_for;
mod range_not_entered;
mod read_pins_share;
mod restore_blindly;
mod seq_read_once;
mod shares_untested;
mod tables_stay_mapped;
mod unmap_untested;
mod unshares_none;
mod wait_blindly;

use crate::patch::Patch;

/// The mutations there are.
pub const ALL: &[&dyn Patch] = &[
    &no_recheck::NoRecheck,
    &no_pin_mark::NoPinMark,
    &wait_blindly::WaitBlindly,
    &restore_blindly::RestoreBlindly,
    &no_dirty_at_unpin::NoDirtyAtUnpin,
    &page_sem_at_submit::PageSemAtSubmit,
    &page_sem_to_first::PageSemToFirst,
    &fork_sem_to_submit::ForkSemToSubmit,
    &unmap_untested::UnmapUntested,
    &range_not_entered::RangeNotEntered,
    &count_untested::CountUntested,
    &no_flush_before_copy::NoFlushBeforeCopy,
    &seq_read_once::SeqReadOnce,
    &pins_not_looked_for::PinsNotLookedFor,
    &looks_unlocked::LooksUnlocked,
    &page_lock_at_submit::PageLockAtSubmit,
    &busy_lock_copies::BusyLockCopies,
    &read_pins_share::ReadPinsShare,
    &fork_copies_none::ForkCopiesNone,
    &fork_copies_foreign::ForkCopiesForeign,
    &tables_stay_mapped::TablesStayMapped,
    &batch_undrained::BatchUndrained,
    &completes_early::CompletesEarly,
    &fork_shares_writable::ForkSharesWritable,
    &clear_refs_forgets::ClearRefsForgets,
    &no_pin_barrier::NoPinBarrier,
    &no_fork_barrier::NoForkBarrier,
    &pinned_get_slots::PinnedGetSlots,
    &shares_untested::SharesUntested,
    &new_pages_unmarked::NewPagesUnmarked,
    &no_share_barriers::NoShareBarriers,
    &unshares_none::UnsharesNone,
];
