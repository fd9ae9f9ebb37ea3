//! What the small programs on reclaim share: a process with one page, a thread that reads a sector
//! into it with O_DIRECT, one that loads and then stores elsewhere in the page, and reclaim.

use mmu::VirtAddr;
use os::{ProcessId, Setup, User};

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

/// Reads the file into the second sector of the page.
pub(crate) async fn direct_read(user: User<'_>, page: VirtAddr) {
    if let Ok(file) = user.open(FILE).await {
        let read = user.pread(file, page + SECTOR, SECTOR, 0).await;
        if let Ok(SECTOR) = read
            && let Some(at) = user.find_mismatch(page + SECTOR, SECTOR, DISK).await
        {
            user.check_failed(format!("byte {at} of what was read is lost"));
        }
    }
}

/// Loads from the first sector, then stores there, when reclaim has been through.
pub(crate) async fn load_then_store(user: User<'_>, page: VirtAddr) {
    user.sleep_us(STORE_US).await;
    let seen = user.load_u32(page).await;
    user.store_u32(page, seen + 1).await;
}
