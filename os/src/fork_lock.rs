//! A reader/writer semaphore in the address space that pins share and fork takes alone, outside of
//! `mmap_sem`. For how long pins share it is a patch's question (rows B31, B34, B50); the base
//! kernel has none. It lies in the extension slot of the address space.

use emu::{ContextId, LockClass, LockId, Mode};

use crate::direct_io::DioId;
use crate::lock::{lock_sleeping, unlock_sleeping};
use crate::patch::ForkLock;
use crate::{Cx, Kernel, MmId, page_guard};

/// The semaphore between pins and fork.
pub static FORK_LOCK: LockClass = LockClass {
    name: "fork semaphore",
    sleeps: true,
};

#[derive(Clone, Copy, Default)]
struct ForkSem(Option<LockId>);

impl Kernel<'_> {
    fn fork_lock(&self) -> ForkLock {
        self.ask(|patch| patch.fork_lock())
            .unwrap_or(ForkLock::None)
    }

    /// A new address space has a semaphore of its own, not its parent's.
    pub(crate) fn init_fork_lock(&self, mm: MmId) {
        if self.fork_lock() != ForkLock::None {
            let lock = self.machine.new_lock(&FORK_LOCK);
            let mut mms = self.mms.borrow_mut();
            mms[mm].ext.get_or_default::<ForkSem>().0 = Some(lock);
        }
    }

    fn fork_sem(&self, mm: MmId) -> Option<LockId> {
        let mms = self.mms.borrow();
        mms[mm].ext.get::<ForkSem>().and_then(|sem| sem.0)
    }
}

/// Direct I/O begins.
pub(crate) async fn io_begins(cx: Cx<'_>, id: DioId) {
    let mm = cx.requests.borrow().all[id].mm;
    if let Some(lock) = cx.fork_sem(mm) {
        lock_sleeping(cx, lock, Mode::Shared, "fork semaphore").await;
        page_guard::note(cx, id, None, lock, Mode::Shared);
    }
}

/// All of a request is queued; if it is asynchronous, the call returns.
pub(crate) async fn all_queued(cx: Cx<'_>, id: DioId, asynchronous: bool) {
    let over = match cx.fork_lock() {
        ForkLock::Submit => true,
        ForkLock::Call => asynchronous,
        ForkLock::None | ForkLock::Io | ForkLock::Pins => false,
    };
    if over {
        page_guard::release_whole(cx, id).await;
    }
}

/// Memory is being registered: who owns the lock until it is unregistered, if the kernel has it.
pub(crate) async fn pins_begin(cx: Cx<'_>, mm: MmId) -> Option<(LockId, ContextId)> {
    if cx.fork_lock() != ForkLock::Pins {
        return None;
    }
    let lock = cx.fork_sem(mm)?;
    lock_sleeping(cx, lock, Mode::Shared, "fork semaphore").await;
    Some((lock, cx.machine.context()))
}

/// Its pins are given back.
pub(crate) async fn pins_end(cx: Cx<'_>, held: Option<(LockId, ContextId)>) {
    if let Some((lock, owner)) = held {
        unlock_sleeping(cx, lock, Mode::Shared, owner).await;
    }
}

/// fork begins; nothing is held.
pub(crate) async fn fork_begins(cx: Cx<'_>, mm: MmId) -> Option<LockId> {
    let lock = cx.fork_sem(mm)?;
    if lock_sleeping(cx, lock, Mode::Exclusive, "fork semaphore").await {
        cx.count("forks that waited for pins", 1);
    }
    Some(lock)
}

/// fork has released `mmap_sem`.
pub(crate) async fn fork_ends(cx: Cx<'_>, held: Option<LockId>) {
    if let Some(lock) = held {
        unlock_sleeping(cx, lock, Mode::Exclusive, cx.machine.context()).await;
    }
}
