//! O_DIRECT: pins user pages, and lets the disk read or write them through physical addresses.
//! Synchronous requests wait; asynchronous ones complete in the disk's interrupt.

use std::collections::VecDeque;

use devices::{Direction, Segment, Transfer};
use emu::{Access, ContextId, Kind, Object, Request, ThreadId};
use mmu::{Pfn, VirtAddr};
use slotmap::SlotMap;

use crate::file::{FileId, fget};
use crate::irq::DISK_VECTOR;
use crate::mm::MmId;
use crate::page::{Holder, PageFlags, page_step, put_page};
use crate::patch::{Hook, Hooks, call_hooks};
use crate::task::ProcessId;
use crate::{Cx, Errno, Kernel, gup, sched};

slotmap::new_key_type! {
    /// A direct-I/O request.
    pub struct DioId;
}

/// Pages pinned at a time (`DIO_PAGES`).
const DIO_PAGES: usize = 64;

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
}

/// The requests of a machine.
#[derive(Default)]
pub struct Requests {
    pub(crate) all: SlotMap<DioId, Dio>,
    /// Which request a slot of the DMA engine works for.
    owners: Vec<Option<DioId>>,
    /// Slots whose transfer is over, until the interrupt takes them.
    done: VecDeque<usize>,
    /// Who waits for a place in the disk's queue.
    queue_waiters: VecDeque<ThreadId>,
    submitted: u32,
}

impl Requests {
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

/// What a request is about.
#[derive(Clone, Copy)]
pub struct Transferring {
    /// The file.
    pub file: FileId,
    /// The user buffer.
    pub at: VirtAddr,
    /// Bytes.
    pub len: u64,
    /// Where in the file.
    pub offset: u64,
    /// Whether the disk writes to memory (a read).
    pub to_memory: bool,
}

fn request_object(number: u32) -> Object {
    Object::new(Kind::Request, u64::from(number))
}

fn request_step(cx: Cx<'_>, number: u32) -> Request {
    Request::touch(
        request_object(number),
        Access::Update,
        cx.machine.costs().l1,
    )
}

/// Checks a call's arguments as O_DIRECT does: whole sectors, everywhere.
pub fn prepare(
    cx: Cx<'_>,
    fd: usize,
    at: VirtAddr,
    len: u64,
    offset: u64,
    to_memory: bool,
) -> Result<Option<Transferring>, Errno> {
    let file = fget(cx, fd)?;
    let sector = mmu::SECTOR_SIZE as u64;
    if !at.is_aligned(sector) || !len.is_multiple_of(sector) || !offset.is_multiple_of(sector) {
        return Err(Errno::EINVAL);
    }
    let size = cx.files.borrow()[file].size / sector * sector;
    if !to_memory && offset.checked_add(len).is_none_or(|end| end > size) {
        return Err(Errno::ENOSPC);
    }
    let len = len.min(size.saturating_sub(offset));
    Ok((len > 0).then_some(Transferring {
        file,
        at,
        len,
        offset,
        to_memory,
    }))
}

/// Pins, submits, and for a synchronous request waits and releases (`direct_io_worker`).
pub async fn direct_io_worker(
    cx: Cx<'_>,
    what: Transferring,
    asynchronous: bool,
) -> Result<DioId, Errno> {
    let _span = cx.machine.span("direct_io_worker");
    let mm = cx.current_mm();
    let id = new_request(cx, mm, &what, asynchronous);
    let number = cx.requests.borrow().all[id].number;
    let mut result = Ok(());
    let mut done = 0;
    while done < what.len && result.is_ok() {
        let at = what.at + done;
        let batch = (DIO_PAGES * mmu::PAGE_SIZE - at.offset()) as u64;
        let len = batch.min(what.len - done);
        result = submit_batch(cx, id, &what, done, len).await;
        done += len;
    }
    let mut over = false;
    cx.machine
        .step(request_step(cx, number), |_| {
            let dio = &mut cx.requests.borrow_mut().all[id];
            dio.submitted = true;
            over = dio.bios == 0;
        })
        .await;
    if asynchronous && result.is_ok() {
        if over {
            complete(cx, id).await;
        }
        return Ok(id);
    }
    if !over {
        await_completion(cx, id, number).await;
    }
    release_pages(cx, id).await;
    finish(cx, id);
    result.map(|()| id)
}

fn new_request(cx: Cx<'_>, mm: MmId, what: &Transferring, asynchronous: bool) -> DioId {
    let process = cx.tasks.borrow()[cx.current()].process;
    let mut requests = cx.requests.borrow_mut();
    requests.submitted += 1;
    let number = requests.submitted;
    requests.all.insert(Dio {
        number,
        mm,
        process,
        to_memory: what.to_memory,
        pages: Vec::new(),
        bios: 0,
        len: what.len,
        submitted: false,
        done: false,
        waiter: None,
        asynchronous,
    })
}

/// Pins the pages of one batch and queues a transfer for them.
async fn submit_batch(
    cx: Cx<'_>,
    id: DioId,
    what: &Transferring,
    done: u64,
    len: u64,
) -> Result<(), Errno> {
    let mm = cx.requests.borrow().all[id].mm;
    let at = what.at + done;
    let first = at.page_down();
    let count = ((at + len).page_up() - first) as usize / mmu::PAGE_SIZE;
    let pages = gup::pin_pages(cx, mm, first, count, what.to_memory).await?;
    for (index, page) in pages.iter().enumerate() {
        let va = first + (index * mmu::PAGE_SIZE) as u64;
        call_hooks(
            cx,
            Hooks::PIN,
            Hook::Pinned {
                mm,
                va,
                page: *page,
            },
        )
        .await;
    }
    let mut places = Vec::with_capacity(count);
    let mut va = at;
    while va < at + len {
        let page = pages[((va.page_down() - first) as usize) / mmu::PAGE_SIZE];
        let end = (va.page_down() + mmu::PAGE_SIZE as u64).min(at + len);
        places.push((va, page.base() + va.offset() as u64, (end - va) as u32));
        va = end;
    }
    cx.requests.borrow_mut().all[id].pages.extend(&pages);
    let lba = cx.files.borrow()[what.file].lba + (what.offset + done) / mmu::SECTOR_SIZE as u64;
    // A transfer is at most as long as the disk takes.
    let most = u64::from(cx.machine.costs().disk_request_kib) * 1024;
    let mut sent = 0;
    for chunk in split(&places, most) {
        let bytes: u64 = chunk.iter().map(|place| u64::from(place.2)).sum();
        submit_bio(cx, id, chunk, lba + sent / mmu::SECTOR_SIZE as u64).await;
        sent += bytes;
    }
    Ok(())
}

type Place = (VirtAddr, mmu::PhysAddr, u32);

fn split(places: &[Place], most: u64) -> Vec<&[Place]> {
    let mut all = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, place) in places.iter().enumerate() {
        if bytes + u64::from(place.2) > most && at > start {
            all.push(&places[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += u64::from(place.2);
    }
    all.push(&places[start..]);
    all
}

/// Queues one transfer; sleeps while the disk's queue is full.
async fn submit_bio(cx: Cx<'_>, id: DioId, places: &[Place], lba: u64) {
    let _span = cx.machine.span("submit_bio");
    let thread = cx.current_thread();
    let (number, to_memory, mm) = {
        let requests = cx.requests.borrow();
        let dio = &requests.all[id];
        (dio.number, dio.to_memory, dio.mm)
    };
    loop {
        let segments = places
            .iter()
            .map(|(_, addr, len)| Segment {
                addr: *addr,
                len: *len,
            })
            .collect();
        let direction = if to_memory {
            Direction::ToMemory
        } else {
            Direction::FromMemory
        };
        let transfer = Transfer::new(number, direction, lba, segments)
            .expect("O_DIRECT checked that all are whole sectors");
        let queued = cx
            .machine
            .step(request_step(cx, number), |_| {
                match cx.machine.submit(transfer) {
                    Ok(slot) => {
                        let mut requests = cx.requests.borrow_mut();
                        requests.owners[slot] = Some(id);
                        requests.all[id].bios += 1;
                        drop(requests);
                        cx.oracles
                            .io_submitted(cx, number, mm, places, to_memory, lba, slot);
                        true
                    }
                    Err(_) => {
                        cx.requests.borrow_mut().queue_waiters.push_back(thread);
                        cx.set_sleeping(thread, "get_request_wait");
                        false
                    }
                }
            })
            .await;
        if queued {
            return;
        }
        sched::block(cx).await;
    }
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
        put_page(cx, page, Holder::Pin).await;
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
async fn complete(cx: Cx<'_>, id: DioId) {
    let _span = cx.machine.span("aio_complete");
    release_pages(cx, id).await;
    let number = cx.requests.borrow().all[id].number;
    let mut waiter = None;
    cx.machine
        .step(request_step(cx, number), |_| {
            waiter = cx.requests.borrow_mut().all[id].waiter.take();
            finish(cx, id);
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
    let dio = cx
        .requests
        .borrow_mut()
        .all
        .remove(id)
        .ok_or(Errno::EINVAL)?;
    Ok(dio.len)
}

/// A transfer is over: part of its last sector's step. The interrupt goes to CPU 0, as the I/O
/// controller of that time routed it.
pub(crate) fn slot_done(cx: &Kernel<'_>, slot: usize) {
    cx.requests.borrow_mut().done.push_back(slot);
    cx.machine
        .raise_at(emu::CpuId(0), DISK_VECTOR, cx.machine.now());
}

/// The disk's interrupt: every transfer that is over (`dio_bio_end_io`).
pub async fn disk_interrupt(cx: Cx<'_>) {
    let _span = cx.machine.span("dio_bio_end_io");
    loop {
        let Some(slot) = cx.requests.borrow_mut().done.pop_front() else {
            return;
        };
        let owner = cx.requests.borrow().owners[slot];
        let id = owner.expect("a transfer works for a request");
        let number = cx.requests.borrow().all[id].number;
        let mut wake: Option<ThreadId> = None;
        let mut room: Option<ThreadId> = None;
        let mut over = false;
        cx.machine
            .step(request_step(cx, number), |_| {
                cx.machine.retire(slot);
                let mut requests = cx.requests.borrow_mut();
                requests.owners[slot] = None;
                room = requests.queue_waiters.pop_front();
                let dio = &mut requests.all[id];
                dio.bios -= 1;
                over = dio.bios == 0 && dio.submitted;
                if over && !dio.asynchronous {
                    wake = dio.waiter.take();
                }
            })
            .await;
        debug_assert!(matches!(cx.machine.context(), ContextId::Handler(..)));
        if let Some(thread) = room {
            sched::try_to_wake_up(cx, thread, "get_request_wait").await;
        }
        if over && cx.requests.borrow().all[id].asynchronous {
            complete(cx, id).await;
        }
        if let Some(thread) = wake {
            sched::try_to_wake_up(cx, thread, "dio_await_completion").await;
        }
    }
}
