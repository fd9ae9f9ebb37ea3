//! Transfers of a direct-I/O request: collected page by page, queued when one is full or the
//! request has no more pages, and ended by the disk's interrupt.

use devices::{Direction, Segment, Transfer};
use emu::{ContextId, ThreadId};
use mmu::{PhysAddr, VirtAddr};

use crate::direct_io::{DioId, complete, request_step};
use crate::irq::DISK_VECTOR;
use crate::patch::GuardUntil;
use crate::{Cx, Kernel, page_guard, sched};

/// A part of a transfer within one page: user address, physical address, bytes.
pub(crate) type Place = (VirtAddr, PhysAddr, u32);

/// What is collected and not queued yet. Its pages are pinned, and may be locked.
#[derive(Default)]
pub(crate) struct Bio {
    places: Vec<Place>,
    bytes: u64,
    /// The first sector on the disk.
    lba: u64,
}

impl Bio {
    /// An empty one for what begins at `lba`.
    pub(crate) fn at(lba: u64) -> Bio {
        Bio {
            lba,
            ..Bio::default()
        }
    }

    /// Adds a page's part. What does not fit any more goes into the next transfer, for which this
    /// one is queued first (`dio_send_cur_page`): the last page of a batch always stays behind.
    pub(crate) async fn add(&mut self, cx: Cx<'_>, id: DioId, place: Place) {
        let most = cx.bio_bytes();
        let (va, pa, len) = place;
        let mut done = 0;
        while done < len {
            let piece = (u64::from(len - done)).min(most) as u32;
            if self.bytes + u64::from(piece) > most {
                self.submit(cx, id).await;
            }
            let (va, pa) = (va + u64::from(done), pa + u64::from(done));
            self.places.push((va, pa, piece));
            self.bytes += u64::from(piece);
            done += piece;
        }
    }

    /// Queues what is there (`dio_bio_submit`); sleeps while the disk's queue is full.
    pub(crate) async fn submit(&mut self, cx: Cx<'_>, id: DioId) {
        if self.places.is_empty() {
            return;
        }
        submit_bio(cx, id, &self.places, self.lba).await;
        *self = Bio::at(self.lba + self.bytes / mmu::SECTOR_SIZE as u64);
    }
}

async fn submit_bio(cx: Cx<'_>, id: DioId, places: &[Place], lba: u64) {
    let _span = cx.machine.span("submit_bio");
    let thread = cx.current_thread();
    let (number, to_memory, mm) = {
        let requests = cx.requests.borrow();
        let dio = &requests.all[id];
        (dio.number, dio.to_memory, dio.mm)
    };
    let until = page_guard::until(cx);
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
                        let dio = &mut requests.all[id];
                        dio.bios += 1;
                        let by = ContextId::Device(slot as u16);
                        let passes = dio.asynchronous || until != GuardUntil::Request;
                        dio.guards.carried(cx, places, by, passes);
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

/// The transfers whose end the interrupt has to tell.
const DONE: emu::Object = emu::Object::new(emu::Kind::Disk, 1 << 48);

/// A transfer is over: part of its last sector's step. The interrupt goes to CPU 0, as the I/O
/// controller of that time routed it.
pub(crate) fn slot_done(cx: &Kernel<'_>, slot: usize) {
    cx.machine.touch(DONE, emu::Touch::Write);
    cx.requests.borrow_mut().done.push_back(slot);
    cx.machine
        .raise_at(emu::CpuId(0), DISK_VECTOR, cx.machine.now());
}

/// The disk's interrupt: every transfer that is over (`dio_bio_end_io`).
pub async fn disk_interrupt(cx: Cx<'_>) {
    let _span = cx.machine.span("dio_bio_end_io");
    loop {
        cx.machine.touch(DONE, emu::Touch::Write);
        let Some(slot) = cx.requests.borrow_mut().done.pop_front() else {
            return;
        };
        let owner = cx.requests.borrow().owners[slot];
        let id = owner.expect("a transfer works for a request");
        let number = cx.requests.borrow().all[id].number;
        let mut wake: Option<ThreadId> = None;
        let mut room: Option<ThreadId> = None;
        let mut over = false;
        page_guard::bio_ended(cx, id, slot).await;
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
