//! Ranges of direct I/O in flight, kept for each address space, against copy-on-write in them: the
//! one waits for the other (rows A30 to A35). A patch's; the base kernel has none.
//!
//! Direct I/O enters its buffers before it pins, once no copy is under way, and removes them when it
//! is over. A write fault that must copy asks first: in a range it is sent back to fault again, else
//! it counts as a copy until the new page is mapped. One spinlock of the posted patch covers each of
//! these; here each is one step. A retry whose outcome nothing has changed meanwhile is left out: who
//! repeats a fault, letting others run in between, is off its CPU until something has.

use emu::{Access, Kind, Object, Request, ThreadId};
use mmu::{Pfn, VirtAddr};

use crate::direct_io::DioId;
use crate::huge::huge_down;
use crate::page::Page;
use crate::patch::RangeLock;
use crate::{Cx, Errno, Kernel, MmId, context, exit, irq, sched};

/// How long direct I/O stands back after a fault was sent back: ten ticks of 4 ms.
const STAND_BACK_MS: u64 = 40;

/// What an address space keeps.
#[derive(Clone, Default)]
struct Ranges {
    all: Vec<Range>,
    /// Copies under way.
    copies: u32,
    /// A fault was sent back since direct I/O last stood back.
    conflict: bool,
    sleepers: Vec<ThreadId>,
}

#[derive(Clone, Copy)]
struct Range {
    request: u32,
    start: u64,
    end: u64,
}

/// A thread that repeats a fault, and what could change the outcome.
pub(crate) struct Retry {
    thread: ThreadId,
    mm: MmId,
    va: VirtAddr,
    page: Pfn,
    /// Huge pages are used again by their references, others by their mappings.
    huge: bool,
    stirred: bool,
}

/// What such a thread is off its CPU in.
const SENT_BACK: &str = "a fault that is sent back";

fn ranges_step(cx: Cx<'_>, mm: MmId) -> Request {
    let object = Object::new(Kind::Patch, u64::from(cx.pid_of(mm)));
    Request::touch(object, Access::Update, cx.machine.costs().l1)
}

impl Kernel<'_> {
    fn range_lock(&self) -> Option<RangeLock> {
        self.ask(|patch| patch.range_lock())
    }

    fn with_ranges<R>(&self, mm: MmId, f: impl FnOnce(&mut Ranges) -> R) -> R {
        f(self.mms.borrow_mut()[mm].ext.get_or_default::<Ranges>())
    }

    /// A child does not inherit what its parent has in flight.
    pub(crate) fn init_ranges(&self, mm: MmId) {
        if self.range_lock().is_some() {
            self.with_ranges(mm, |ranges| *ranges = Ranges::default());
        }
    }

    fn in_a_range(&self, mm: MmId, va: VirtAddr) -> bool {
        let kind = self.range_lock();
        let (start, end) = if self.is_huge(mm, va) {
            let (start, size) = (huge_down(va), mmu::LARGE_PAGE_SIZE as u64);
            match kind {
                Some(RangeLock::HugeSize) => (start, size),
                _ => (start, start.get() + size),
            }
        } else {
            let start = match kind {
                Some(RangeLock::RoundsUp) => va,
                _ => va.page_down(),
            };
            (start, start.get() + mmu::PAGE_SIZE as u64)
        };
        self.with_ranges(mm, |ranges| {
            ranges
                .all
                .iter()
                .any(|range| range.start < end && start.get() < range.end)
        })
    }

    /// Part of a step: those who repeat a fault will look again ([`wake_stirred`]).
    fn stir(&self, which: impl Fn(&Retry) -> bool) {
        for retry in self.retries.borrow_mut().iter_mut() {
            retry.stirred |= which(retry);
        }
    }

    /// Part of the step that took a mapping of `page` away: somebody may be its only owner now.
    #[inline]
    pub(crate) fn mapping_removed(&self, page: Pfn) {
        self.stir(|retry| retry.page == page);
    }

    /// Part of the step that gave a reference to `page` back.
    #[inline]
    pub(crate) fn reference_dropped(&self, page: Pfn) {
        self.stir(|retry| retry.page == page && retry.huge);
    }

    /// Nobody can go on, and somebody repeats a fault: whom that keeps waiting.
    pub(crate) fn report_livelock(&self) -> bool {
        let retries = self.retries.borrow();
        let Some(first) = retries.first() else {
            return false;
        };
        let message = format!(
            "{} faults at {} again and again: the page is shared and in a range of direct I/O, and \
             nobody else can go on to change either",
            self.machine.name_of(emu::ContextId::Thread(first.thread)),
            first.va
        );
        let focus = vec![Object::page(first.page)];
        drop(retries);
        self.machine
            .violate("progress", "LIVELOCK", message, focus, 0);
        true
    }
}

enum Entry {
    In,
    Interrupted,
    Asleep,
    StandBack,
}

impl emu::Word for Entry {
    fn word(&self) -> u64 {
        match self {
            Entry::In => 0,
            Entry::Interrupted => 1,
            Entry::Asleep => 2,
            Entry::StandBack => 3,
        }
    }
}

/// Enters the buffers of a request, when no copy is under way; takes a reference on the address
/// space as one of its users.
pub(crate) async fn io_begins(cx: Cx<'_>, id: DioId) -> Result<(), Errno> {
    let kind = match cx.range_lock() {
        None | Some(RangeLock::NotEntered) => return Ok(()),
        Some(kind) => kind,
    };
    let _span = cx.machine.span("dio_range_lock");
    let (mm, number, segments) = {
        let dio = &cx.requests.borrow().all[id];
        (dio.mm, dio.number, dio.segments.clone())
    };
    cx.requests.borrow_mut().all[id].ranged = true;
    let thread = cx.current_thread();
    loop {
        let entry = cx.machine.step(ranges_step(cx, mm), |_| {
            if exit::signal_pending(cx) {
                return Entry::Interrupted;
            }
            cx.machine.touch(context::mm_object(cx, mm), Access::Update);
            let entry = cx.with_ranges(mm, |ranges| {
                if ranges.copies > 0 {
                    ranges.sleepers.push(thread);
                    return Entry::Asleep;
                }
                if std::mem::take(&mut ranges.conflict) {
                    return Entry::StandBack;
                }
                ranges.all.extend(segments.iter().map(|(at, len)| Range {
                    request: number,
                    start: match kind {
                        RangeLock::RoundsUp => at.page_up().get(),
                        _ => at.page_down().get(),
                    },
                    end: at.get() + len,
                }));
                Entry::In
            });
            match entry {
                Entry::In => cx.mms.borrow_mut()[mm].users += 1,
                Entry::Asleep => cx.set_sleeping(thread, "dio_range_wait"),
                _ => {}
            }
            entry
        });
        match entry.await {
            Entry::In => return Ok(()),
            Entry::Interrupted if kind == RangeLock::IgnoresSignal => return Ok(()),
            Entry::Interrupted => return Err(Errno::EINTR),
            Entry::Asleep => sched::block(cx).await,
            Entry::StandBack => {
                let cycles = cx.machine.costs().cycles_from_ms(STAND_BACK_MS);
                irq::sleep_cycles(cx, cycles).await;
            }
        }
    }
}

/// The request is over: from the caller, or from the interrupt. Gives the reference on the address
/// space back, whoever it is that does.
pub(crate) async fn io_ends(cx: Cx<'_>, id: DioId) {
    let (mm, number, ranged) = {
        let dio = &cx.requests.borrow().all[id];
        (dio.mm, dio.number, dio.ranged)
    };
    if !ranged {
        return;
    }
    let _span = cx.machine.span("dio_range_unlock");
    let mut found = false;
    cx.machine
        .step(ranges_step(cx, mm), |_| {
            found = cx.with_ranges(mm, |ranges| {
                let before = ranges.all.len();
                ranges.all.retain(|range| range.request != number);
                ranges.all.len() < before
            });
            cx.bug_on(!found, || {
                format!(
                    "request {number} removes a range that was never entered: its owner is null"
                )
            });
            cx.stir(|retry| retry.mm == mm);
        })
        .await;
    wake_stirred(cx).await;
    if found {
        exit::mmput(cx, mm).await;
    }
}

/// A write fault must copy. In a range of direct I/O it has to fault again: `false`.
pub(crate) async fn cow_begins(cx: Cx<'_>, mm: MmId, va: VirtAddr) -> bool {
    if cx.range_lock().is_none() {
        return true;
    }
    cx.machine
        .step(ranges_step(cx, mm), |_| {
            let conflict = cx.in_a_range(mm, va);
            cx.with_ranges(mm, |ranges| {
                ranges.conflict |= conflict;
                ranges.copies += u32::from(!conflict);
            });
            !conflict
        })
        .await
}

/// The copy is mapped, or was not needed.
pub(crate) async fn cow_ends(cx: Cx<'_>, mm: MmId) {
    if cx.range_lock().is_none() {
        return;
    }
    let mut woken = Vec::new();
    cx.machine
        .step(ranges_step(cx, mm), |_| {
            woken = cx.with_ranges(mm, |ranges| {
                ranges.copies -= 1;
                match ranges.copies {
                    0 => std::mem::take(&mut ranges.sleepers),
                    _ => Vec::new(),
                }
            });
        })
        .await;
    for thread in woken {
        sched::try_to_wake_up(cx, thread, "dio_range_wait").await;
    }
}

/// A fault at `va` was sent back: goes on when the outcome may be another.
pub(crate) async fn wait_to_retry(cx: Cx<'_>, mm: MmId, va: VirtAddr, page: Pfn) {
    cx.count("faults sent back", 1);
    let thread = cx.current_thread();
    let waits = cx
        .machine
        .step(ranges_step(cx, mm), |_| {
            cx.machine.touch(Object::page(page), Access::Read);
            let huge = cx.is_huge(mm, va);
            let owners = match huge {
                true => |page: &Page| page.count,
                false => |page: &Page| page.mapcount,
            };
            let shared = cx.pages.borrow().get(page).map_or(0, owners) > 1;
            let waits = shared && cx.in_a_range(mm, va);
            if waits {
                cx.set_sleeping(thread, SENT_BACK);
                cx.retries.borrow_mut().push(Retry {
                    thread,
                    mm,
                    va,
                    page,
                    huge,
                    stirred: false,
                });
            }
            waits
        })
        .await;
    if waits {
        sched::block(cx).await;
    }
}

/// Those whose outcome may be another go on.
pub(crate) async fn wake_stirred(cx: Cx<'_>) {
    loop {
        let stirred = {
            let mut retries = cx.retries.borrow_mut();
            let at = retries.iter().position(|retry| retry.stirred);
            at.map(|at| retries.remove(at))
        };
        let Some(retry) = stirred else { return };
        sched::try_to_wake_up(cx, retry.thread, SENT_BACK).await;
    }
}
