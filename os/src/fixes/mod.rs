//! Patches, one a file, listed in [`ALL`]; base kernels ([`KERNELS`]), each a list of patches on
//! v2.6.18; and the rows of the verdict matrix that stand for whole configurations ([`ROWS`]).

mod anon_exclusive;
mod clear_refs_keeps_pinned;
mod copy_if_foreign;
mod copy_if_foreign_locked;
mod count_is_one;
mod cow_first_owner;
mod cow_first_pin;
mod decow_at_fork;
mod decow_retry;
mod dio_fork_sem;
mod dio_fork_sem_to_end;
mod dio_ranges;
mod dio_ranges_huge_size;
mod dio_ranges_ignore_signal;
mod dio_ranges_round_up;
mod direct_io_pins;
mod dma_pins;
mod dontcow_advice;
mod drain_first;
mod exclusive_barriers;
mod fast_entry_unshares;
mod fast_entry_unshares_anon;
mod fast_gup;
mod fast_pin_recheck;
mod fork_copy_atomic;
mod fork_copy_dma_pinned;
mod fork_copy_huge_pinned;
mod fork_copy_leaks;
mod fork_copy_unlocked;
mod fork_enomem_leaks;
mod fork_flush_before_copy;
mod fork_protects_before_pins;
mod fork_restore_present;
mod fork_test_first;
mod fork_test_read_only;
mod fork_unmap_tables;
mod high_page_tables;
mod huge_fork_keeps_lock;
mod huge_lock_new;
mod huge_lock_old;
mod huge_write_protect_seq;
mod ksm_clear_then_count;
mod ksm_count_first;
mod mmap_sem_once;
mod mmap_sem_over_io;
pub mod mutations;
mod no_swap_dma_pinned;
mod no_swap_posted;
mod no_swap_referenced;
mod only_reference;
mod page_lock_in_pin;
mod page_lock_over_io;
mod page_sem;
mod page_sem_in_pin;
mod page_sem_to_last;
mod page_sem_under_mmap_sem;
mod pg_gup;
mod pg_gup_fast;
mod pg_gup_huge;
mod pg_gup_recheck;
mod pg_gup_write;
mod pin_keeps_asking;
mod pin_referenced;
mod pinned_mappings;
mod pins_hold_fork_lock;
mod pins_per_root;
mod read_pin_owns;
mod read_pin_owns_masked;
mod read_pin_unshares;
mod reuse_swap_page;
mod submit_each_batch;
mod unmap_count_first;
mod unmap_recheck;
mod unshare_anonymous;
mod unshare_long_term;
mod wait_for_page_lock;
mod write_pinned;
mod write_protect_seq;

use crate::patch::Patch;

/// The patches there are.
pub const ALL: &[&dyn Patch] = &[
    &wait_for_page_lock::WaitForPageLock,
    &fast_gup::FastGup,
    &pg_gup_write::PgGupWrite,
    &pg_gup::PgGup,
    &pg_gup_fast::PgGupFast,
    &pg_gup_recheck::PgGupRecheck,
    &pg_gup_huge::PgGupHuge,
    &huge_fork_keeps_lock::HugeForkKeepsLock,
    &huge_lock_new::HugeLockNew,
    &huge_lock_old::HugeLockOld,
    &huge_write_protect_seq::HugeWriteProtectSeq,
    &reuse_swap_page::ReuseSwapPage,
    &count_is_one::CountIsOne,
    &no_swap_posted::NoSwapPosted,
    &no_swap_referenced::NoSwapReferenced,
    &pin_referenced::PinReferenced,
    &unmap_count_first::UnmapCountFirst,
    &unmap_recheck::UnmapRecheck,
    &write_pinned::WritePinned,
    &only_reference::OnlyReference,
    &drain_first::DrainFirst,
    &fork_copy_unlocked::ForkCopyUnlocked,
    &fork_restore_present::ForkRestorePresent,
    &fork_unmap_tables::ForkUnmapTables,
    &fork_copy_atomic::ForkCopyAtomic,
    &fork_enomem_leaks::ForkEnomemLeaks,
    &high_page_tables::HighPageTables,
    &decow_at_fork::DecowAtFork,
    &decow_retry::DecowRetry,
    &dontcow_advice::DontcowAdvice,
    &pins_per_root::PinsPerRoot,
    &copy_if_foreign::CopyIfForeign,
    &copy_if_foreign_locked::CopyIfForeignLocked,
    &page_lock_over_io::PageLockOverIo,
    &page_lock_in_pin::PageLockInPin,
    &page_sem::PageSemFirst,
    &page_sem_to_last::PageSemToLast,
    &page_sem_in_pin::PageSemInPin,
    &page_sem_under_mmap_sem::PageSemUnderMmapSem,
    &submit_each_batch::SubmitEachBatch,
    &mmap_sem_over_io::MmapSemOverIo,
    &mmap_sem_once::MmapSemOnce,
    &dio_fork_sem::DioForkSem,
    &dio_fork_sem_to_end::DioForkSemToEnd,
    &fast_entry_unshares::FastEntryUnshares,
    &fast_entry_unshares_anon::FastEntryUnsharesAnon,
    &ksm_clear_then_count::KsmClearThenCount,
    &ksm_count_first::KsmCountFirst,
    &pinned_mappings::PinnedMappings,
    &clear_refs_keeps_pinned::ClearRefsKeepsPinned,
    &cow_first_owner::CowFirstOwner,
    &cow_first_pin::CowFirstPin,
    &pins_hold_fork_lock::PinsHoldForkLock,
    &dio_ranges::DioRanges,
    &dio_ranges_round_up::DioRangesRoundUp,
    &dio_ranges_ignore_signal::DioRangesIgnoreSignal,
    &dio_ranges_huge_size::DioRangesHugeSize,
    &fork_flush_before_copy::ForkFlushBeforeCopy,
    &fork_copy_leaks::ForkCopyLeaks,
    &fork_test_first::ForkTestFirst,
    &fork_test_read_only::ForkTestReadOnly,
    &read_pin_owns::ReadPinOwns,
    &read_pin_owns_masked::ReadPinOwnsMasked,
    &read_pin_unshares::ReadPinUnshares,
    &dma_pins::DmaPinsOwn,
    &direct_io_pins::DirectIoPins,
    &fork_copy_dma_pinned::ForkCopyDmaPinned,
    &fork_protects_before_pins::ForkProtectsBeforePins,
    &write_protect_seq::WriteProtectSeq,
    &anon_exclusive::AnonExclusive,
    &exclusive_barriers::ExclusiveBarriers,
    &fast_pin_recheck::FastPinRecheck,
    &fork_copy_huge_pinned::ForkCopyHugePinned,
    &no_swap_dma_pinned::NoSwapDmaPinned,
    &pin_keeps_asking::PinKeepsAsking,
    &unshare_anonymous::UnshareAnonymous,
    &unshare_long_term::UnshareLongTerm,
];

/// A base kernel.
pub struct BaseKernel {
    /// Its name.
    pub name: &'static str,
    /// One line on it.
    pub about: &'static str,
    /// What it is on top of v2.6.18.
    pub patches: &'static [&'static str],
    /// Its flush policy.
    pub flush: &'static str,
}

/// The base kernels.
pub const KERNELS: &[BaseKernel] = &[
    BaseKernel {
        name: "v2.6.18",
        about: "pins under mmap_sem and the page-table lock only; a busy page lock means copy",
        patches: &[],
        flush: "linux-2.6.18",
    },
    BaseKernel {
        name: "v2.6.29",
        about: "v2.6.18 with the lockless pin, and a write fault that waits for the page lock",
        patches: &["wait-for-page-lock", "fast-gup", "reuse-swap-page"],
        flush: "linux-2.6.18",
    },
    BaseKernel {
        name: "v5.8",
        about: "v2.6.29 with pins counted apart, and pins that break copy-on-write",
        patches: &[
            "wait-for-page-lock",
            "fast-gup",
            "reuse-swap-page",
            "dma-pins",
            "read-pin-unshares",
        ],
        flush: "linux-2.6.18",
    },
    BaseKernel {
        name: "v5.9",
        about: "pins counted apart and copied at fork; only references decide whether to copy",
        patches: &[
            "wait-for-page-lock",
            "fast-gup",
            "reuse-swap-page",
            "dma-pins",
            "cow-only-reference",
            "fork-copy-dma-pinned",
        ],
        flush: "linux-2.6.18",
    },
    BaseKernel {
        name: "v5.11",
        about: "v5.9, whose lockless pins are undone while another thread forks; no pinned page is given a slot",
        patches: &[
            "wait-for-page-lock",
            "fast-gup",
            "reuse-swap-page",
            "dma-pins",
            "cow-only-reference",
            "fork-copy-dma-pinned",
            "write-protect-seq",
            "no-swap-dma-pinned",
            "clear-refs-keeps-pinned",
        ],
        flush: "linux-2.6.18",
    },
    BaseKernel {
        name: "v5.19",
        about: "pages have a mark that one address space alone has them",
        patches: &[
            "wait-for-page-lock",
            "fast-gup",
            "reuse-swap-page",
            "pin-keeps-asking",
            "dma-pins",
            "cow-only-reference",
            "fork-copy-dma-pinned",
            "write-protect-seq",
            "no-swap-dma-pinned",
            "clear-refs-keeps-pinned",
            "fork-copy-huge-pinned",
            "huge-write-protect-seq",
            "cow-drain-first",
            "fast-pin-recheck",
            "anon-exclusive",
            "unshare-anonymous",
        ],
        flush: "linux-2.6.18",
    },
    BaseKernel {
        name: "v5.19-broadcast",
        about: "v5.19 on a machine that flushes without interrupts",
        patches: &[
            "wait-for-page-lock",
            "fast-gup",
            "reuse-swap-page",
            "pin-keeps-asking",
            "dma-pins",
            "cow-only-reference",
            "fork-copy-dma-pinned",
            "write-protect-seq",
            "no-swap-dma-pinned",
            "clear-refs-keeps-pinned",
            "fork-copy-huge-pinned",
            "huge-write-protect-seq",
            "cow-drain-first",
            "fast-pin-recheck",
            "anon-exclusive",
            "unshare-anonymous",
        ],
        flush: "broadcast",
    },
    BaseKernel {
        name: "v6.1",
        about: "v5.19 with barriers between that mark and the lockless pin",
        patches: &[
            "wait-for-page-lock",
            "fast-gup",
            "reuse-swap-page",
            "pin-keeps-asking",
            "dma-pins",
            "cow-only-reference",
            "fork-copy-dma-pinned",
            "write-protect-seq",
            "no-swap-dma-pinned",
            "clear-refs-keeps-pinned",
            "fork-copy-huge-pinned",
            "huge-write-protect-seq",
            "cow-drain-first",
            "fast-pin-recheck",
            "anon-exclusive",
            "unshare-anonymous",
            "anon-exclusive-barriers",
        ],
        flush: "linux-2.6.18",
    },
    BaseKernel {
        name: "v6.1-broadcast",
        about: "v6.1 on a machine that flushes without interrupts",
        patches: &[
            "wait-for-page-lock",
            "fast-gup",
            "reuse-swap-page",
            "pin-keeps-asking",
            "dma-pins",
            "cow-only-reference",
            "fork-copy-dma-pinned",
            "write-protect-seq",
            "no-swap-dma-pinned",
            "clear-refs-keeps-pinned",
            "fork-copy-huge-pinned",
            "huge-write-protect-seq",
            "cow-drain-first",
            "fast-pin-recheck",
            "anon-exclusive",
            "unshare-anonymous",
            "anon-exclusive-barriers",
        ],
        flush: "broadcast",
    },
    BaseKernel {
        name: "v6.5",
        about: "v6.1, and direct I/O takes pins",
        patches: &[
            "wait-for-page-lock",
            "fast-gup",
            "reuse-swap-page",
            "pin-keeps-asking",
            "dma-pins",
            "cow-only-reference",
            "fork-copy-dma-pinned",
            "write-protect-seq",
            "no-swap-dma-pinned",
            "clear-refs-keeps-pinned",
            "fork-copy-huge-pinned",
            "huge-write-protect-seq",
            "cow-drain-first",
            "fast-pin-recheck",
            "anon-exclusive",
            "unshare-anonymous",
            "anon-exclusive-barriers",
            "unshare-long-term",
            "direct-io-pins",
        ],
        flush: "linux-2.6.18",
    },
    BaseKernel {
        name: "build-133",
        about: "a vendor kernel: v2.6.18 with the sticky pin mark, as first shipped",
        patches: &[
            "pg-gup",
            "fork-copy-unlocked",
            "fork-unmap-tables",
            "high-page-tables",
        ],
        flush: "linux-2.6.18",
    },
    BaseKernel {
        name: "build-146",
        about: "the vendor kernel before it took over the lockless pin: as build-133",
        patches: &[
            "pg-gup",
            "fork-copy-unlocked",
            "fork-unmap-tables",
            "high-page-tables",
        ],
        flush: "linux-2.6.18",
    },
    BaseKernel {
        name: "build-147",
        about: "the lockless pin, and the mark ported to it; another architecture did not build",
        patches: &[
            "fast-gup",
            "pg-gup",
            "pg-gup-fast",
            "pg-gup-recheck",
            "fork-copy-unlocked",
            "fork-unmap-tables",
            "high-page-tables",
        ],
        flush: "linux-2.6.18",
    },
    BaseKernel {
        name: "build-148",
        about: "the mark reverted, the lockless pin kept",
        patches: &["fast-gup"],
        flush: "linux-2.6.18",
    },
    BaseKernel {
        name: "build-149",
        about: "the mark ported again: as build-147",
        patches: &[
            "fast-gup",
            "pg-gup",
            "pg-gup-fast",
            "pg-gup-recheck",
            "fork-copy-unlocked",
            "fork-unmap-tables",
            "high-page-tables",
        ],
        flush: "linux-2.6.18",
    },
    BaseKernel {
        name: "build-159",
        about: "the mark reverted for good: as build-148",
        patches: &["fast-gup"],
        flush: "linux-2.6.18",
    },
];

/// A configuration with an id of the verdict matrix.
#[derive(Clone, Copy)]
pub struct Row {
    /// The id.
    pub id: &'static str,
    /// The kernel, unless the user names one.
    pub kernel: Option<&'static str>,
    /// Patches, in order of application.
    pub patches: &'static [&'static str],
    /// Parameters of the reproducer.
    pub set: &'static [(&'static str, u64)],
    /// One line on it.
    pub about: &'static str,
}

/// The rows that can be given in place of a patch.
pub const ROWS: &[Row] = &[
    Row {
        id: "A01",
        kernel: Some("v2.6.18"),
        patches: &[],
        set: &[],
        about: "the baseline: fork shares pinned pages",
    },
    Row {
        id: "A04",
        kernel: Some("v2.6.18"),
        patches: &[],
        set: &[("align", 0)],
        about: "page-aligned buffers",
    },
    Row {
        id: "A10",
        kernel: Some("v2.6.18"),
        patches: &["fork-copy-if-foreign"],
        set: &[],
        about: "fork copies when the count differs from mappings and swap cache",
    },
    Row {
        id: "A11",
        kernel: Some("v2.6.18"),
        patches: &["fork-copy-if-foreign", "fork-copy-if-foreign-locked"],
        set: &[],
        about: "the same looks, under the page lock",
    },
    Row {
        id: "A20",
        kernel: Some("v2.6.18"),
        patches: &["page-lock-over-io"],
        set: &[],
        about: "the page lock held from submission to completion, and around the copy",
    },
    Row {
        id: "A21",
        kernel: Some("v2.6.18"),
        patches: &["page-lock-over-io", "page-lock-in-pin"],
        set: &[],
        about: "the page lock taken inside the pin",
    },
    Row {
        id: "A22",
        kernel: Some("v2.6.18"),
        patches: &["page-sem"],
        set: &[],
        about: "a semaphore per page, from submission to the first transfer that ends",
    },
    Row {
        id: "A23",
        kernel: Some("v2.6.18"),
        patches: &["page-sem", "page-sem-to-last"],
        set: &[],
        about: "a semaphore per page, from submission to the end of the request",
    },
    Row {
        id: "A24",
        kernel: Some("v2.6.18"),
        patches: &["page-sem", "page-sem-to-last", "page-sem-in-pin"],
        set: &[],
        about: "a semaphore per page, from inside the pin to the end of the request",
    },
    Row {
        id: "A25",
        kernel: Some("v2.6.18"),
        patches: &["page-sem", "page-sem-to-last", "page-sem-under-mmap-sem"],
        set: &[],
        about: "the page semaphores taken under an exclusive mmap_sem",
    },
    Row {
        id: "A26",
        kernel: Some("v2.6.18"),
        patches: &[
            "page-sem",
            "page-sem-to-last",
            "page-sem-under-mmap-sem",
            "submit-each-batch",
        ],
        set: &[],
        about: "A25, and each batch is queued before the next is pinned",
    },
    Row {
        id: "A30",
        kernel: Some("v2.6.18"),
        patches: &["dio-ranges"],
        set: &[],
        about: "ranges of direct I/O and copies exclude each other",
    },
    Row {
        id: "A32",
        kernel: Some("v2.6.18"),
        patches: &["dio-ranges", "dio-ranges-round-up"],
        set: &[],
        about: "A30, whose ranges begin with the first whole page",
    },
    Row {
        id: "A33",
        kernel: Some("v2.6.18"),
        patches: &["dio-ranges", "dio-ranges-huge-size"],
        set: &[],
        about: "A30, whose fault on a huge page gives a size for an end",
    },
    Row {
        id: "A35",
        kernel: Some("v2.6.18"),
        patches: &["dio-ranges", "dio-ranges-ignore-signal"],
        set: &[],
        about: "A30, whose caller ignores an interrupted entry",
    },
    Row {
        id: "A27",
        kernel: Some("v2.6.18"),
        patches: &["page-lock-over-io", "huge-lock-new"],
        set: &[],
        about: "A20, and copy-on-write of huge pages locks the copy",
    },
    Row {
        id: "A28",
        kernel: Some("v2.6.18"),
        patches: &["page-lock-over-io", "huge-lock-old"],
        set: &[],
        about: "A20, and copy-on-write of huge pages locks what it copies, under the page-table lock",
    },
    Row {
        id: "A40",
        kernel: Some("v2.6.18"),
        patches: &["pg-gup-write"],
        set: &[],
        about: "sticky pin mark, only while the lookup asks for write access",
    },
    Row {
        id: "A41",
        kernel: Some("v2.6.18"),
        patches: &["pg-gup"],
        set: &[],
        about: "sticky pin mark, set by every pin",
    },
    Row {
        id: "A42.huge",
        kernel: Some("v2.6.18"),
        patches: &["pg-gup", "pg-gup-huge"],
        set: &[],
        about: "A41, and the same rule for huge pages",
    },
    Row {
        id: "A44",
        kernel: Some("v2.6.18"),
        patches: &[],
        set: &[],
        about: "the baseline: a busy page lock means copy",
    },
    Row {
        id: "A45",
        kernel: Some("v2.6.18"),
        patches: &["wait-for-page-lock"],
        set: &[],
        about: "wait for the page lock, then decide",
    },
    Row {
        id: "A46",
        kernel: Some("v2.6.18"),
        patches: &["pg-gup", "fork-copy-unlocked", "high-page-tables"],
        set: &[],
        about: "fork sleeps for memory with page tables mapped through a slot of the CPU",
    },
    Row {
        id: "A47",
        kernel: Some("v2.6.18"),
        patches: &["pg-gup", "fork-copy-unlocked"],
        set: &[],
        about: "fork takes the parent's page-table lock again as if it were not nested",
    },
    Row {
        id: "A48",
        kernel: Some("v2.6.18"),
        patches: &["pg-gup", "fork-copy-atomic"],
        set: &[],
        about: "fork's copies come from an allocation that never sleeps",
    },
    Row {
        id: "A49",
        kernel: Some("v2.6.18"),
        patches: &[
            "pg-gup",
            "fork-copy-unlocked",
            "fork-unmap-tables",
            "high-page-tables",
        ],
        set: &[],
        about: "page tables unmapped before the allocation, and the locks annotated",
    },
    Row {
        id: "A50",
        kernel: Some("v2.6.18"),
        patches: &["pg-gup", "fork-copy-unlocked"],
        set: &[],
        about: "fork copies without locks, and gives the write permission back to whatever is there",
    },
    Row {
        id: "A51",
        kernel: Some("v2.6.18"),
        patches: &["pg-gup", "fork-copy-unlocked", "fork-restore-present"],
        set: &[],
        about: "the permission goes back only to a present entry",
    },
    Row {
        id: "A52",
        kernel: Some("v2.6.29"),
        patches: &["pg-gup"],
        set: &[],
        about: "the mark of A41 on a kernel whose lockless pin does not set it",
    },
    Row {
        id: "B01",
        kernel: Some("v2.6.29"),
        patches: &["pg-gup", "pg-gup-fast"],
        set: &[],
        about: "the lockless pin marks too, without a second look",
    },
    Row {
        id: "B02",
        kernel: Some("v2.6.29"),
        patches: &["pg-gup", "pg-gup-fast", "pg-gup-recheck"],
        set: &[],
        about: "the lockless pin marks, and reads the entry again",
    },
    Row {
        id: "B02.huge",
        kernel: Some("v2.6.29"),
        patches: &["pg-gup", "pg-gup-fast", "pg-gup-recheck", "pg-gup-huge"],
        set: &[],
        about: "B02, and the same rule for huge pages at fork",
    },
    Row {
        id: "B06",
        kernel: Some("v2.6.18"),
        patches: &["wait-for-page-lock", "cow-first-owner"],
        set: &[],
        about: "a shared page stays with its first owner",
    },
    Row {
        id: "B07",
        kernel: Some("v2.6.18"),
        patches: &["wait-for-page-lock", "cow-first-pin"],
        set: &[],
        about: "a shared page has one pin at most, and stays with the pinner",
    },
    Row {
        id: "B41",
        kernel: Some("v2.6.29"),
        patches: &["ksm-clear-then-count"],
        set: &[],
        about: "merging clears and flushes, then compares counts",
    },
    Row {
        id: "B52",
        kernel: Some("v2.6.29"),
        patches: &[
            "dio-fork-sem",
            "dio-fork-sem-to-end",
            "fast-entry-unshares",
            "fast-entry-unshares-anonymous",
        ],
        set: &[],
        about: "B50, whose early un-sharing leaves pages alone that are not anonymous",
    },
    Row {
        id: "B11",
        kernel: Some("v2.6.18"),
        patches: &["dontcow-advice", "fork-flush-before-copy"],
        set: &[],
        about: "a mapping with the advice is copied at fork, each page after a flush",
    },
    Row {
        id: "B12",
        kernel: Some("v2.6.29"),
        patches: &["pinned-mappings", "fork-copy-leaks"],
        set: &[],
        about: "the first pin marks a mapping, which fork copies as a whole; references leak",
    },
    Row {
        id: "B12.exclusive",
        kernel: Some("v2.6.29"),
        patches: &[
            "page-sem",
            "page-sem-to-last",
            "page-sem-under-mmap-sem",
            "pinned-mappings",
        ],
        set: &[],
        about: "B12 without the leak, and a caller that has mmap_sem alone: that of A25",
    },
    Row {
        id: "B13",
        kernel: Some("v2.6.29"),
        patches: &["decow-at-fork", "fork-copy-leaks"],
        set: &[],
        about: "pins own and mark their pages; fork replaces the child's share by a copy",
    },
    Row {
        id: "B14",
        kernel: Some("v2.6.29"),
        patches: &["decow-at-fork"],
        set: &[],
        about: "B13 without the leak: a lockless pin that looks once, without a barrier",
    },
    Row {
        id: "B18",
        kernel: Some("v2.6.29"),
        patches: &["decow-at-fork", "decow-retry"],
        set: &[],
        about: "B13 without the leak, and with a second try for an entry that changed",
    },
    Row {
        id: "B53",
        kernel: Some("v2.6.18"),
        patches: &["pins-per-root"],
        set: &[],
        about: "pins counted at the root of the reverse map",
    },
    Row {
        id: "B26",
        kernel: Some("v2.6.29"),
        patches: &[
            "pg-gup",
            "pg-gup-fast",
            "pg-gup-recheck",
            "fork-copy-unlocked",
            "fork-enomem-leaks",
        ],
        set: &[],
        about: "B02, whose copies at fork forget what they took when memory is out",
    },
    Row {
        id: "B26.lock",
        kernel: Some("v2.6.29"),
        patches: &[
            "pg-gup",
            "pg-gup-fast",
            "pg-gup-recheck",
            "pg-gup-huge",
            "huge-fork-keeps-lock",
        ],
        set: &[],
        about: "B02.huge, whose fork leaves the page of a file of huge pages locked",
    },
    Row {
        id: "B35",
        kernel: Some("v2.6.29"),
        patches: &["count-is-one"],
        set: &[],
        about: "write in place only with a count of 1",
    },
    Row {
        id: "B36",
        kernel: Some("v2.6.29"),
        patches: &["count-is-one"],
        set: &[],
        about: "B35, and reclaim of the pinned page",
    },
    Row {
        id: "B37",
        kernel: Some("v2.6.18"),
        patches: &[],
        set: &[],
        about: "a pinned page that reclaim unmapped and a load mapped again",
    },
    Row {
        id: "B38",
        kernel: Some("v2.6.29"),
        patches: &["count-is-one", "no-swap-referenced"],
        set: &[],
        about: "no slot for a page with foreign references, comparison repaired",
    },
    Row {
        id: "B39",
        kernel: Some("v2.6.29"),
        patches: &["count-is-one", "pin-referenced"],
        set: &[],
        about: "a pin counts as a use of the page",
    },
    Row {
        id: "B40",
        kernel: Some("v2.6.29"),
        patches: &["count-is-one", "unmap-unless-referenced"],
        set: &[],
        about: "reclaim unmaps no page with foreign references",
    },
    Row {
        id: "B08",
        kernel: Some("v2.6.18"),
        patches: &["mmap-sem-over-io"],
        set: &[],
        about: "mmap_sem shared over the whole I/O, and again by each pin",
    },
    Row {
        id: "B31",
        kernel: Some("v2.6.18"),
        patches: &["dio-fork-sem"],
        set: &[],
        about: "a semaphore between direct-I/O calls and fork",
    },
    Row {
        id: "B34",
        kernel: Some("v2.6.18"),
        patches: &["dio-fork-sem", "pins-hold-fork-lock"],
        set: &[],
        about: "a semaphore between pins, as long as they last, and fork",
    },
    Row {
        id: "B50",
        kernel: Some("v2.6.29"),
        patches: &["dio-fork-sem", "dio-fork-sem-to-end", "fast-entry-unshares"],
        set: &[],
        about: "the semaphore held to completion, and early un-sharing",
    },
    Row {
        id: "A12",
        kernel: Some("v2.6.18"),
        patches: &[
            "fork-copy-if-foreign",
            "fork-copy-if-foreign-locked",
            "fork-copy-leaks",
        ],
        set: &[],
        about: "A11 with the copy between loss and return of write access; its reference leaks",
    },
    Row {
        id: "A13",
        kernel: Some("v2.6.18"),
        patches: &["fork-copy-if-foreign", "fork-copy-if-foreign-locked"],
        set: &[],
        about: "A12 without the leak",
    },
    Row {
        id: "A43",
        kernel: Some("v2.6.18"),
        patches: &["pg-gup", "fork-flush-before-copy"],
        set: &[],
        about: "A41, and a flush before the copy",
    },
    Row {
        id: "A56",
        kernel: Some("v2.6.18"),
        patches: &["pg-gup"],
        set: &[],
        about: "A41, and a page that is read-only while fork runs",
    },
    Row {
        id: "B02.flush",
        kernel: Some("v2.6.29"),
        patches: &[
            "pg-gup",
            "pg-gup-fast",
            "pg-gup-recheck",
            "fork-flush-before-copy",
        ],
        set: &[],
        about: "B02, and a flush before the copy",
    },
    Row {
        id: "B04",
        kernel: Some("v2.6.29"),
        patches: &["pg-gup", "pg-gup-fast", "pg-gup-recheck", "fork-test-first"],
        set: &[],
        about: "B02, whose fork tests before it takes write access away",
    },
    Row {
        id: "B22",
        kernel: Some("v2.6.29"),
        patches: &["pg-gup", "pg-gup-fast", "pg-gup-recheck"],
        set: &[],
        about: "B02, and pins for reading",
    },
    Row {
        id: "B23",
        kernel: Some("v2.6.29"),
        patches: &[
            "pg-gup",
            "pg-gup-fast",
            "pg-gup-recheck",
            "fork-flush-before-copy",
            "read-pin-owns",
        ],
        set: &[],
        about: "B02 with the flush; pins for reading break copy-on-write",
    },
    Row {
        id: "B24",
        kernel: Some("v2.6.29"),
        patches: &[
            "pg-gup",
            "pg-gup-fast",
            "pg-gup-recheck",
            "fork-flush-before-copy",
            "read-pin-owns",
            "read-pin-owns-masked",
        ],
        set: &[],
        about: "B23 as posted: no lockless pin for reading succeeds",
    },
    Row {
        id: "U09",
        kernel: Some("v2.6.29"),
        patches: &["dma-pins"],
        set: &[],
        about: "pins counted apart, and nobody asks",
    },
    Row {
        id: "U10",
        kernel: Some("v2.6.29"),
        patches: &["read-pin-unshares"],
        set: &[],
        about: "every pin breaks copy-on-write",
    },
    Row {
        id: "U13.slow",
        kernel: Some("v2.6.18"),
        patches: &["dma-pins", "fork-copy-dma-pinned"],
        set: &[],
        about: "fork copies pages that may be pinned; no lockless pin",
    },
    Row {
        id: "U13",
        kernel: Some("v2.6.29"),
        patches: &["dma-pins", "fork-copy-dma-pinned"],
        set: &[],
        about: "fork copies pages that may be pinned",
    },
    Row {
        id: "U14",
        kernel: Some("v2.6.29"),
        patches: &["dma-pins", "fork-copy-dma-pinned", "fast-pin-recheck"],
        set: &[],
        about: "U13 as released, and lockless pins read the entry again",
    },
    Row {
        id: "U14.first",
        kernel: Some("v2.6.29"),
        patches: &[
            "dma-pins",
            "fork-copy-dma-pinned",
            "fork-protects-before-pins",
            "fast-pin-recheck",
        ],
        set: &[],
        about: "U13 as first posted, and lockless pins read the entry again",
    },
    Row {
        id: "U15",
        kernel: Some("v2.6.29"),
        patches: &["dma-pins", "fork-copy-dma-pinned", "write-protect-seq"],
        set: &[],
        about: "U13, and lockless pins during fork are undone",
    },
    Row {
        id: "U02",
        kernel: Some("v2.6.29"),
        patches: &["pin-keeps-asking"],
        set: &[],
        about: "pins ask for write access until they have it",
    },
    Row {
        id: "U12",
        kernel: Some("v5.9"),
        patches: &["no-swap-dma-pinned"],
        set: &[],
        about: "v5.9, and reclaim inserts no pinned page",
    },
    Row {
        id: "U16",
        kernel: Some("v5.11"),
        patches: &["fork-copy-huge-pinned"],
        set: &[],
        about: "v5.11, and fork copies huge pages that may be pinned",
    },
    Row {
        id: "U18",
        kernel: Some("v5.11"),
        patches: &["cow-drain-first", "fast-pin-recheck", "anon-exclusive"],
        set: &[],
        about: "v5.11 with the mark of exclusive pages",
    },
    Row {
        id: "U19",
        kernel: Some("v5.11"),
        patches: &[
            "cow-drain-first",
            "fast-pin-recheck",
            "anon-exclusive",
            "unshare-anonymous",
        ],
        set: &[],
        about: "U18, and pins for reading un-share",
    },
    Row {
        id: "U20",
        kernel: Some("v5.19"),
        patches: &["anon-exclusive-barriers"],
        set: &[],
        about: "v5.19 with barriers against the lockless pin",
    },
    Row {
        id: "U21",
        kernel: Some("v6.1"),
        patches: &["unshare-long-term"],
        set: &[],
        about: "v6.1, and pins that stay un-share any page",
    },
    Row {
        id: "U22",
        kernel: Some("v5.11"),
        patches: &["direct-io-pins"],
        set: &[],
        about: "v5.11, and direct I/O takes pins",
    },
    Row {
        id: "B10",
        kernel: None,
        patches: &[],
        set: &[("dontfork", 1)],
        about: "the buffer is left out at fork: madvise(MADV_DONTFORK)",
    },
];

/// Finds a patch or a mutation by its name.
pub fn patch(name: &str) -> Option<&'static dyn Patch> {
    let mut all = ALL.iter().chain(mutations::ALL).copied();
    all.find(|patch| patch.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_a_list_is_a_patch_and_follows_what_it_builds_on() {
        let lists = ROWS.iter().map(|row| {
            let base = row
                .kernel
                .and_then(|name| KERNELS.iter().find(|it| it.name == name));
            (base.map_or(&[][..], |it| it.patches), row.patches)
        });
        let kernels = KERNELS.iter().map(|kernel| (kernel.patches, &[][..]));
        for (base, patches) in lists.chain(kernels) {
            let all: Vec<_> = base.iter().chain(patches).collect();
            for (at, name) in all.iter().enumerate() {
                let patch = patch(name).unwrap_or_else(|| panic!("{name} is no patch"));
                for needed in patch.builds_on() {
                    assert!(
                        all[..at].contains(&needed),
                        "{name} needs {needed} before it"
                    );
                }
            }
        }
    }
}
