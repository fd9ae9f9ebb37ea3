//! Transfers between disk and memory: an actor each, one 512-byte sector a step, through physical
//! addresses, whatever the page tables say meanwhile.

use devices::Schedule;

use crate::{Access, Kind, Machine, Object, Request, Touch};

/// The disk's queue of requests.
pub(crate) const QUEUE: Object = Object::new(Kind::Disk, 0);

/// The announcement of sector `index` of the transfer in `slot`.
pub(crate) fn sector_request(
    machine: &Machine<'_>,
    slot: usize,
    schedule: &Schedule,
    index: u32,
) -> Request {
    let dma = machine.dma();
    let transfer = dma.transfer(slot).expect("a transfer runs in its slot");
    let (_, at) = transfer.sector(index);
    let access = match transfer.direction {
        devices::Direction::ToMemory => Access::Write,
        devices::Direction::FromMemory => Access::Read,
    };
    let time = schedule.first_sector_at + u64::from(index) * schedule.sector_cycles;
    Request::touch(Object::sector(at), access, schedule.sector_cycles as u32).not_before(time)
}

/// The code of a transfer.
pub(crate) async fn transfer<'w>(machine: &'w Machine<'w>, slot: usize, schedule: Schedule) {
    let sectors = {
        let dma = machine.dma();
        dma.transfer(slot)
            .expect("a transfer was started")
            .sectors()
    };
    for index in 0..sectors {
        let request = sector_request(machine, slot, &schedule, index);
        machine
            .step(request, |acting| {
                let moved = machine.dma.borrow_mut().advance(
                    slot,
                    &mut acting.memory(),
                    &mut machine.disk.borrow_mut(),
                );
                let touch = match moved.direction {
                    devices::Direction::ToMemory => Touch::Read,
                    devices::Direction::FromMemory => Touch::Write,
                };
                machine.touch(Object::new(Kind::Disk, moved.lba + 1), touch);
                machine.guest().sector_moved(slot, &moved);
                if moved.last {
                    machine.touch(QUEUE, Touch::Write);
                    machine.guest().transfer_done(slot);
                    machine.next_transfer();
                }
                (moved.addr.get(), moved.lba)
            })
            .await;
    }
}
