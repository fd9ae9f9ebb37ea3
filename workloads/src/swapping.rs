//! What the small programs on reclaim share: a process with one page and one thread, which has a
//! sector read into the page with O_DIRECT and meanwhile uses another sector of it; and reclaim, on
//! another CPU. The read is asynchronous, so that one thread can do both.

use mmu::VirtAddr;
use os::{AioId, ProcessId, Setup, User};

/// Where in the page the disk puts its sector.
pub(crate) const SECTOR: u64 = 512;
/// What the disk has.
pub(crate) const DISK: u8 = 0xdd;
/// When reclaim begins, and when the page is used again: after the pin, and before the disk's head
/// has arrived, where time decides.
pub(crate) const RECLAIM_US: u64 = 50;
pub(crate) const STORE_US: u64 = 100;
const FILE: &str = "disk";

/// A process without threads, with a page of its own, and a file of one sector.
pub(crate) fn page_and_file(setup: &mut Setup<'_>, name: &str) -> (ProcessId, VirtAddr) {
    setup.file(FILE, SECTOR, DISK);
    setup.swap_area(4);
    let process = setup.empty_process(name);
    setup.keep_memory(process);
    let page = setup.map(process, mmu::PAGE_SIZE as u64);
    setup.fill(process, page, mmu::PAGE_SIZE as u64, 0x11);
    (process, page)
}

/// A read of the file into the second sector of the page, in flight.
pub(crate) async fn submit_read(user: User<'_>, page: VirtAddr) -> Option<AioId> {
    let file = user.open(FILE).await.ok()?;
    user.aio_read(file, page + SECTOR, SECTOR, 0).await.ok()
}

/// Waits for the read, and looks whether the sector is there.
pub(crate) async fn wait_and_check(user: User<'_>, page: VirtAddr, read: Option<AioId>) {
    let Some(read) = read else { return };
    if user.aio_poll(read).await.is_ok()
        && let Some(at) = user.find_mismatch(page + SECTOR, SECTOR, DISK).await
    {
        user.check_failed(format!("byte {at} of what was read is lost"));
    }
}

/// Lets reclaim go first where time decides; elsewhere it may go first anyway.
pub(crate) async fn pause(user: User<'_>, us: u64) {
    if user.cx.machine.timed() {
        user.sleep_us(us).await;
    }
}

/// Loads from the first sector and stores there, while the read is in flight.
pub(crate) async fn read_load_store(user: User<'_>, page: VirtAddr) {
    let read = submit_read(user, page).await;
    pause(user, STORE_US).await;
    let seen = user.load_u32(page).await;
    user.store_u32(page, seen + 1).await;
    wait_and_check(user, page, read).await;
}
