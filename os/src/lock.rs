//! Lock classes, their order, and the sleeping locks. Spinning and sleeping locks are different
//! types: [`emu::SpinGuard`] spins, what is here sleeps.
//!
//! The order, outermost first:
//!
//! ```text
//! mmap_sem                  (address space; parent's before nothing else of its class)
//!   hugetlb_instantiation_mutex (one for all faults on huge pages)
//!   page lock               (PG_locked)
//!    anon_vma               (one for all reverse maps)
//!     ptl of a child        (fork nests two of this class: the child's, then the parent's)
//!       ptl
//!         tlbstate_lock     (a call slot of the flush; taken with interrupts on)
//! ```
//!
//! A cycle between instances is a violation (`lock-order`), one between classes a warning.

use emu::{Access, ContextId, LockClass, LockId, Mode, Request, ThreadId, lock_object};
use mmu::Pfn;

use crate::{Cx, sched};

/// `mmap_sem`: a fair reader/writer semaphore.
pub static MMAP_SEM: LockClass = LockClass {
    name: "mmap_sem",
    sleeps: true,
};
/// The lock of a page (`PG_locked`).
pub static PAGE_LOCK: LockClass = LockClass {
    name: "page",
    sleeps: true,
};
/// The lock of the reverse map of anonymous pages.
pub static ANON_VMA: LockClass = LockClass {
    name: "anon_vma",
    sleeps: false,
};
/// The page-table lock.
pub static PTL: LockClass = LockClass {
    name: "ptl",
    sleeps: false,
};
/// The lock of a slot through which CPUs ask others to flush.
pub static TLBSTATE_LOCK: LockClass = LockClass {
    name: "tlbstate_lock",
    sleeps: false,
};

/// What a task that waits for a lock sleeps in.
const LOCK_SLEEP: &str = "a lock";

/// Takes a sleeping lock; tells whether it had to sleep for it.
pub async fn lock_sleeping(cx: Cx<'_>, id: LockId, mode: Mode, name: &'static str) -> bool {
    cx.machine.may_sleep(name);
    let thread = cx.current_thread();
    let request = Request::touch(lock_object(id), Access::Lock, cx.machine.costs().l1);
    let taken = cx
        .machine
        .step(request, |_| {
            let taken = cx.machine.take_or_queue(id, mode, thread);
            if !taken {
                cx.set_sleeping(thread, LOCK_SLEEP);
            }
            taken
        })
        .await;
    if !taken {
        sched::block(cx).await;
    }
    !taken
}

/// Takes a sleeping lock if it is free.
pub async fn try_lock_sleeping(cx: Cx<'_>, id: LockId, mode: Mode) -> bool {
    let request = Request::touch(lock_object(id), Access::Lock, cx.machine.costs().l1);
    cx.machine
        .step(request, |_| cx.machine.try_take(id, mode))
        .await
}

/// Releases a sleeping lock that `owner` holds; whoever gets it next is woken.
pub async fn unlock_sleeping(cx: Cx<'_>, id: LockId, mode: Mode, owner: ContextId) {
    let request = Request::touch(lock_object(id), Access::Unlock, cx.machine.costs().l1);
    let mut woken: Vec<ThreadId> = Vec::new();
    cx.machine
        .step(request, |_| {
            woken = cx.machine.release(id, mode, owner);
        })
        .await;
    for thread in woken {
        sched::try_to_wake_up(cx, thread, LOCK_SLEEP).await;
    }
}

/// Shares an address space's mappings.
pub async fn down_read(cx: Cx<'_>, sem: LockId) {
    lock_sleeping(cx, sem, Mode::Shared, "down_read").await;
}

/// Ends [`down_read`].
pub async fn up_read(cx: Cx<'_>, sem: LockId) {
    unlock_sleeping(cx, sem, Mode::Shared, cx.machine.context()).await;
}

/// Takes an address space's mappings alone.
pub async fn down_write(cx: Cx<'_>, sem: LockId) {
    lock_sleeping(cx, sem, Mode::Exclusive, "down_write").await;
}

/// Ends [`down_write`].
pub async fn up_write(cx: Cx<'_>, sem: LockId) {
    unlock_sleeping(cx, sem, Mode::Exclusive, cx.machine.context()).await;
}

/// Shares what [`down_write`] took alone; readers at the head of the queue share it too.
pub async fn downgrade_write(cx: Cx<'_>, sem: LockId) {
    let request = Request::touch(lock_object(sem), Access::Unlock, cx.machine.costs().l1);
    let mut woken: Vec<ThreadId> = Vec::new();
    cx.machine
        .step(request, |_| {
            woken = cx.machine.downgrade(sem, cx.machine.context());
        })
        .await;
    for thread in woken {
        sched::try_to_wake_up(cx, thread, LOCK_SLEEP).await;
    }
}

/// Takes the lock of a page.
pub async fn lock_page(cx: Cx<'_>, pfn: Pfn) {
    let id = cx.page_lock(pfn);
    lock_sleeping(cx, id, Mode::Exclusive, "lock_page").await;
}

/// Takes the lock of a page if it is free.
pub async fn trylock_page(cx: Cx<'_>, pfn: Pfn) -> bool {
    let id = cx.page_lock(pfn);
    try_lock_sleeping(cx, id, Mode::Exclusive).await
}

/// Releases the lock of a page.
pub async fn unlock_page(cx: Cx<'_>, pfn: Pfn) {
    let id = cx.page_lock(pfn);
    unlock_sleeping(cx, id, Mode::Exclusive, cx.machine.context()).await;
}

impl crate::Kernel<'_> {
    /// The lock of a page, made when first wanted; it goes with the page.
    pub(crate) fn page_lock(&self, pfn: Pfn) -> LockId {
        let pfn = self.compound_head(pfn);
        self.machine.touch(emu::LOCK_NUMBERS, emu::Touch::Read);
        let mut pages = self.pages.borrow_mut();
        *pages
            .get_mut(pfn)
            .lock
            .get_or_insert_with(|| self.machine.new_lock(&PAGE_LOCK))
    }
}
