//! Memory registered with a device: pages pinned until they are unregistered, long after the call
//! that pinned them has returned, and which the device reads or writes when it is asked to. It
//! stands for RDMA registrations, `vmsplice` and drivers: users of pins that do not go through
//! direct I/O, so that what a fix does there does not reach them.

use emu::{ContextId, LockId};
use mmu::{Pfn, VirtAddr};
use slotmap::SlotMap;

use crate::bio::Bio;
use crate::direct_io::{Transferring, lba_of, new_request, wait_and_release};
use crate::page::{PageFlags, page_step};
use crate::{Cx, Errno, MmId, fork_lock, gup, pin};

slotmap::new_key_type! {
    /// A registered range.
    pub struct RegionId;
}

/// A registered range.
#[derive(Clone)]
pub struct Region {
    mm: MmId,
    start: VirtAddr,
    len: u64,
    write: bool,
    pages: Vec<Pfn>,
    fork_lock: Option<(LockId, ContextId)>,
}

/// What is registered.
pub(crate) type Regions = SlotMap<RegionId, Region>;

impl Region {
    /// The frames it has pinned.
    pub fn pages(&self) -> &[Pfn] {
        &self.pages
    }
}

/// Pins `len` bytes from `at`; `write`: the device may write them.
pub async fn register(cx: Cx<'_>, at: VirtAddr, len: u64, write: bool) -> Result<RegionId, Errno> {
    let _span = cx.machine.span("ib_umem_get");
    let mm = cx.current_mm();
    let start = at.page_down();
    let count = ((at + len).page_up() - start) as usize / mmu::PAGE_SIZE;
    let mut pages = Vec::with_capacity(count);
    let fork_lock = fork_lock::pins_begin(cx, mm).await;
    let result = gup::pin_registered(cx, mm, start, count, write, &mut pages).await;
    if let Err(error) = result {
        for pfn in pages {
            pin::release_page(cx, pfn, pin::of_registration(cx)).await;
        }
        fork_lock::pins_end(cx, fork_lock).await;
        return Err(error);
    }
    let region = Region {
        mm,
        start: at,
        len,
        write,
        pages,
        fork_lock,
    };
    Ok(cx.regions.borrow_mut().insert(region))
}

/// Gives the pins back.
pub async fn unregister(cx: Cx<'_>, id: RegionId) -> Result<(), Errno> {
    let _span = cx.machine.span("ib_umem_release");
    let region = cx.regions.borrow_mut().remove(id).ok_or(Errno::EINVAL)?;
    for pfn in region.pages {
        if region.write {
            page_step(cx, pfn, emu::Access::Update, |page| {
                page.flags |= PageFlags::DIRTY;
            })
            .await;
        }
        pin::release_page(cx, pfn, pin::of_registration(cx)).await;
    }
    fork_lock::pins_end(cx, region.fork_lock).await;
    Ok(())
}

/// The device moves what `what` says, whose one segment lies in the region, and the caller waits
/// for it. No page is looked up: the device has known the frames since the registration.
pub async fn transfer(cx: Cx<'_>, id: RegionId, what: &Transferring) -> Result<(), Errno> {
    let _span = cx.machine.span("ib_post_send");
    let region = cx.regions.borrow().get(id).cloned().ok_or(Errno::EINVAL)?;
    let (at, len) = what.segments[0];
    if at < region.start || at + len > region.start + region.len {
        return Err(Errno::EINVAL);
    }
    if what.to_memory && !region.write {
        return Err(Errno::EFAULT);
    }
    let request = new_request(cx, region.mm, what, false);
    let mut bio = Bio::at(lba_of(cx, what));
    let first = region.start.page_down();
    let mut va = at;
    while va < at + len {
        let page = region.pages[((va.page_down() - first) as usize) / mmu::PAGE_SIZE];
        let end = (va.page_down() + mmu::PAGE_SIZE as u64).min(at + len);
        let place = (va, page.base() + va.offset() as u64, (end - va) as u32);
        bio.add(cx, request, place).await;
        va = end;
    }
    bio.submit(cx, request).await;
    wait_and_release(cx, request, false).await;
    Ok(())
}
