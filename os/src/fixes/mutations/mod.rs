//! Mutations: patches that take one necessary step out of a fix, one a file, listed in [`ALL`]. Each
//! turns red the clean rows that it guards, so that a clean row is known to look where the step is.

mod count_untested;
mod fork_sem_to_submit;
mod no_dirty_at_unpin;
mod no_flush_before_copy;
mod no_pin_mark;
mod no_recheck;
mod page_sem_at_submit;
mod page_sem_to_first;
mod pins_not_looked_for;
mod range_not_entered;
mod restore_blindly;
mod seq_read_once;
mod unmap_untested;
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
];
