//! Locks that direct I/O holds on the pages of a request while the disk works, and that a write
//! fault takes around its copy: the page lock, or a reader/writer semaphore in the page's
//! extension slot. Which, where it is taken and when it is released are patches' questions
//! (rows A20 to A26); the base kernel has none.
//!
//! Who holds such a lock: the thread that pinned the page, and if the interrupt is to release it the
//! page's transfer, from the moment that is queued: nobody then waits for the thread.

use emu::{ContextId, LockClass, LockId, Mode};
use mmu::Pfn;

use crate::bio::Place;
use crate::direct_io::DioId;
use crate::lock::{lock_sleeping, try_lock_sleeping, unlock_sleeping};
use crate::page::Page;
use crate::patch::{DioGuard, GuardUntil, PageGuard};
use crate::{Cx, Kernel};

/// The reader/writer semaphore of a page.
pub static PAGE_SEM: LockClass = LockClass {
    name: "page semaphore",
    sleeps: true,
};

/// A lock that a request holds.
struct Guard {
    page: Option<Pfn>,
    lock: LockId,
    mode: Mode,
    holder: ContextId,
    /// Bytes of its page that no transfer carries yet.
    unsent: u32,
    /// Transfers under way that carry its page.
    carriers: Vec<ContextId>,
}

/// The locks that a request holds.
#[derive(Default)]
pub struct Guards(Vec<Guard>);

impl Guards {
    /// Part of a step: a transfer that carries these places was just queued. `passes`: the locks of
    /// its pages are the transfer's now.
    pub(crate) fn carried(
        &mut self,
        cx: &Kernel<'_>,
        places: &[Place],
        by: ContextId,
        passes: bool,
    ) {
        for (_, pa, len) in places {
            let of_page = |guard: &&mut Guard| guard.page == Some(pa.pfn()) && guard.unsent > 0;
            let Some(guard) = self.0.iter_mut().find(of_page) else {
                continue;
            };
            guard.unsent -= len;
            guard.carriers.push(by);
            if passes && guard.holder.thread().is_some() {
                cx.machine
                    .pass_lock(guard.lock, guard.mode, guard.holder, by);
                guard.holder = by;
            }
        }
    }

    /// Part of a step: the locks of the whole request go to a transfer that is under way.
    pub(crate) fn hand_whole(&mut self, cx: &Kernel<'_>, to: ContextId) {
        for guard in self.0.iter_mut().filter(|guard| guard.page.is_none()) {
            cx.machine
                .pass_lock(guard.lock, guard.mode, guard.holder, to);
            guard.holder = to;
        }
    }

    fn take(&mut self, which: impl Fn(&Guard) -> bool) -> Option<Guard> {
        let at = self.0.iter().position(which)?;
        Some(self.0.remove(at))
    }
}

/// The semaphore of a page, made when first wanted; it goes with the page.
#[derive(Clone, Copy, Default)]
struct PageSem(Option<LockId>);

impl Kernel<'_> {
    fn guard_lock(&self, page: Pfn, guard: PageGuard) -> (LockId, Mode) {
        match guard {
            PageGuard::PageLock => (self.page_lock(page), Mode::Exclusive),
            PageGuard::Semaphore => {
                self.machine.touch(emu::LOCK_NUMBERS, emu::Touch::Read);
                let mut pages = self.pages.borrow_mut();
                let page: &mut Page = pages.get_mut(page);
                let ext = page.ext.get_or_insert_default();
                let sem = &mut ext.get_or_default::<PageSem>().0;
                let lock = *sem.get_or_insert_with(|| self.machine.new_lock(&PAGE_SEM));
                (lock, Mode::Shared)
            }
        }
    }

    fn dio_guard(&self) -> DioGuard {
        self.ask(|patch| patch.dio_guard())
            .unwrap_or(DioGuard::None)
    }
}

/// The request holds `lock`, which the current thread has just taken.
pub(crate) fn note(cx: Cx<'_>, id: DioId, page: Option<Pfn>, lock: LockId, mode: Mode) {
    let holder = cx.machine.context();
    cx.requests.borrow_mut().all[id].guards.0.push(Guard {
        page,
        lock,
        mode,
        holder,
        unsent: 0,
        carriers: Vec::new(),
    });
}

/// So many bytes of a page that was just pinned will be transferred.
pub(crate) fn expect(cx: Cx<'_>, id: DioId, page: Pfn, bytes: u32) {
    let mut requests = cx.requests.borrow_mut();
    let mut guards = requests.all[id].guards.0.iter_mut();
    if let Some(guard) = guards.rfind(|guard| guard.page == Some(page)) {
        guard.unsent += bytes;
    }
}

/// Takes the guard of a pinned page, if the kernel takes it at this point. May sleep.
pub(crate) async fn guard_page(
    cx: Cx<'_>,
    id: DioId,
    page: Pfn,
    here: impl Fn(PageGuard) -> DioGuard,
) {
    for guard in [PageGuard::PageLock, PageGuard::Semaphore] {
        if cx.dio_guard() == here(guard) {
            let (lock, mode) = cx.guard_lock(page, guard);
            if lock_sleeping(cx, lock, mode, "page guard").await {
                cx.count("page guards waited for by direct I/O", 1);
            }
            note(cx, id, Some(page), lock, mode);
        }
    }
}

/// What the lookup of a pin does about the page's guard.
pub(crate) enum InPin {
    /// The kernel takes none there, or it was free.
    Go,
    /// It is busy: sleep for it without the page-table lock, and look at the entry again.
    Sleep(LockId, Mode),
}

/// The guard of a page that a direct-I/O pin has just found, under the page-table lock: taken if
/// it is free.
pub(crate) async fn try_guard_in_pin(cx: Cx<'_>, id: Option<DioId>, page: Pfn) -> InPin {
    let (DioGuard::InPin(guard), Some(id)) = (cx.dio_guard(), id) else {
        return InPin::Go;
    };
    let (lock, mode) = cx.guard_lock(page, guard);
    if try_lock_sleeping(cx, lock, mode).await {
        note(cx, id, Some(page), lock, mode);
        return InPin::Go;
    }
    cx.count("page guards waited for by direct I/O", 1);
    InPin::Sleep(lock, mode)
}

/// One guard of the request on `page` is released, from whatever context.
pub(crate) async fn release_page(cx: Cx<'_>, id: DioId, page: Pfn) {
    let guard = {
        let mut requests = cx.requests.borrow_mut();
        let guards = &mut requests.all[id].guards;
        guards.take(|guard| guard.page == Some(page))
    };
    if let Some(guard) = guard {
        unlock_sleeping(cx, guard.lock, guard.mode, guard.holder).await;
    }
}

/// A lock of the whole request is released, from whatever context.
pub(crate) async fn release_whole(cx: Cx<'_>, id: DioId) {
    loop {
        let guard = {
            let mut requests = cx.requests.borrow_mut();
            let guards = &mut requests.all[id].guards;
            guards.take(|guard| guard.page.is_none())
        };
        let Some(guard) = guard else { return };
        unlock_sleeping(cx, guard.lock, guard.mode, guard.holder).await;
    }
}

/// When guards are released.
pub(crate) fn until(cx: Cx<'_>) -> GuardUntil {
    cx.ask(|patch| patch.guard_until())
        .unwrap_or(GuardUntil::Request)
}

/// A transfer of the request is over. Where the kernel does not wait for the whole request, the
/// guards of its pages go: the first edition of the semaphore does not ask whether another transfer
/// still works on them.
pub(crate) async fn bio_ended(cx: Cx<'_>, id: DioId, slot: usize) {
    let until = until(cx);
    if until == GuardUntil::Request {
        return;
    }
    let by = ContextId::Device(slot as u16);
    loop {
        let guard = {
            let mut requests = cx.requests.borrow_mut();
            let guards = &mut requests.all[id].guards;
            for guard in &mut guards.0 {
                if until == GuardUntil::Page {
                    guard.carriers.retain(|carrier| *carrier != by);
                }
            }
            guards.take(|guard| match until {
                GuardUntil::FirstTransfer => guard.carriers.contains(&by),
                _ => guard.page.is_some() && guard.carriers.is_empty() && guard.unsent == 0,
            })
        };
        let Some(guard) = guard else { return };
        unlock_sleeping(cx, guard.lock, guard.mode, guard.holder).await;
    }
}

/// A write fault is about to copy this page; no spinlock is held. May sleep.
pub(crate) async fn cow_begin(cx: Cx<'_>, page: Pfn) -> Option<LockId> {
    let guard = cx.ask(|patch| patch.cow_guard())?;
    let (lock, _) = cx.guard_lock(page, guard);
    if lock_sleeping(cx, lock, Mode::Exclusive, "page guard").await {
        cx.count("write faults that waited for I/O", 1);
    }
    Some(lock)
}

/// The entry points at the copy.
pub(crate) async fn cow_end(cx: Cx<'_>, guard: Option<LockId>) {
    if let Some(lock) = guard {
        unlock_sleeping(cx, lock, Mode::Exclusive, cx.machine.context()).await;
    }
}
