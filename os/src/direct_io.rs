//! O_DIRECT: pins user pages, and lets the disk read or write them through physical addresses.
//! Synchronous requests wait; asynchronous ones complete in the disk's interrupt.

use std::collections::VecDeque;

use emu::{Access, ContextId, Kind, Mode, Object, Request, ThreadId};
use mmu::{Pfn, VirtAddr};
use slotmap::SlotMap;

use crate::bio::Bio;
use crate::file::{FileId, fget};
use crate::lock::down_read;
use crate::mm::MmId;
use crate::page::{PageFlags, page_step};
use crate::page_guard::{self, Guards};
use crate::patch::{DioGuard, DioPinMode, Hook, Hooks, call_hooks};
use crate::pin;
use crate::task::ProcessId;
use crate::{Cx, Errno, Kernel, dio_range, event, fork_lock, gup, sched};

slotmap::new_key_type! {
    /// A direct-I/O request.
    pub struct DioId;
}

/// A direct-I/O request (`struct dio`).
pub struct Dio {
    /// Its ordinal in the run, from 1; for messages.
    pub number: u32,
    /// Whose memory.
    pub mm: MmId,
    /// Whose request.
    pub process: ProcessId,
    /// Whether the disk writes to memory (a read).
    pub to_memory: bool,
    /// Pages pinned and not yet released.
    pub pages: Vec<Pfn>,
    /// Transfers under way.
    pub bios: u32,
    /// Bytes asked for.
    pub len: u64,
    /// All transfers are queued.
    pub submitted: bool,
    /// Over.
    pub done: bool,
    /// Who sleeps until it is over.
    pub waiter: Option<ThreadId>,
    /// Nobody waits in the submission; the interrupt completes it.
    pub asynchronous: bool,
    /// It must leave the ranges of its address space when it is over.
    pub(crate) ranged: bool,
    /// The user buffers.
    pub(crate) segments: Vec<(VirtAddr, u64)>,
    /// Locks it holds until its I/O is over.
    pub(crate) guards: Guards,
}

/// The requests of a machine.
#[derive(Default)]
pub struct Requests {
    pub(crate) all: SlotMap<DioId, Dio>,
    /// Which request a slot of the DMA engine works for.
    pub(crate) owners: Vec<Option<DioId>>,
    /// Slots whose transfer is over, until the interrupt takes them.
    pub(crate) done: VecDeque<usize>,
    /// Who waits for a place in the disk's queue.
    pub(crate) queue_waiters: VecDeque<ThreadId>,
    submitted: u32,
}

impl Requests {
    /// Whether an asynchronous request is over.
    pub(crate) fn is_done(&self, number: u32) -> bool {
        self.all
            .values()
            .any(|dio| dio.number == number && dio.done)
    }

    pub(crate) fn new(depth: usize) -> Requests {
        Requests {
            owners: vec![None; depth],
            ..Requests::default()
        }
    }

    pub(crate) fn clear(&mut self) {
        self.all.clear();
        self.owners.fill(None);
        self.done.clear();
        self.queue_waiters.clear();
        self.submitted = 0;
    }

    /// The unfinished requests.
    pub fn iter(&self) -> impl Iterator<Item = &Dio> {
        self.all.values().filter(|dio| !dio.done)
    }
}

/// How requests are cut: parameters of the machine, so that a small program can have batches of a
/// page and transfers of a sector.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Pages pinned at a time (`DIO_PAGES`).
    pub batch_pages: usize,
    /// Bytes of a transfer at most; also no more than the disk takes.
    pub bio_bytes: u64,
}

impl Default for Cut {
    fn default() -> Cut {
        Cut {
            batch_pages: 64,
            bio_bytes: u64::MAX,
        }
    }
}

impl Kernel<'_> {
    /// Bytes of a transfer at most.
    pub(crate) fn bio_bytes(&self) -> u64 {
        let disk = u64::from(self.machine.costs().disk_request_kib) * 1024;
        disk.min(self.dio_cut.get().bio_bytes)
    }
}

/// What a request is about.
#[derive(Clone)]
pub struct Transferring {
    /// The file.
    pub file: FileId,
    /// The user buffers, in the order of the file: address and bytes.
    pub segments: Vec<(VirtAddr, u64)>,
    /// Where in the file.
    pub offset: u64,
    /// Whether the disk writes to memory (a read).
    pub to_memory: bool,
}

impl Transferring {
    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|(_, len)| len).sum()
    }
}

fn request_object(number: u32) -> Object {
    Object::new(Kind::Request, u64::from(number))
}

pub(crate) fn request_step(cx: Cx<'_>, number: u32) -> Request {
    Request::touch(
        request_object(number),
        Access::Update,
        cx.machine.costs().l1,
    )
}

/// Checks a call's arguments as O_DIRECT does: whole sectors, everywhere. What lies behind the end
/// of the file is cut off.
pub fn prepare(
    cx: Cx<'_>,
    fd: usize,
    segments: &[(VirtAddr, u64)],
    offset: u64,
    to_memory: bool,
) -> Result<Option<Transferring>, Errno> {
    let file = fget(cx, fd)?;
    let sector = mmu::SECTOR_SIZE as u64;
    let whole = |(at, len): &(VirtAddr, u64)| at.is_aligned(sector) && len.is_multiple_of(sector);
    if !segments.iter().all(whole) || !offset.is_multiple_of(sector) {
        return Err(Errno::EINVAL);
    }
    let size = cx.files.borrow()[file].size / sector * sector;
    let len = segments
        .iter()
        .try_fold(0u64, |sum, (_, len)| sum.checked_add(*len))
        .ok_or(Errno::EINVAL)?;
    if !to_memory && offset.checked_add(len).is_none_or(|end| end > size) {
        return Err(Errno::ENOSPC);
    }
    let mut left = len.min(size.saturating_sub(offset));
    let mut cut = Vec::with_capacity(segments.len());
    for (at, len) in segments {
        let here = left.min(*len);
        left -= here;
        if here > 0 {
            cut.push((*at, here));
        }
    }
    Ok((!cut.is_empty()).then_some(Transferring {
        file,
        segments: cut,
        offset,
        to_memory,
    }))
}

/// Pins, submits, and for a synchronous request waits and releases (`direct_io_worker`).
pub async fn direct_io_worker(
    cx: Cx<'_>,
    what: &Transferring,
    asynchronous: bool,
) -> Result<DioId, Errno> {
    let _span = cx.machine.span("direct_io_worker");
    let asynchronous = asynchronous || cx.ask(|patch| patch.dio_waits()) == Some(false);
    let mm = cx.current_mm();
    let id = new_request(cx, mm, what, asynchronous);
    fork_lock::io_begins(cx, id).await;
    if let Err(error) = dio_range::io_begins(cx, id).await {
        page_guard::release_whole(cx, id).await;
        finish(cx, id);
        return Err(error);
    }
    hold_mmap_sem(cx, id).await;
    let mut bio = Bio::at(lba_of(cx, what));
    let mut result = Ok(());
    for (at, len) in &what.segments {
        result = pin_segment(cx, id, *at, *len, &mut bio).await;
        if result.is_err() {
            break;
        }
    }
    bio.submit(cx, id).await;
    wait_and_release(cx, id, asynchronous && result.is_ok()).await;
    result.map(|()| id)
}

/// The first sector of a request on the disk.
pub(crate) fn lba_of(cx: Cx<'_>, what: &Transferring) -> u64 {
    cx.files.borrow()[what.file].lba + what.offset / mmu::SECTOR_SIZE as u64
}

/// All is queued. Whoever is synchronous waits, releases and is done; an asynchronous request is
/// left to the interrupt, unless its transfers are over already.
pub(crate) async fn wait_and_release(cx: Cx<'_>, id: DioId, asynchronous: bool) {
    fork_lock::all_queued(cx, id, asynchronous).await;
    let number = cx.requests.borrow().all[id].number;
    let mut over = false;
    cx.machine
        .step(request_step(cx, number), |_| {
            let mut requests = cx.requests.borrow_mut();
            let slot = requests.owners.iter().position(|owner| *owner == Some(id));
            let dio = &mut requests.all[id];
            dio.submitted = true;
            over = dio.bios == 0;
            if let (true, false, Some(slot)) = (asynchronous, over, slot) {
                dio.guards.hand_whole(cx, ContextId::Device(slot as u16));
            }
        })
        .await;
    if asynchronous {
        if over {
            complete(cx, id).await;
        }
        return;
    }
    if !over {
        await_completion(cx, id, number).await;
    }
    release_pages(cx, id).await;
    dio_range::io_ends(cx, id).await;
    page_guard::release_whole(cx, id).await;
    finish(cx, id);
}

/// `mmap_sem` over the whole I/O, where a patch wants it.
async fn hold_mmap_sem(cx: Cx<'_>, id: DioId) {
    let mode = cx.ask(|patch| patch.dio_pin_mode());
    if matches!(mode, Some(DioPinMode::OverIo | DioPinMode::OverIoOnce)) {
        let mm = cx.requests.borrow().all[id].mm;
        let sem = cx.mm(mm).mmap_sem;
        down_read(cx, sem).await;
        page_guard::note(cx, id, None, sem, Mode::Shared);
    }
}

pub(crate) fn new_request(cx: Cx<'_>, mm: MmId, what: &Transferring, asynchronous: bool) -> DioId {
    let process = cx.tasks.borrow()[cx.current()].process;
    let mut requests = cx.requests.borrow_mut();
    requests.submitted += 1;
    let number = requests.submitted;
    if !what.to_memory {
        cx.oracles.write_begun(cx, number, mm, &what.segments);
    }
    requests.all.insert(Dio {
        number,
        mm,
        process,
        to_memory: what.to_memory,
        pages: Vec::new(),
        bios: 0,
        len: what.bytes(),
        ranged: false,
        segments: what.segments.clone(),
        guards: Guards::default(),
        submitted: false,
        done: false,
        waiter: None,
        asynchronous,
    })
}

/// Pins the pages of a segment, a batch at a time, and collects transfers for them
/// (`do_direct_IO`).
async fn pin_segment(
    cx: Cx<'_>,
    id: DioId,
    at: VirtAddr,
    len: u64,
    bio: &mut Bio,
) -> Result<(), Errno> {
    let batch_bytes = cx.dio_cut.get().batch_pages * mmu::PAGE_SIZE;
    let submit_each = cx.ask(|patch| patch.submit_each_batch()).unwrap_or(false);
    let mut done = 0;
    while done < len {
        if submit_each {
            bio.submit(cx, id).await;
        }
        let here = at + done;
        let batch = ((batch_bytes - here.offset()) as u64).min(len - done);
        pin_batch(cx, id, here, batch, bio).await?;
        done += batch;
    }
    Ok(())
}

async fn pin_batch(
    cx: Cx<'_>,
    id: DioId,
    at: VirtAddr,
    len: u64,
    bio: &mut Bio,
) -> Result<(), Errno> {
    let (mm, write) = {
        let dio = &cx.requests.borrow().all[id];
        (dio.mm, dio.to_memory)
    };
    let first = at.page_down();
    let count = ((at + len).page_up() - first) as usize / mmu::PAGE_SIZE;
    let pages = gup::pin_pages(cx, id, mm, first, count, write).await?;
    for (index, page) in pages.iter().enumerate() {
        let va = first + (index * mmu::PAGE_SIZE) as u64;
        let page = *page;
        call_hooks(cx, Hooks::PIN, Hook::Pinned { mm, va, page }).await;
    }
    cx.requests.borrow_mut().all[id].pages.extend(&pages);
    for page in &pages {
        page_guard::guard_page(cx, id, *page, DioGuard::AtSubmit).await;
    }
    let mut va = at;
    while va < at + len {
        let page = pages[((va.page_down() - first) as usize) / mmu::PAGE_SIZE];
        let end = (va.page_down() + mmu::PAGE_SIZE as u64).min(at + len);
        let place = (va, page.base() + va.offset() as u64, (end - va) as u32);
        page_guard::expect(cx, id, page, place.2);
        bio.add(cx, id, place).await;
        va = end;
    }
    Ok(())
}

async fn await_completion(cx: Cx<'_>, id: DioId, number: u32) {
    let _span = cx.machine.span("dio_await_completion");
    let thread = cx.current_thread();
    let asleep = cx
        .machine
        .step(request_step(cx, number), |_| {
            let dio = &mut cx.requests.borrow_mut().all[id];
            let asleep = dio.bios > 0;
            if asleep {
                dio.waiter = Some(thread);
                cx.set_sleeping(thread, "dio_await_completion");
            }
            asleep
        })
        .await;
    if asleep {
        sched::block(cx).await;
    }
}

/// Marks what was written, and gives the pins back.
async fn release_pages(cx: Cx<'_>, id: DioId) {
    let _span = cx.machine.span("bio_release_pages");
    let (pages, to_memory) = {
        let mut requests = cx.requests.borrow_mut();
        let dio = &mut requests.all[id];
        (std::mem::take(&mut dio.pages), dio.to_memory)
    };
    for page in pages {
        if to_memory && cx.ask(|patch| patch.dirty_at_unpin()).unwrap_or(true) {
            page_step(cx, page, Access::Update, |page| {
                page.flags |= PageFlags::DIRTY
            })
            .await;
        }
        call_hooks(cx, Hooks::IO, Hook::IoDone { page }).await;
        page_guard::release_page(cx, id, page).await;
        pin::release_page(cx, page, pin::of_direct_io(cx)).await;
    }
}

/// The process may now rely on the request.
fn finish(cx: Cx<'_>, id: DioId) {
    let mut requests = cx.requests.borrow_mut();
    let dio = &mut requests.all[id];
    dio.done = true;
    let number = dio.number;
    let asynchronous = dio.asynchronous;
    if !asynchronous {
        requests.all.remove(id);
    }
    drop(requests);
    cx.oracles.io_completed(cx, number);
}

/// Completion of an asynchronous request: release, then tell whoever waits for its event.
pub(crate) async fn complete(cx: Cx<'_>, id: DioId) {
    let _span = cx.machine.span("aio_complete");
    release_pages(cx, id).await;
    dio_range::io_ends(cx, id).await;
    page_guard::release_whole(cx, id).await;
    let number = cx.requests.borrow().all[id].number;
    let mut waiter = None;
    cx.machine
        .step(request_step(cx, number), |_| {
            waiter = cx.requests.borrow_mut().all[id].waiter.take();
            finish(cx, id);
            event::request_done(cx, number);
        })
        .await;
    if let Some(thread) = waiter {
        sched::try_to_wake_up(cx, thread, "read_events").await;
    }
}

/// Waits for an asynchronous request (`io_getevents` for one event), and returns its length.
pub async fn aio_wait(cx: Cx<'_>, id: DioId) -> Result<u64, Errno> {
    let _span = cx.machine.span("read_events");
    let thread = cx.current_thread();
    let number = match cx.requests.borrow().all.get(id) {
        Some(dio) => dio.number,
        None => return Err(Errno::EINVAL),
    };
    let asleep = cx
        .machine
        .step(request_step(cx, number), |_| {
            let dio = &mut cx.requests.borrow_mut().all[id];
            if !dio.done {
                dio.waiter = Some(thread);
                cx.set_sleeping(thread, "read_events");
            }
            !dio.done
        })
        .await;
    if asleep {
        sched::block(cx).await;
    }
    reap(cx, id)
}

/// Spins until an asynchronous request is over, and returns its length: the ring of what is complete
/// lies in user memory.
pub(crate) async fn aio_poll(cx: Cx<'_>, id: DioId) -> Result<u64, Errno> {
    let number = match cx.requests.borrow().all.get(id) {
        Some(dio) => dio.number,
        None => return Err(Errno::EINVAL),
    };
    event::poll_request(cx, number).await;
    reap(cx, id)
}

fn reap(cx: Cx<'_>, id: DioId) -> Result<u64, Errno> {
    let dio = cx.requests.borrow_mut().all.remove(id);
    Ok(dio.ok_or(Errno::EINVAL)?.len)
}
