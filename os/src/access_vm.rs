//! Forced access: one process looks at the memory of another, or changes it whatever its mappings
//! allow (`access_process_vm`, for debuggers).

use emu::{Access, Object, Request};
use mmu::VirtAddr;

use crate::context::mm_object;
use crate::gup::{Want, get_user_pages};
use crate::lock::{down_read, up_read};
use crate::page::{PageFlags, page_step};
use crate::pin::{Foll, release_page};
use crate::task::ProcessId;
use crate::{Cx, Errno, MmId, exit};

/// Loads a word at `at`, which lies in one page, or stores `write` there. The semaphore is held
/// throughout, so no fork comes between the lookup and the access.
pub async fn access_process_vm(
    cx: Cx<'_>,
    process: ProcessId,
    at: VirtAddr,
    write: Option<u32>,
) -> Result<u32, Errno> {
    let _span = cx.machine.span("access_process_vm");
    if !at.get().is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    let mm = get_task_mm(cx, process).await.ok_or(Errno::EFAULT)?;
    let sem = cx.mm(mm).mmap_sem;
    down_read(cx, sem).await;
    let want = Want {
        write: write.is_some(),
        foll: Foll::Get,
        unshare: false,
        force: true,
        long_term: false,
    };
    let mut pages = Vec::new();
    let found = get_user_pages(cx, None, mm, at.page_down(), 1, want, &mut pages).await;
    let mut word = Err(Errno::EFAULT);
    if let (Ok(()), Some(&pfn)) = (found, pages.first()) {
        word = Ok(access(cx, mm, at, pfn, write).await);
        if write.is_some() {
            page_step(cx, pfn, Access::Update, |page| {
                page.flags |= PageFlags::DIRTY;
            })
            .await;
        }
        release_page(cx, pfn, Foll::Get).await;
    }
    up_read(cx, sem).await;
    exit::mmput(cx, mm).await;
    word
}

/// The address space of a process, with a use of it, while it has one.
async fn get_task_mm(cx: Cx<'_>, process: ProcessId) -> Option<MmId> {
    let pid = cx.processes.borrow().get(process)?.pid;
    let find = || {
        let mms = cx.mms.borrow();
        mms.iter().find(|(_, mm)| mm.pid == pid).map(|(id, _)| id)
    };
    let mm = find()?;
    let request = Request::touch(mm_object(cx, mm), Access::Update, cx.machine.costs().l1);
    let alive = cx
        .machine
        .step(request, |_| {
            let mut mms = cx.mms.borrow_mut();
            let users = mms.get_mut(mm).map(|mm| &mut mm.users);
            users.filter(|users| **users > 0).map(|users| {
                *users += 1;
                *users
            })
        })
        .await;
    alive.map(|_| mm)
}

/// Through the kernel's own mapping of the frame.
async fn access(cx: Cx<'_>, mm: MmId, at: VirtAddr, pfn: mmu::Pfn, write: Option<u32>) -> u32 {
    let pa = pfn.base() + at.offset() as u64;
    let how = if write.is_some() {
        Access::Write
    } else {
        Access::Read
    };
    let request = Request::touch(Object::sector(pa), how, cx.machine.costs().l1);
    cx.machine
        .step(request, |acting| {
            if cx.machine.tracking() {
                cx.oracles.touch_user(cx, mm, at, how.into(), pa);
                cx.touch_bytes(pfn);
            }
            if let Some(value) = write {
                let bytes = value.to_le_bytes();
                acting.memory().bytes_mut(pa, 4).copy_from_slice(&bytes);
                cx.oracles.stored(cx, mm, at, &bytes, pa);
                return value;
            }
            let memory = cx.machine.memory();
            let bytes = memory.bytes(pa, 4);
            cx.oracles.loaded(cx, mm, at, bytes, pa);
            u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        })
        .await
}
