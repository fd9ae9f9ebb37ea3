//! What a patch can change: the questions that paths ask, and the places where a patch may take
//! steps of its own.
//!
//! Patches decide, paths act. The patch applied last is asked first; the first that answers wins;
//! the base kernel answers last. A patch has no state: what it keeps lies in flags, in the
//! [`Extensions`](crate::Extensions) of a page, a mapping or an address space, or in locks that
//! it makes.

use bitflags::bitflags;
use emu::Code;
use mmu::{Pfn, VirtAddr};

use crate::Cx;
use crate::mm::MmId;

/// A patch to the kernel.
pub trait Patch: Sync {
    /// Its own name.
    fn name(&self) -> &'static str;
    /// One line on what it changes.
    fn about(&self) -> &'static str;
    /// Patches that must be applied before it.
    fn builds_on(&self) -> &'static [&'static str] {
        &[]
    }
    /// What it has the only say in. Two patches with the only say in one thing exclude each other,
    /// unless one builds on the other: the later would silence the earlier.
    fn decides(&self) -> &'static [Decision] {
        &[]
    }

    /// What fork does with an anonymous page whose entry was writable.
    fn fork_anon_page(&self) -> Option<ForkAnon> {
        None
    }
    /// Whether fork tests an anonymous page before it takes the parent's write access away.
    fn fork_tests_first(&self) -> Option<bool> {
        None
    }
    /// Whether fork also tests pages whose entry was read-only.
    fn fork_tests_read_only(&self) -> Option<bool> {
        None
    }
    /// Whether fork takes write access away before it asks whether the page may be pinned.
    fn fork_protects_before_pins(&self) -> Option<bool> {
        None
    }
    /// Whether fork takes write access away from what it shares.
    fn fork_write_protects(&self) -> Option<bool> {
        None
    }
    /// Whether fork flushes the parent's translations of a page before it copies it.
    fn fork_flushes_copied(&self) -> Option<bool> {
        None
    }
    /// Whether fork keeps the reference that it took to a page which it then copied.
    fn fork_copy_leaks(&self) -> Option<bool> {
        None
    }
    /// Whether fork over a mapping makes the lockless pin go the slow way.
    fn write_protect_seq(&self) -> Option<bool> {
        None
    }
    /// Whether the lockless pin then asks, when it is through, whether a fork came meanwhile.
    fn write_protect_seq_again(&self) -> Option<bool> {
        None
    }
    /// The same, over a mapping of huge pages.
    fn huge_write_protect_seq(&self) -> Option<bool> {
        None
    }
    /// Who takes pins that are counted apart from references.
    fn dma_pins(&self) -> Option<DmaPins> {
        None
    }
    /// Which access a pin that only reads asks for.
    fn read_pin(&self) -> Option<ReadPin> {
        None
    }
    /// How fork copies a page that it does not share; `None`: with the page-table locks held.
    fn fork_copy(&self) -> Option<ForkCopy> {
        None
    }
    /// What fork does with a marked page that it has just shared; `None`: nothing more.
    fn fork_decow(&self) -> Option<Decow> {
        None
    }
    /// Whether fork copies every page of mappings that say so (`MADV_DONTCOW`).
    fn fork_copies_mappings(&self) -> Option<bool> {
        None
    }
    /// Whether the first pin in a mapping marks it, and fork copies all of a marked mapping.
    fn pins_mark_mappings(&self) -> Option<bool> {
        None
    }
    /// Whether soft-dirty clearing leaves pages alone that may be pinned.
    fn clear_refs_keeps_pinned(&self) -> Option<bool> {
        None
    }
    /// Whether pins are counted at the root of the reverse map of their page.
    fn pins_per_root(&self) -> Option<bool> {
        None
    }
    /// What fork undoes when it has no memory for such a copy.
    fn fork_enomem(&self) -> Option<ForkEnomem> {
        None
    }
    /// How fork gives the page tables up while it copies without their locks.
    fn fork_relock(&self) -> Option<ForkRelock> {
        None
    }
    /// Whether page tables lie where the kernel has no lasting mapping (`CONFIG_HIGHPTE`), so that
    /// who walks them maps them through a slot of its CPU.
    fn high_page_tables(&self) -> Option<bool> {
        None
    }
    /// Who keeps a page that is shared, when a store breaks that up; `None`: who does not store.
    fn cow_direction(&self) -> Option<CowDirection> {
        None
    }
    /// Whether a page that one address space maps is written in place only if no other has pinned it.
    fn cow_looks_for_pins(&self) -> Option<bool> {
        None
    }
    /// What a write fault does when the page lock is busy.
    fn busy_page_lock(&self) -> Option<BusyPageLock> {
        None
    }
    /// When a write fault may write an anonymous page in place.
    fn wp_reuse(&self) -> Option<WpReuse> {
        None
    }
    /// Which pages reclaim gives a swap slot.
    fn swap_insertion(&self) -> Option<SwapInsertion> {
        None
    }
    /// Which pages reclaim unmaps.
    fn unmap_rule(&self) -> Option<UnmapRule> {
        None
    }
    /// Which pages merging write-protects; `None`: all of them.
    fn merge_rule(&self) -> Option<MergeRule> {
        None
    }
    /// Whether reclaim writes pages to swap that somebody else has a reference to.
    fn writes_pinned_pages(&self) -> Option<bool> {
        None
    }
    /// Whether direct I/O waits for its transfers.
    fn dio_waits(&self) -> Option<bool> {
        None
    }
    /// Whether direct I/O marks pages dirty when it gives them back.
    fn dirty_at_unpin(&self) -> Option<bool> {
        None
    }
    /// What a pin under the page-table lock leaves on the page.
    fn pin_mark(&self) -> Option<PinMark> {
        None
    }
    /// How the lockless pin works.
    fn fast_pin(&self) -> Option<FastPin> {
        None
    }
    /// What guards the pages of a direct-I/O request while the disk works, and where it is taken.
    fn dio_guard(&self) -> Option<DioGuard> {
        None
    }
    /// When those guards are released.
    fn guard_until(&self) -> Option<GuardUntil> {
        None
    }
    /// What a write fault takes around its copy.
    fn cow_guard(&self) -> Option<PageGuard> {
        None
    }
    /// How direct I/O holds `mmap_sem` while it pins a batch.
    fn dio_pin_mode(&self) -> Option<DioPinMode> {
        None
    }
    /// How ranges of direct I/O and copies exclude each other.
    fn range_lock(&self) -> Option<RangeLock> {
        None
    }
    /// For how long pins exclude fork.
    fn fork_lock(&self) -> Option<ForkLock> {
        None
    }
    /// Which pages a pin that comes through the lockless pin's entry asks write access to whatever
    /// it is for, where the mapping allows it.
    fn fast_entry_unshares(&self) -> Option<FastEntry> {
        None
    }
    /// Whether direct I/O queues what it has before it pins the next batch.
    fn submit_each_batch(&self) -> Option<bool> {
        None
    }

    /// What fork does with a huge page whose entry was writable.
    fn fork_huge_page(&self) -> Option<ForkAnon> {
        None
    }
    /// Whether fork's copy of a huge page of a file leaves the file's page locked.
    fn huge_fork_keeps_lock(&self) -> Option<bool> {
        None
    }
    /// Which page a write fault on a huge page locks around its copy.
    fn huge_cow_lock(&self) -> Option<HugeCowLock> {
        None
    }

    /// Whether the kernel remembers which anonymous pages one address space alone has.
    fn anon_exclusive(&self) -> Option<bool> {
        None
    }
    /// Whether new pages have that mark.
    fn new_pages_exclusive(&self) -> Option<bool> {
        None
    }
    /// Which pages a pin that reads has un-shared first.
    fn unshare(&self) -> Option<Unshare> {
        None
    }
    /// Whether the mark is left to pages that may be pinned.
    fn share_tests_pins(&self) -> Option<bool> {
        None
    }
    /// Whether loss of that mark and the lockless pin have barriers against each other.
    fn share_barriers(&self) -> Option<bool> {
        None
    }
    /// Whether a slow pin for writing asks for write access until it has it, also after a fault that
    /// broke copy-on-write.
    fn pin_keeps_asking(&self) -> Option<bool> {
        None
    }
    /// Whether the lockless pin has a barrier between its mark and its second look.
    fn pin_barrier(&self) -> Option<bool> {
        None
    }
    /// Whether fork has a barrier between the loss of write access and its test.
    fn fork_barrier(&self) -> Option<bool> {
        None
    }

    /// The places where [`Patch::at`] wants to be called.
    fn hooks(&self) -> Hooks {
        Hooks::empty()
    }
    /// Takes steps of its own, sleeping included. Called only at [`Patch::hooks`].
    fn at<'w>(&self, _cx: Cx<'w>, _hook: Hook) -> Option<Code<'w>> {
        None
    }
}

/// See [`Patch::decides`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// By what fork knows pages that it must copy.
    ForkCopies,
    /// How fork makes its copies.
    ForkCopying,
    /// What pins for reading do about copy-on-write.
    ReadPins,
    /// Which pages a write fault uses in place.
    Reuse,
    /// Which pages go to swap.
    SwapInsertion,
    /// Which pages reclaim unmaps.
    Unmapping,
    /// What copy-on-write of a huge page locks.
    HugeCow,
    /// What direct I/O holds against copy-on-write.
    DioGuard,
    /// How long pins keep fork out.
    ForkLock,
    /// How ranges of direct I/O are tested.
    Ranges,
}

impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Decision::ForkCopies => "by what fork knows pages that it must copy",
            Decision::ForkCopying => "how fork makes its copies",
            Decision::ReadPins => "what pins for reading do about copy-on-write",
            Decision::Reuse => "which pages a write fault uses in place",
            Decision::SwapInsertion => "which pages go to swap",
            Decision::Unmapping => "which pages reclaim unmaps",
            Decision::HugeCow => "what copy-on-write of a huge page locks",
            Decision::DioGuard => "what direct I/O holds against copy-on-write",
            Decision::ForkLock => "how long pins keep fork out",
            Decision::Ranges => "how ranges of direct I/O are tested",
        })
    }
}

/// See [`Patch::fork_anon_page`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ForkAnon {
    /// Share it, read-only.
    Share,
    /// Copy it at once if it is marked as pinned and has a reference that is no mapping; the
    /// parent keeps its entry writable.
    CopyIfPinned,
    /// The same if it has a reference that is no mapping and not the swap cache's.
    CopyIfForeign,
    /// The same, looked at under the page lock; a busy one means copy.
    CopyIfForeignLocked,
    /// Copy it if it may be pinned by a count of pins; the parent's entry is not touched.
    CopyIfDmaPinned,
    /// The same, if this address space alone has it; else share it.
    CopyIfExclusivePinned,
    /// Copy it if any page of its root is pinned.
    CopyIfRootPinned,
}

/// See [`Patch::fork_decow`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decow {
    /// Give the child a copy, made without the locks; that its entry is as it was left is taken for
    /// granted.
    Assert,
    /// The same; an entry that changed is cleared, and fork begins with it again.
    Retry,
}

/// See [`Patch::cow_direction`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CowDirection {
    /// The address space that had it first, as long as it maps it.
    FirstOwner,
    /// The address space that pinned it; another pin is refused.
    FirstPin,
}

/// See [`Patch::fast_entry_unshares`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FastEntry {
    /// All of them.
    All,
    /// Anonymous ones.
    Anonymous,
}

/// See [`Patch::dma_pins`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DmaPins {
    /// Registrations of memory.
    Registrations,
    /// And direct I/O.
    DirectIo,
}

/// See [`Patch::read_pin`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadPin {
    /// What it was asked for.
    AsAsked,
    /// Write access to anonymous pages, so that they are no longer shared.
    OwnAnonymous,
    /// The same, and the lockless pin compares with a value that its mask cannot give.
    OwnAnonymousMasked,
    /// Write access to whatever may be written.
    Own,
}

/// See [`Patch::fork_copy`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ForkCopy {
    /// With the locks dropped; the parent gets its write permission back, whatever its entry is.
    Unlocked,
    /// The same, if its entry is present.
    UnlockedIfPresent,
    /// With the locks held, and an allocation that never sleeps.
    Atomic,
}

/// See [`Patch::fork_enomem`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ForkEnomem {
    /// The child's reference and mapping.
    Undo,
    /// Nothing.
    Leave,
}

/// See [`Patch::fork_relock`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ForkRelock {
    /// They stay mapped; the parent's lock is taken again as if it were not nested.
    StayMapped,
    /// They are unmapped meanwhile, and the locks nest.
    Unmap,
}

/// See [`Patch::busy_page_lock`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BusyPageLock {
    /// Take the page for shared, and copy it.
    Copy,
    /// Wait for the lock, look at the entry again, then decide.
    Wait,
    /// Wait for the lock, then decide.
    WaitBlindly,
}

/// See [`Patch::wp_reuse`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WpReuse {
    /// If one entry maps it or names its slot, and no other.
    Counts,
    /// The same, and it leaves the swap cache.
    LeaveSwapCache,
    /// The same, and then nobody else may have a reference either.
    AndCountIsOne,
    /// If the caller's entry has the only reference at all; the page lock is only tried.
    OnlyReference,
    /// The same, once this CPU's batch and the swap cache have let go of it.
    DrainThenOnlyReference,
}

/// See [`Patch::swap_insertion`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SwapInsertion {
    /// All of them.
    Always,
    /// Those whose count is not above what "is it mapped" is worth as a number.
    CountIsMapped,
    /// Those that have no reference but of mappings and of reclaim itself.
    CountIsMappings,
    /// Those that no pin is counted for.
    NotPinned,
}

/// See [`Patch::unshare`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unshare {
    /// None.
    Never,
    /// Anonymous pages that others may have, for pins that are counted apart.
    Anonymous,
    /// And whatever else a store would replace, for pins that stay.
    LongTerm,
}

/// See [`Patch::unmap_rule`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnmapRule {
    /// All of them.
    Always,
    /// Those that have no foreign reference, which is looked at before the entry is cleared.
    CountFirst,
    /// Those that have none after the entry is cleared and flushed; else it is put back.
    ClearThenCount,
}

/// See [`Patch::merge_rule`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MergeRule {
    /// Those that have no foreign reference, which is looked at before the entry is cleared.
    CountFirst,
    /// Those that have none after the entry is cleared and flushed; else it is put back.
    ClearThenCount,
}

/// See [`Patch::pin_mark`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PinMark {
    /// Nothing.
    None,
    /// The sticky flag, when the lookup still asks for write access.
    WhileWriteWanted,
    /// The sticky flag, always.
    Always,
    /// The mark of use that reclaim looks at.
    Referenced,
}

/// See [`Patch::fast_pin`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FastPin {
    /// There is none.
    Absent,
    /// Read the entry, take a reference.
    Plain,
    /// The same, but only of entries that may be written, whatever the pin is for.
    WritableOnly,
    /// Only of pages that are marked.
    Marked,
    /// Only of pages that are marked or not anonymous.
    MarkedIfAnon,
    /// Read the entry, take a reference, and read the entry again; if it has changed, undo and go the
    /// slow way.
    Recheck,
    /// And mark the page.
    Mark,
    /// And mark the page, then read the entry again; without the access, undo and go the slow way.
    MarkAndRecheck,
}

/// A lock of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageGuard {
    /// `PG_locked`.
    PageLock,
    /// A reader/writer semaphore: direct I/O shares it, a write fault takes it alone.
    Semaphore,
}

/// See [`Patch::dio_guard`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DioGuard {
    /// Nothing.
    None,
    /// Taken when a batch is pinned and `mmap_sem` released.
    AtSubmit(PageGuard),
    /// Taken by the lookup of the pin: tried under the page-table lock, slept for without it.
    InPin(PageGuard),
    /// Taken when a batch is pinned, before `mmap_sem` is released.
    UnderMmapSem(PageGuard),
}

/// See [`Patch::guard_until`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuardUntil {
    /// The first transfer that carries the page is over.
    FirstTransfer,
    /// The last transfer that carries the page is over.
    Page,
    /// The request is over.
    Request,
}

/// See [`Patch::dio_pin_mode`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DioPinMode {
    /// Shared, for each batch.
    Shared,
    /// Alone, for each batch.
    Exclusive,
    /// Shared, from before the first batch until the I/O is over; and each batch shares it again.
    OverIo,
    /// Shared, from before the first batch until the I/O is over.
    OverIoOnce,
}

/// See [`Patch::range_lock`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RangeLock {
    /// Whole pages are excluded, and a signal ends the wait for copies.
    Whole,
    /// A range begins with its first whole page, and a fault asks for a page's length from its
    /// address on.
    RoundsUp,
    /// A signal ends the wait, and the I/O goes on without a range.
    IgnoresSignal,
    /// Only faults ask: no range is ever entered.
    NotEntered,
    /// A fault on a huge page asks for the range from its address to its size.
    HugeSize,
}

/// See [`Patch::fork_lock`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ForkLock {
    /// Not at all.
    None,
    /// Direct I/O, until its transfers are queued.
    Submit,
    /// Direct I/O, until the call returns.
    Call,
    /// Direct I/O, until the request is over.
    Io,
    /// The same, and other users of pins until they give the pins back.
    Pins,
}

/// See [`Patch::huge_cow_lock`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HugeCowLock {
    /// None.
    None,
    /// The copy.
    New,
    /// The page that is copied, asked for while the page-table lock is held.
    Old,
}

bitflags! {
    /// Kinds of hooks.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Hooks: u8 {
        /// [`Hook::Pinned`].
        const PIN = 1;
        /// [`Hook::ForkBegin`] and [`Hook::ForkEnd`].
        const FORK = 1 << 1;
        /// [`Hook::CowBegin`] and [`Hook::CowEnd`].
        const COW = 1 << 2;
        /// [`Hook::IoDone`].
        const IO = 1 << 3;
    }
}

/// Where a patch may take steps of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hook {
    /// A direct-I/O request has pinned this page, and released `mmap_sem`; nothing is queued yet.
    Pinned {
        /// Whose address space.
        mm: MmId,
        /// The page's address.
        va: VirtAddr,
        /// The page.
        page: Pfn,
    },
    /// fork is about to take the parent's `mmap_sem`.
    ForkBegin {
        /// The parent's address space.
        mm: MmId,
    },
    /// fork has released the parent's `mmap_sem`.
    ForkEnd {
        /// The parent's address space.
        mm: MmId,
        /// The child's.
        child: MmId,
    },
    /// A write fault is about to copy this page; no spinlock is held.
    CowBegin {
        /// Whose address space.
        mm: MmId,
        /// The address.
        va: VirtAddr,
        /// The page that is copied.
        page: Pfn,
    },
    /// The copy is installed, or was not needed.
    CowEnd {
        /// Whose address space.
        mm: MmId,
        /// The address.
        va: VirtAddr,
        /// The page that was copied.
        page: Pfn,
    },
    /// A direct-I/O request is about to release this page.
    IoDone {
        /// The page.
        page: Pfn,
    },
}

/// Lets the patches take their steps at a hook. Costs nothing when none wants to.
#[inline]
pub async fn call_hooks(cx: Cx<'_>, kind: Hooks, hook: Hook) {
    if !cx.hooks.intersects(kind) {
        return;
    }
    for patch in cx
        .patches
        .iter()
        .filter(|patch| patch.hooks().intersects(kind))
    {
        if let Some(code) = patch.at(cx, hook) {
            code.await;
        }
    }
}
